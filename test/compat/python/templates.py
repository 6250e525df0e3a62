"""Template builds."""

import functools
import os
import tempfile

from client import (
    MINUTE,
    PREFIX,
    Template,
    create,
    e2b,
    equal,
    eventually,
    feature,
    needs,
    output,
    raises,
)


@functools.cache
def built():
    """A template that was built with a copied file, a command, a variable and a start command."""
    needs(Template)
    with tempfile.TemporaryDirectory() as context:
        with open(os.path.join(context, "copied.txt"), "w") as file:
            file.write(f"for {PREFIX}\n")
        lines = []
        steps = (
            Template(file_context_path=context).from_base_image()
            .copy("copied.txt", "/home/user/site/copied.txt").set_envs({"LEVEL": "template"}).set_workdir("/home/user/site")
            .run_cmd("echo $LEVEL > /home/user/site/level.txt")
            .set_start_cmd("python3 -m http.server 8080 -d /home/user/site", e2b.wait_for_port(8080))
        )
        info = Template.build(steps, f"{PREFIX}-built", cpu_count=1, memory_mb=512, on_build_logs=lines.append)
        assert lines, "no log"
        return info


@feature("Templates: build", 4 * MINUTE)
def _():
    info = built()
    assert info.template_id and info.build_id


@feature("Templates: a sandbox of it", 4 * MINUTE)
def _():
    built()
    got = output(create(f"{PREFIX}-built"), "cat /home/user/site/copied.txt level.txt; curl -sS localhost:8080/level.txt")
    equal(got, f"for {PREFIX}\ntemplate\ntemplate\n")


@feature("Templates: from a Dockerfile, in the background", 2 * MINUTE)
def _():
    needs(Template, "build_in_background", "get_build_status")
    steps = Template().from_dockerfile("FROM e2bdev/base\nENV A=1\nRUN echo $A | sudo tee /made.txt\n")
    info = Template.build_in_background(steps, f"{PREFIX}-docker", cpu_count=1, memory_mb=512)

    def ready():
        status = Template.get_build_status(info).status
        assert getattr(status, "value", status) != "error", "it failed"
        return getattr(status, "value", status) == "ready"

    eventually(ready, "it is ready")
    equal(output(create(f"{PREFIX}-docker"), "cat /made.txt"), "1\n")


@feature("Templates: a failing step", 2 * MINUTE)
def _():
    needs(Template)
    steps = Template().from_base_image().run_cmd("exit 7")
    raises("BuildException", Template.build, steps, f"{PREFIX}-fails", cpu_count=1, memory_mb=512)


@feature("Templates: names and tags", 4 * MINUTE)
def _():
    needs(Template, "exists", "assign_tags", "get_tags", "remove_tags")
    info = built()
    equal((Template.exists(f"{PREFIX}-built"), Template.exists(f"{PREFIX}-nothing")), (True, False))

    def tagged():
        return sorted(t.tag for t in Template.get_tags(info.template_id) if t.build_id == info.build_id)

    Template.assign_tags(f"{PREFIX}-built:default", "stable")
    equal(tagged(), ["default", "stable"])
    create(f"{PREFIX}-built:stable")
    Template.remove_tags(f"{PREFIX}-built", "stable")
    equal(tagged(), ["default"])
