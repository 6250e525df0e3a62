"""Pause, resume, snapshots and forks by the official Python SDK, sync and async."""

import asyncio
import os
import threading
import time
import unittest

from e2b import (
    AsyncSandbox,
    ConnectionConfig,
    GuestUnresponsiveException,
    Sandbox,
    SandboxException,
    SandboxNotFoundException,
    SandboxNotRunningException,
    ServiceBusyException,
)
from e2b.api.client.api.sandboxes import get_sandboxes_sandbox_id
from e2b.api.client.types import UNSET
from e2b.api.client_sync import get_api_client

from test_sandbox import eventually

COUNT = "i=0; while true; do i=$((i+1)); echo $i > /dev/shm/next; mv /dev/shm/next /dev/shm/count; sleep 0.05; done"


def count(sandbox):
    return int(sandbox.files.read("/dev/shm/count"))


def started(case, **options):
    """Creates a sandbox with a file, and with a process that counts in memory."""
    sandbox = Sandbox.create(timeout=120, **options)
    case.addCleanup(sandbox.kill)
    sandbox.files.write("mark.txt", "mine")
    sandbox.commands.run(COUNT, background=True, timeout=0)
    eventually(lambda: sandbox.files.exists("/dev/shm/count") and count(sandbox) > 1, "it counts")
    return sandbox


class Ends(unittest.TestCase):
    """What is under way when a sandbox ends fails by the exception that says so."""

    def command(self, sandbox, begun, over):
        sandbox.commands.run("echo begun; sleep 60", on_stdout=lambda _: begun.set())

    def upload(self, sandbox, begun, over):
        def slowly():
            for i in range(600):
                yield b"x" * 1000
                if i == 5:
                    begun.set()
                if over.wait(0.1):
                    return  # the client goes on asking after the upload has failed

        sandbox.files.write("/tmp/upload", slowly())

    def test_ends_during_requests(self):
        ends = {"kill": lambda s: s.kill(), "pause": lambda s: s.pause(), "time-out": lambda s: s.set_timeout(1)}
        for name, end in ends.items():
            for work in self.command, self.upload:
                with self.subTest(end=name, work=work.__name__):
                    self.ends(end, work)

    def ends(self, end, work):
        sandbox = Sandbox.create(timeout=120)
        self.addCleanup(Sandbox.kill, sandbox.sandbox_id)
        begun, over = threading.Event(), threading.Event()

        def ending():
            begun.wait(60)
            end(sandbox)

        ender = threading.Thread(target=ending)
        ender.start()
        with self.assertRaises(SandboxNotRunningException):
            work(sandbox, begun, over)
        over.set()
        ender.join()


