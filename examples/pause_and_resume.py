"""Pauses a sandbox in the middle of its work, and resumes it where it was."""

from e2b import Sandbox

sandbox = Sandbox.create(timeout=300)
try:
    sandbox.commands.run("sleep 1000", background=True)
    sandbox.files.write("note.txt", "written before the pause")

    sandbox.pause()  # nothing of it runs any more, and it costs disk space only
    print("paused", sandbox.sandbox_id)

    resumed = Sandbox.connect(sandbox.sandbox_id)  # also from another program, or days later
    print(resumed.files.read("note.txt"))
    print("still running:", resumed.commands.run("pgrep -x sleep | wc -l").stdout.strip())
finally:
    sandbox.kill()
