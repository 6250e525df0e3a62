"""Builds a template from steps, and starts a sandbox from it."""

from e2b import Sandbox, Template, default_build_logger

template = (
    Template()
    .from_template("base")
    .set_envs({"GREETING": "Hello"})
    .set_workdir("/app")
    .run_cmd('echo "$GREETING from $PWD" > greeting.txt', user="root")
)
Template.build(template, "greeter", cpu_count=1, memory_mb=1024, on_build_logs=default_build_logger())

sandbox = Sandbox.create("greeter", timeout=60)
try:
    print(sandbox.commands.run("cat greeting.txt").stdout.strip())
finally:
    sandbox.kill()