class Pause(unittest.TestCase):
    def test_memory_and_disk_come_back(self):
        sandbox = started(self, envs={"LEVEL": "sandbox"}, metadata={"m": "1"})
        self.assertTrue(sandbox.pause())
        self.assertFalse(sandbox.pause())
        self.assertEqual(sandbox.get_info().state.value, "paused")
        self.assertFalse(sandbox.is_running())
        sandbox.connect(timeout=60)
        before = count(sandbox)
        eventually(lambda: count(sandbox) > before, "it counts on")
        self.assertEqual(sandbox.commands.run("echo $LEVEL; cat mark.txt").stdout, "sandbox\nmine")
        self.assertEqual(sandbox.get_info().metadata, {"m": "1"})

    def test_stream_is_attached_again(self):
        sandbox = started(self)
        process = next(p for p in sandbox.commands.list() if "count" in " ".join(p.args))
        sandbox.pause()
        again = Sandbox.connect(sandbox.sandbox_id)
        again.commands.connect(process.pid, timeout=0)
        self.assertTrue(again.commands.kill(process.pid))

    def pause_mode(self, sandbox):
        with get_api_client(ConnectionConfig()) as client:
            return get_sandboxes_sandbox_id.sync(sandbox.sandbox_id, client=client).pause_mode

    def test_disk_only(self):
        sandbox = started(self)
        self.assertIs(self.pause_mode(sandbox), UNSET)
        self.assertTrue(sandbox.pause(mode="filesystem"))
        self.assertEqual(self.pause_mode(sandbox), "filesystem")
        sandbox.connect()
        self.assertEqual(sandbox.files.read("mark.txt"), "mine")
        self.assertFalse(sandbox.files.exists("/dev/shm/count"))

    def test_reboot(self):
        sandbox = started(self)
        sandbox.pause()
        self.assertEqual(self.pause_mode(sandbox), "full")
        sandbox.connect(on_resume="reboot")
        self.assertEqual(sandbox.files.read("mark.txt"), "mine")
        self.assertFalse(sandbox.files.exists("/dev/shm/count"))

    def test_time_out_pauses_and_traffic_resumes(self):
        sandbox = Sandbox.create(timeout=1, lifecycle={"on_timeout": "pause", "auto_resume": True})
        self.addCleanup(sandbox.kill)
        eventually(lambda: sandbox.get_info().state.value == "paused", "the time-out pauses it")
        self.assertEqual(sandbox.commands.run("echo awake").stdout, "awake\n")
        self.assertEqual(sandbox.get_info().state.value, "running")

    def test_time_out_keeps_the_disk_only(self):
        sandbox = started(self, lifecycle={"on_timeout": {"action": "pause", "mode": "filesystem"}})
        for generation in range(2):
            sandbox.set_timeout(0)
            eventually(lambda: sandbox.get_info().state.value == "paused", "the time-out pauses it")
            self.assertFalse(sandbox.is_running())
            sandbox.connect(timeout=60)
            self.assertEqual(sandbox.commands.run("whoami; cat mark.txt").stdout, "user\nmine")
            self.assertFalse(sandbox.files.exists("/dev/shm/count"))

    def test_daemon_hangs(self):
        sandbox = started(self)
        self.assertTrue(sandbox.pause(strict=True))
        sandbox.connect()
        with self.assertRaises(SandboxException):
            sandbox.commands.run("sudo kill -STOP $(pgrep -o envd)", timeout=2, request_timeout=3)
        for options in {"strict": True}, {"mode": "filesystem"}:
            with self.assertRaisesRegex(ServiceBusyException, "does not answer"):
                sandbox.pause(**options)
            self.assertEqual(sandbox.get_info().state.value, "running")
        self.assertTrue(sandbox.pause())
        began = time.monotonic()
        with self.assertRaises(GuestUnresponsiveException):
            sandbox.connect()
        self.assertLess(time.monotonic() - began, 5)
        self.assertFalse(sandbox.is_running())
        sandbox.connect(on_resume="reboot")
        self.assertEqual(sandbox.files.read("mark.txt"), "mine")
        self.assertFalse(sandbox.files.exists("/dev/shm/count"))

    def test_kill_of_a_paused_one(self):
        sandbox = started(self)
        sandbox.pause()
        self.assertTrue(sandbox.kill())
        self.assertFalse(sandbox.kill())
        with self.assertRaises(SandboxNotFoundException):
            sandbox.connect()
        with self.assertRaises(SandboxNotFoundException):
            sandbox.pause()


class Snapshots(unittest.TestCase):
    def test_copies_outlive_their_source(self):
        sandbox = started(self)
        name = "py-" + os.urandom(6).hex()
        snapshot = sandbox.create_snapshot(name=name)
        self.addCleanup(Sandbox.delete_snapshot, snapshot.snapshot_id)
        self.assertTrue(sandbox.is_running())
        self.assertEqual([s.snapshot_id for s in sandbox.list_snapshots().next_items()], [snapshot.snapshot_id])
        sandbox.kill()
        copy = Sandbox.create(name, timeout=60)
        self.addCleanup(copy.kill)
        self.assertEqual(copy.files.read("mark.txt"), "mine")
        before = count(copy)
        eventually(lambda: count(copy) > before, "its process goes on")
        copy.kill()
        self.assertTrue(Sandbox.delete_snapshot(snapshot.snapshot_id))
        self.assertFalse(Sandbox.delete_snapshot(snapshot.snapshot_id))

    def test_tags(self):
        sandbox = started(self)
        name = "py-" + os.urandom(6).hex()
        for tag in ("v1", "v2"):
            sandbox.files.write("mark.txt", tag)
            self.assertEqual(sandbox.create_snapshot(name=f"{name}:{tag}").snapshot_id, f"local-dev-team/{name}:{tag}")
        listed = [s.snapshot_id for s in Sandbox.list_snapshots(name=f"{name}:v1").next_items()]
        self.assertEqual(listed, [f"local-dev-team/{name}:v1"])
        for tag in ("v1", "v2"):
            copy = Sandbox.create(f"{name}:{tag}", timeout=60)
            self.addCleanup(copy.kill)
            self.assertEqual(copy.files.read("mark.txt"), tag)
            copy.kill()
        self.assertTrue(Sandbox.delete_snapshot(name))
        self.assertEqual(Sandbox.list_snapshots(name=name).next_items(), [])

    def test_disk_only(self):
        sandbox = started(self)
        snapshot = sandbox.create_snapshot(mode="filesystem")
        copy = Sandbox.create(snapshot.snapshot_id, timeout=60)
        self.addCleanup(copy.kill)
        self.assertEqual(copy.files.read("mark.txt"), "mine")
        self.assertFalse(copy.files.exists("/dev/shm/count"))
        self.assertEqual(copy.commands.list(), [])
        before = count(sandbox)
        eventually(lambda: count(sandbox) > before, "the original counts on")

    def test_unnamed(self):
        sandbox = started(self)
        snapshot = sandbox.create_snapshot()
        self.assertEqual(snapshot.names, [])
        self.assertTrue(Sandbox.delete_snapshot(snapshot.snapshot_id))


