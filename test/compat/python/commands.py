"""Commands, terminals and git."""

import inspect
import time

from client import MINUTE, e2b, equal, feature, needs, ours, output, raises, sleeper, sleeps


def takes_input(call):
    """The option that keeps the input of a command open; releases of 1.x always do."""
    return {"stdin": True} if "stdin" in inspect.signature(call).parameters else {}


@feature("Commands: run")
def _():
    done = ours().commands.run("echo out; echo err >&2")
    equal((done.stdout, done.stderr, done.exit_code), ("out\n", "err\n", 0))


@feature("Commands: user, directory, environment")
def _():
    got = output(ours(), "id -u; pwd; echo $LEVEL", user="root", cwd="/etc", envs={"LEVEL": "command"})
    equal(got, "0\n/etc\ncommand\n")


@feature("Commands: exit status")
def _():
    error = raises("CommandExitException", ours().commands.run, "echo out; exit 3")
    equal((error.exit_code, error.stdout), (3, "out\n"))


@feature("Commands: output as it comes")
def _():
    times = []
    ours().commands.run("for i in 1 2 3; do echo $i; sleep 0.3; done", on_stdout=lambda _: times.append(time.monotonic()))
    assert times[-1] - times[0] > 0.4, "it came at once"


@feature("Commands: time limit")
def _():
    raises("TimeoutException", ours().commands.run, "sleep 30", timeout=1)


@feature("Commands: background, list, connect, kill")
def _():
    pid = sleeper(ours()).pid
    assert sleeps(ours(), pid)
    again = ours().commands.connect(pid, timeout=0)
    equal(ours().commands.kill(pid), True)
    raises("CommandExitException", again.wait)
    equal(ours().commands.kill(pid), False)


@feature("Commands: input")
def _():
    commands = ours().commands
    handle = commands.run("read line; echo got $line", background=True, **takes_input(commands.run))
    commands.send_stdin(handle.pid, "word\n")
    equal(handle.wait().stdout, "got word\n")


@feature("Commands: end of the input")
def _():
    commands = ours().commands
    needs(commands, "close_stdin")
    handle = commands.run("wc -c", background=True, **takes_input(commands.run))
    commands.send_stdin(handle.pid, "12345")
    commands.close_stdin(handle.pid)
    equal(handle.wait().stdout.strip(), "5")


@feature("Commands: streamed input")
def _():
    commands = ours().commands
    needs(commands, "stream_input")
    handle = commands.run("head -c 9", background=True, **takes_input(commands.run))
    commands.stream_input(handle.pid, iter(["one ", b"two ", "3"]))
    equal(handle.wait().stdout, "one two 3")


@feature("Commands: terminal")
def _():
    pty = ours().pty
    terminal = pty.create(e2b.PtySize(rows=24, cols=80), timeout=MINUTE // 2)
    pty.resize(terminal.pid, e2b.PtySize(rows=30, cols=100))
    pty.send_stdin(terminal.pid, b"stty size\n")
    seen = b""
    for _, _, data in terminal:
        seen += data or b""
        if b"30 100" in seen:
            break
    assert b"30 100" in seen, seen
    equal(pty.kill(terminal.pid), True)


@feature("Commands: git")
def _():
    needs(ours(), "git")
    ours().git.init("/tmp/repository")
    ours().files.write("/tmp/repository/a.txt", "a")
    equal(len(ours().git.status("/tmp/repository").file_status), 1)
