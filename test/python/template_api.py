"""How the SDK uses the template routes, without a machine.

The Go test that starts this script has an engine that plays the builds
(internal/api/sdk_test.go). The SDK accepts only the documented success codes and fails
on a missing key, which is what this tests.
"""

import os
import tempfile
from uuid import UUID

from e2b import BuildException, ConnectionConfig, Template
from e2b.api.client.api.tags import (
    get_templates_template_id_tags_count as tags_count,
    get_templates_template_id_tags_exists as tags_exists,
    get_templates_template_id_tags_groups as tags_groups,
    get_templates_template_id_tags_tag_assignments as tag_assignments,
)
from e2b.api.client.api.templates import get_default_templates, get_templates_template_id
from e2b.api.client_sync import get_api_client

context = tempfile.mkdtemp(prefix="shoal-template-")
with open(os.path.join(context, "run.sh"), "w") as f:
    f.write("echo hello\n")


def template():
    return Template(file_context_path=context)


messages = []
full = (
    template()
    .from_image("ubuntu:22.04")
    .copy("run.sh", "dst/", mode=0o755)
    .run_cmd("cat dst/run.sh")
    .set_envs({"A": "1"})
    .set_start_cmd("sleep 100", "true")
)
built = Template.build(full, "py-full:v1", tags=["v2"], cpu_count=1, memory_mb=512,
                       on_build_logs=lambda entry: messages.append(entry.message))
assert built.tags == ["v1", "v2"], built
assert any(m == f"Building template {built.template_id}/{built.build_id}" for m in messages), messages
assert any(m.startswith("Build finished, took ") for m in messages), messages
assert [m for m in messages if m.startswith("line ")] == [f"line {i}" for i in range(250)]

try:
    Template.build(template().from_image("ubuntu:22.04").run_cmd("whoami", user="root123"), "py-failing")
except BuildException as e:
    assert str(e) == "failed to run command 'whoami': command failed: unauthenticated: invalid username: 'root123'", e
else:
    raise AssertionError("the build did not fail")

background = Template.build_in_background(template().from_image("ubuntu:22.04").run_cmd("sleep 60"), "py-slow")
status = Template.get_build_status(background)
assert status.status.value == "building", status

assert Template.exists("py-full:v1") is True
assert Template.exists("py-nobody") is False
assigned = Template.assign_tags("py-full:v1", ["production"])
assert assigned.tags == ["production"] and assigned.build_id == built.build_id, assigned
Template.remove_tags("py-full", ["production"])
assert sorted(t.tag for t in Template.get_tags("py-full")) == ["v1", "v2"]

# The routes that only dashboards call, by the client in the package.
client = get_api_client(ConnectionConfig())
Template.assign_tags("py-full:v1", ["live"])
assert tags_count.sync("py-full", client=client).total == 3
assert tags_exists.sync("py-full", client=client, tag=" LIVE").normalized_tag == "live"
assert tags_exists.sync("py-full", client=client, tag="nothing").exists is False
groups = tags_groups.sync("py-full", client=client, tags_limit=2)
assert groups.tags[0].tag == "live" and groups.tags[0].assignments[0].build_id == UUID(built.build_id), groups
rest = tags_groups.sync("py-full", client=client, tags_limit=2, tags_cursor=groups.next_cursor)
assert len(rest.tags) == 1 and rest.next_cursor is None, rest
history = tag_assignments.sync("py-full", "live", client=client)
assert len(history.data) == 1 and history.next_cursor is None, history
Template.assign_tags("py-full:v1", ["default"])
template = get_templates_template_id.sync(built.template_id, client=client)
assert str(template.build_id) == built.build_id and template.cpu_count == 1 and template.created_by is None, template
defaults = get_default_templates.sync(client=client)
assert [t.template_id for t in defaults] == ["base"], defaults
print("done")
