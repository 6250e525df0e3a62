"""What the SDK sees of guests that are microVMs; test/microvm runs this in the lab."""

import json
import os
import time
import unittest
import urllib.request

from e2b import AsyncSandbox, CommandExitException, Sandbox, SandboxException, connection_config

import test_lifecycle
from test_lifecycle import count
from test_sandbox import eventually


def take_time():
    """Has other tests, which run with these, be patient: emulated processors take their time for everything."""
    connection_config.REQUEST_TIMEOUT = 600.0
    eventually.__defaults__ = (600,)
    # One that counts, more slowly: each step is two programs.
    test_lifecycle.COUNT = test_lifecycle.COUNT.replace("sleep 0.05", "sleep 0.5")
    for kind, name in (Sandbox, "create"), (AsyncSandbox, "create"), (Sandbox, "fork"):
        setattr(kind, name, patient(kind, name))
    for kind in Sandbox, AsyncSandbox:
        kind.create = persistent(kind.__dict__["create"])
        kind.connect = persistent(kind.__dict__["connect"])


class persistent:
    """A method that is called again when the machine had too little time for it, or asks for more."""

    def __init__(self, method):
        self.method = method

    def __get__(self, instance, owner):
        method = self.method.__get__(instance, owner)

        def call(*args, **options):
            while True:
                try:
                    return method(*args, **options)
                except SandboxException as e:
                    asked_for_time(e)

        async def wait(*args, **options):
            while True:
                try:
                    return await method(*args, **options)
                except SandboxException as e:
                    asked_for_time(e)

        return wait if owner is AsyncSandbox else call


def asked_for_time(error):
    if not str(error).startswith("504"):
        raise error


class patient:
    """A method whose time-out, if it is not to be over soon, is ten times what is asked for."""

    def __init__(self, kind, name):
        self.method = kind.__dict__[name]

    def __get__(self, instance, owner):
        method = self.method.__get__(instance, owner)

        def call(*args, timeout=None, **options):
            if timeout is not None and timeout >= 60:
                timeout = min(10 * timeout, 3600)
            return method(*args, timeout=timeout, **options)

        return call


take_time()


def run(sandbox, command):
    """Runs a command, however long that takes."""
    return sandbox.commands.run(command, timeout=0)


def out(sandbox, command):
    return run(sandbox, command).stdout.strip()


def asked(sandbox, port, path="/"):
    """Asks a server in the sandbox by the proxy."""
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(port)}
    try:
        with urllib.request.urlopen(urllib.request.Request(os.environ["E2B_SANDBOX_URL"] + path, headers=headers)) as answer:
            return answer.read().decode()
    except OSError:
        return None


class Guest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(timeout=3600, network={"deny_out": [os.environ["DENIED"]]})
        cls.addClassCleanup(cls.sandbox.kill)

    def test_is_a_machine_of_its_own(self):
        self.assertEqual(out(self.sandbox, "uname -r"), os.environ["KERNEL"])
        self.assertEqual(out(self.sandbox, "findmnt -no FSTYPE /"), "ext4")
        self.assertEqual(out(self.sandbox, "cat /proc/1/comm"), "envd")
        self.assertEqual(out(self.sandbox, "hostname"), "e2b.local")

    def test_runtime_is_told(self):
        request = urllib.request.Request(f"{os.environ['E2B_API_URL']}/sandboxes/{self.sandbox.sandbox_id}",
                                         headers={"X-API-Key": os.environ["E2B_API_KEY"]})
        with urllib.request.urlopen(request) as answer:
            self.assertEqual(json.load(answer)["runtime"], "firecracker")

    def test_has_what_was_asked_for(self):
        self.assertEqual(out(self.sandbox, "nproc"), "2")
        memory = int(out(self.sandbox, "awk '/MemTotal/ {print $2}' /proc/meminfo"))
        self.assertTrue(900 << 10 < memory <= 1024 << 10, memory)
        free = int(out(self.sandbox, "df --output=avail -BM / | tail -1").rstrip("M"))
        self.assertTrue(980 < free <= 1080, free)

    def test_egress(self):
        self.assertEqual(out(self.sandbox, f"curl -s -m 30 http://{os.environ['OPEN']}/"), "reached " + os.environ["OPEN"])
        with self.assertRaises(CommandExitException):
            run(self.sandbox, f"curl -s -m 30 http://{os.environ['DENIED']}/")

    def test_ports(self):
        server = self.sandbox.commands.run("python3 -m http.server 8000 -d /etc", background=True, timeout=0)
        self.assertEqual(eventually(lambda: asked(self.sandbox, 8000, "/hostname"), "the server answers"),
                         out(self.sandbox, "cat /etc/hostname") + "\n")
        server.kill()

    def test_memory_is_bounded(self):
        with self.assertRaises(CommandExitException) as caught:
            run(self.sandbox, "python3 -c \"len(b'x' * (3 << 30))\"")
        self.assertIn(caught.exception.exit_code, (1, 137))  # refused, or killed
        self.assertEqual(out(self.sandbox, "echo alive"), "alive")

    def test_disk_is_bounded(self):
        with self.assertRaises(CommandExitException) as caught:
            run(self.sandbox, "fallocate -l 2G /home/user/big")
        self.assertIn("No space left on device", caught.exception.stderr)
        run(self.sandbox, "rm -f /home/user/big; fallocate -l 500M /home/user/fits && rm /home/user/fits")

    def test_clock_is_the_hosts(self):
        self.assertLess(abs(float(out(self.sandbox, "date +%s.%N")) - time.time()), 30)


