"""What features share: the release under test, its sandboxes, and the list of features."""

import functools
import importlib
import sys
import time

LIBRARY, PREFIX = sys.argv[1:]
MINUTE = 60
sdk = importlib.import_module(LIBRARY)
e2b = importlib.import_module("e2b")
Sandbox = sdk.Sandbox
Template = getattr(e2b, "Template", None)


class Missing(Exception):
    """The release does not have a feature."""


def needs(owner, *names):
    if owner is None or not all(hasattr(owner, name) for name in names):
        raise Missing


features = []
made = []


def feature(name, limit=MINUTE):
    """Adds a feature; one that takes longer than its limit in seconds has failed."""

    def add(run):
        features.append((name, run, limit))
        return run

    return add


def create(template="base", **options):
    """Creates a sandbox that is killed at the end: 1.x by the constructor, later by create."""
    options = {"timeout": 5 * MINUTE, **options}
    sandbox = Sandbox.create(template, **options) if hasattr(Sandbox, "create") else Sandbox(template, **options)
    made.append(sandbox)
    return sandbox


# Releases escape the characters of a query in different ways.
METADATA = {"made by": f"{PREFIX} & 100%"}


@functools.cache
def ours():
    """The sandbox of features that do no harm to it."""
    return create(metadata=METADATA, envs={"GREETING": "hello"})


def eventually(probe, what):
    end = time.monotonic() + MINUTE / 2
    while not (value := probe()):
        assert time.monotonic() < end, f"did not happen: {what}"
        time.sleep(0.1)
    return value


def output(sandbox, command, **options):
    return sandbox.commands.run(command, **options).stdout


def equal(got, want):
    assert got == want, f"{got!r}, not {want!r}"


def raises(errors, call, *args, **options):
    """Returns the error of a call, which must be one of the SDK's with such a name."""
    kinds = tuple(getattr(e2b, name) for name in errors.split() if hasattr(e2b, name))
    try:
        got = call(*args, **options)
    except kinds as error:
        return error
    raise AssertionError(f"{got!r} instead of {errors}")


NOT_FOUND = "NotFoundException SandboxNotFoundException FileNotFoundException"


def sleeper(sandbox):
    """A process that outlives the call that starts it, and only as long as memory is kept."""
    return sandbox.commands.run("sleep 1000", background=True, timeout=0)


def sleeps(sandbox, pid):
    return any(process.pid == pid for process in sandbox.commands.list())
