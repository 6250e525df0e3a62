"""The lives of sandboxes."""

import inspect
import time
import urllib.request

from client import (
    MINUTE,
    METADATA,
    Sandbox,
    Missing,
    create,
    e2b,
    equal,
    eventually,
    feature,
    made,
    needs,
    ours,
    output,
    sleeper,
    sleeps,
)


def listed(**query):
    """All sandboxes that a query finds: 1.x answers with a list, later releases with pages."""
    kind = getattr(e2b, "SandboxQuery", None)
    if kind is None:
        from e2b.sandbox.sandbox_api import SandboxQuery as kind
    answer = Sandbox.list(query=kind(**query))
    if isinstance(answer, list):
        return answer
    found = []
    while answer.has_next:
        found += answer.next_items()
    return found


def state(sandbox):
    found = sandbox.get_info().state
    return getattr(found, "value", found)


@feature("Lifecycle: create")
def _():
    equal(output(ours(), "echo $GREETING"), "hello\n")


@feature("Lifecycle: information")
def _():
    info = ours().get_info()
    equal((info.sandbox_id, info.metadata), (ours().sandbox_id, METADATA))
    assert info.end_at > info.started_at


@feature("Lifecycle: list by metadata")
def _():
    equal([s.sandbox_id for s in listed(metadata=METADATA)], [ours().sandbox_id])


@feature("Lifecycle: set the time-out")
def _():
    ours().set_timeout(60 * MINUTE)
    assert ours().get_info().end_at.timestamp() - time.time() > 50 * MINUTE


@feature("Lifecycle: connect")
def _():
    equal(output(Sandbox.connect(ours().sandbox_id), "echo again"), "again\n")


@feature("Lifecycle: metrics")
def _():
    assert eventually(ours().get_metrics, "metrics are there")[0].mem_total > 0


@feature("Lifecycle: kill")
def _():
    sandbox = create()
    equal(sandbox.is_running(), True)
    sandbox.kill()
    equal((sandbox.is_running(), Sandbox.kill(sandbox.sandbox_id)), (False, False))


@feature("Lifecycle: end by the time-out")
def _():
    sandbox = create(timeout=1)
    eventually(lambda: not sandbox.is_running(), "it ends")


@feature("Lifecycle: pause and connect")
def _():
    needs(Sandbox, "pause")
    sandbox = create()
    pid = sleeper(sandbox).pid
    sandbox.files.write("kept.txt", "kept")
    sandbox.pause()
    equal(state(sandbox), "paused")
    again = Sandbox.connect(sandbox.sandbox_id)
    equal(again.files.read("kept.txt"), "kept")
    assert sleeps(again, pid), "the process is gone"


@feature("Lifecycle: pause the disk alone")
def _():
    needs(Sandbox, "pause")
    sandbox = create()
    pid = sleeper(sandbox).pid
    sandbox.files.write("kept.txt", "kept")
    sandbox.pause(keep_memory=False)
    again = Sandbox.connect(sandbox.sandbox_id)
    equal(again.files.read("kept.txt"), "kept")
    assert not sleeps(again, pid), "the process is there"


@feature("Lifecycle: pause at the time-out, resume by a request")
def _():
    needs(Sandbox, "pause")
    sandbox = create(timeout=1, lifecycle={"on_timeout": "pause", "auto_resume": True})
    eventually(lambda: state(sandbox) == "paused", "it pauses")
    equal(output(sandbox, "echo awake"), "awake\n")


@feature("Lifecycle: snapshot")
def _():
    needs(Sandbox, "create_snapshot")
    sandbox = create()
    sandbox.files.write("kept.txt", "kept")
    snapshot = sandbox.create_snapshot().snapshot_id
    equal([s.snapshot_id for s in sandbox.list_snapshots().next_items()], [snapshot])
    copy = create(snapshot)
    equal(copy.files.read("kept.txt"), "kept")
    copy.kill()  # a snapshot in use is not deleted
    equal(Sandbox.delete_snapshot(snapshot), True)


@feature("Lifecycle: fork")
def _():
    needs(Sandbox, "fork")
    sandbox = create()
    sandbox.files.write("kept.txt", "kept")
    forks = sandbox.fork(count=2)
    made.extend(fork for fork in forks if isinstance(fork, Sandbox))
    equal([fork.files.read("kept.txt") for fork in forks], ["kept", "kept"])


@feature("Lifecycle: a port by its host")
def _():
    ours().commands.run("python3 -m http.server 3000 -d /etc", background=True, timeout=0)

    def serves():
        try:
            with urllib.request.urlopen(f"https://{ours().get_host(3000)}/hostname", timeout=10) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False

    eventually(serves, "it serves")


@feature("Lifecycle: no internet access")
def _():
    if "allow_internet_access" not in inspect.signature(getattr(Sandbox, "create", Sandbox)).parameters:
        raise Missing
    sandbox = create(allow_internet_access=False)
    equal(output(sandbox, "curl -s -m 20 http://1.1.1.1; echo $?"), "7\n")  # refused at once