def counting(**options):
    """A sandbox with a process that counts in memory, slowly enough for an emulated processor."""
    sandbox = Sandbox.create(timeout=3600, **options)
    sandbox.files.write("mark.txt", "mine")
    sandbox.commands.run("i=0; while sleep 0.5; do i=$((i+1)); echo $i > /dev/shm/next; mv /dev/shm/next /dev/shm/count; done",
                         background=True, timeout=0)
    eventually(lambda: sandbox.files.exists("/dev/shm/count") and count(sandbox) > 1, "it counts")
    return sandbox


class Copies(unittest.TestCase):
    def test_two_of_a_snapshot_differ(self):
        sandbox = counting()
        self.addCleanup(sandbox.kill)
        snapshot = sandbox.create_snapshot()
        self.addCleanup(Sandbox.delete_snapshot, snapshot.snapshot_id)
        names, drawn = set(), set()
        for _ in range(2):
            copy = Sandbox.create(snapshot.snapshot_id, timeout=600)
            self.addCleanup(copy.kill)
            self.assertEqual(copy.files.read("mark.txt"), "mine")
            before = count(copy)
            eventually(lambda: count(copy) > before, "its process goes on")
            names.add(out(copy, "echo $E2B_SANDBOX_ID"))
            drawn.add(out(copy, "head -c 16 /dev/urandom | od -An -tx1"))
            copy.files.write("mark.txt", "of a copy")
            self.assertEqual(out(copy, f"curl -s -m 30 http://{os.environ['OPEN']}/"), "reached " + os.environ["OPEN"])
        self.assertEqual((len(names), len(drawn)), (2, 2), (names, drawn))
        self.assertEqual(sandbox.files.read("mark.txt"), "mine")


class Ends(unittest.TestCase):
    def test_kill_of_one_that_writes(self):
        """What the host's page cache has of its disk is nobody's any more, and nothing waits for it."""
        sandbox = Sandbox.create(timeout=3600)
        self.addCleanup(sandbox.kill)
        run(sandbox, "dd if=/dev/urandom of=big bs=1M count=24 oflag=direct")
        began = time.monotonic()
        self.assertTrue(sandbox.kill())
        self.assertLess(time.monotonic() - began, 30)

    def test_end_of_the_machine(self):
        sandbox = Sandbox.create(timeout=3600)
        self.addCleanup(sandbox.kill)
        with self.assertRaises(Exception):
            sandbox.commands.run("sudo sh -c 'echo b > /proc/sysrq-trigger'", timeout=30)
        eventually(lambda: not sandbox.is_running(), "a machine that has ended is no sandbox")


def kept():
    with open(os.environ["STATE"]) as f:
        return json.load(f)


def keep(**state):
    with open(os.environ["STATE"], "w") as f:
        json.dump(state, f)


class BeforeKill(unittest.TestCase):
    def test(self):
        running = counting(network={"deny_out": [os.environ["DENIED"]]})
        paused = counting()
        paused.pause()
        keep(running=running.sandbox_id, paused=paused.sandbox_id, counted=count(running))


class AfterKill(unittest.TestCase):
    def goes_on(self, sandbox, above):
        before = count(sandbox)
        self.assertGreater(before, above)
        eventually(lambda: count(sandbox) > before, "it counts on")
        self.assertEqual(out(sandbox, "cat mark.txt"), "mine")

    def test(self):
        state = kept()
        running = Sandbox.connect(state["running"], timeout=3600)
        self.addCleanup(running.kill)
        paused = Sandbox.connect(state["paused"], timeout=3600)
        self.addCleanup(paused.kill)
        self.goes_on(running, state["counted"])
        self.goes_on(paused, 0)
        with self.assertRaises(CommandExitException):  # its rules hold still
            run(running, f"curl -s -m 30 http://{os.environ['DENIED']}/")
        for fork in running.fork(count=1, timeout=600):
            self.addCleanup(fork.kill)
            self.goes_on(fork, state["counted"])
        counted = count(running)
        running.pause()
        self.goes_on(running.connect(timeout=3600), counted - 1)
        running.pause(mode="filesystem")
        running.connect(timeout=3600)
        self.assertEqual(running.files.read("mark.txt"), "mine")
        self.assertFalse(running.files.exists("/dev/shm/count"))


class BeforeRates(unittest.TestCase):
    def test(self):
        paused = counting()
        paused.pause()
        keep(paused=paused.sandbox_id)


class AfterRates(unittest.TestCase):
    def bounded(self, sandbox):
        """With 2 MiB a second, 12 MiB that pass the guest's cache take six seconds, less a first burst."""
        took = float(out(sandbox, "a=$(date +%s.%N); dd if=/dev/zero of=big bs=1M count=12 oflag=direct 2>/dev/null; "
                                  "echo \"$(date +%s.%N) - $a\" | python3 -c 'print(eval(input()))'"))
        self.assertGreater(took, 4.5)

    def test(self):
        begun = Sandbox.create(timeout=3600)
        self.addCleanup(begun.kill)
        self.bounded(begun)
        back = Sandbox.connect(kept()["paused"], timeout=3600)
        self.addCleanup(back.kill)
        self.bounded(back)


class Stays(unittest.TestCase):
    def test(self):
        """One that nobody has ended."""
        Sandbox.create(timeout=3600)


if __name__ == "__main__":
    unittest.main()