class Fork(unittest.TestCase):
    def test_copies_diverge(self):
        sandbox = started(self)
        forks = sandbox.fork(count=3, timeout=60)
        for i, fork in enumerate(forks):
            self.assertIsInstance(fork, Sandbox)
            self.addCleanup(fork.kill)
            fork.files.write("mark.txt", f"of {i}")
        self.assertEqual([f.files.read("mark.txt") for f in forks], ["of 0", "of 1", "of 2"])
        self.assertEqual(sandbox.files.read("mark.txt"), "mine")
        self.assertEqual(len({sandbox.sandbox_id, *(f.sandbox_id for f in forks)}), 4)
        before = count(forks[0])
        eventually(lambda: count(forks[0]) > before, "a fork's process goes on")


async def begun(sandbox, snapshot):
    """Returns while the sandbox's snapshot is being made, when its time-out cannot be changed."""
    while not snapshot.done():
        try:
            await sandbox.set_timeout(120)
        except SandboxException:
            return


class Together(unittest.IsolatedAsyncioTestCase):
    async def test_ten_connects_resume_once(self):
        sandbox = await AsyncSandbox.create(timeout=120)
        try:
            await sandbox.files.write("/dev/shm/mark", "in memory")
            await sandbox.pause()
            again = await asyncio.gather(*(AsyncSandbox.connect(sandbox.sandbox_id) for _ in range(10)))
            marks = await asyncio.gather(*(s.files.read("/dev/shm/mark") for s in again))
            self.assertEqual(set(marks), {"in memory"})
        finally:
            await sandbox.kill()

    async def test_pauses_at_once_all_succeed(self):
        sandbox = await AsyncSandbox.create(timeout=120)
        try:
            await sandbox.commands.run("head -c 256M /dev/urandom > /dev/shm/fill")
            for _ in range(10):
                answers = await asyncio.gather(*(sandbox.pause() for _ in range(5)))
                if all(answers):
                    break
                await sandbox.connect()
            else:
                self.fail("each time one came after the end of the first")
            self.assertFalse(await sandbox.pause())
        finally:
            await sandbox.kill()

    async def test_pauses_join_and_a_kill_wins(self):
        sandbox = await AsyncSandbox.create(timeout=120)
        await asyncio.gather(*(sandbox.pause() for _ in range(3)), sandbox.kill(), return_exceptions=True)
        with self.assertRaises(SandboxNotFoundException):
            await sandbox.connect()

    async def test_a_pause_waits_for_a_snapshot(self):
        sandbox = await AsyncSandbox.create(timeout=120)
        try:
            await sandbox.files.write("mark", "x")
            await sandbox.commands.run("head -c 128M /dev/urandom > /dev/shm/fill")
            snapshot = asyncio.create_task(sandbox.create_snapshot())
            await begun(sandbox, snapshot)
            self.assertTrue(await sandbox.pause())
            await AsyncSandbox.delete_snapshot((await snapshot).snapshot_id)
            await sandbox.connect()
            self.assertEqual(await sandbox.files.read("mark"), "x")
        finally:
            await sandbox.kill()


if __name__ == "__main__":
    unittest.main()
