"""End-to-end tests of Shoal by the official Python SDK, sync and async."""

import asyncio
import hashlib
import os
import time
import unittest
import urllib.request

from e2b import (
    AsyncSandbox,
    AuthenticationException,
    CommandExitException,
    FileNotFoundException,
    FileType,
    NotFoundException,
    Sandbox,
    TimeoutException,
)


def eventually(probe, what, seconds=60):
    """Calls probe until it returns a true value, and returns that value."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not happen in {seconds} s: {what}")
        time.sleep(0.05)


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(timeout=600, envs={"LEVEL": "sandbox"})
        cls.addClassCleanup(cls.sandbox.kill)

    def test_first_program(self):
        self.assertEqual(self.sandbox.commands.run('python3 -c "print(6*7)"').stdout, "42\n")

    def test_exit_code_and_outputs(self):
        with self.assertRaises(CommandExitException) as caught:
            self.sandbox.commands.run("echo out; echo err >&2; exit 7")
        self.assertEqual((caught.exception.exit_code, caught.exception.stdout, caught.exception.stderr), (7, "out\n", "err\n"))

    def test_broken_utf8_passes(self):
        result = self.sandbox.commands.run("head -c 8191 /dev/zero | tr '\\0' a; printf '\\xe2'")
        self.assertEqual(result.stdout, "a" * 8191 + "\ufffd")

    def test_environment(self):
        result = self.sandbox.commands.run("echo $LEVEL $ONE; sudo -E sh -c 'echo $ONE'", envs={"ONE": "1"})
        self.assertEqual(result.stdout, "sandbox 1\n1\n")

    def test_timeout(self):
        with self.assertRaises(TimeoutException):
            self.sandbox.commands.run("sleep 30", timeout=0.5)

    def test_background(self):
        handle = self.sandbox.commands.run("sleep 60", background=True)
        self.assertIn(handle.pid, [p.pid for p in self.sandbox.commands.list()])
        self.assertTrue(self.sandbox.commands.kill(handle.pid))
        eventually(lambda: not self.sandbox.commands.kill(handle.pid), "it is gone")
        with self.assertRaises(NotFoundException):
            self.sandbox.commands.connect(999999)

    def test_stdin(self):
        handle = self.sandbox.commands.run("cat", background=True, stdin=True)
        self.sandbox.commands.send_stdin(handle.pid, "typed")
        self.sandbox.commands.close_stdin(handle.pid)
        self.assertEqual(handle.wait().stdout, "typed")

    def test_pty(self):
        from e2b.sandbox.commands.command_handle import PtySize

        handle = self.sandbox.pty.create(PtySize(rows=24, cols=91), timeout=20)
        self.sandbox.pty.send_stdin(handle.pid, b"echo cols=$(tput cols); exit\n")
        out = bytearray()
        handle.wait(on_pty=out.extend)
        self.assertIn(b"cols=91", out)


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(timeout=600)
        cls.addClassCleanup(cls.sandbox.kill)

    def test_text_bytes_and_stream(self):
        files = self.sandbox.files
        info = files.write("note.txt", "text")
        self.assertEqual((info.name, info.path), ("note.txt", "/home/user/note.txt"))
        self.assertEqual(files.read("note.txt"), "text")
        data = os.urandom(200_000)
        files.write("data.bin", data)
        self.assertEqual(bytes(files.read("data.bin", format="bytes")), data)
        self.assertEqual(b"".join(files.read("data.bin", format="stream")), data)

    def test_many(self):
        from e2b.sandbox.filesystem.filesystem import WriteEntry

        entries = [WriteEntry(path=f"many/{i}/f", data=f"{i}") for i in range(8)]
        written = self.sandbox.files.write_files(entries)
        self.assertEqual([w.path for w in written], [f"/home/user/many/{i}/f" for i in range(8)])

    def test_missing(self):
        with self.assertRaises(FileNotFoundException):
            self.sandbox.files.read("missing")
        self.assertFalse(self.sandbox.files.exists("missing"))

    def test_directories(self):
        files = self.sandbox.files
        self.assertTrue(files.make_dir("d/e"))
        self.assertFalse(files.make_dir("d/e"))
        files.write("d/f", "x")
        self.assertEqual([e.name for e in files.list("d", depth=2)], ["e", "f"])
        info = files.get_info("d/f")
        self.assertEqual((info.size, info.mode, info.owner), (1, 0o644, "user"))
        files.rename("d/f", "d/g")
        files.remove("d")
        self.assertFalse(files.exists("d"))

    def test_links(self):
        self.sandbox.commands.run("mkdir links && cd links && mkdir d && touch f && ln -s f to-f && ln -s d to-d && ln -s none broken")
        files = self.sandbox.files
        kinds = {e.name: e.type for e in files.list("links")}
        self.assertEqual(kinds, {"d": FileType.DIR, "f": FileType.FILE, "to-f": FileType.SYMLINK, "to-d": FileType.SYMLINK})
        info = files.get_info("links/broken")
        self.assertEqual((info.type, info.symlink_target), (FileType.SYMLINK, "/home/user/links/broken"))

    def test_watch_sees_exactly_three_events(self):
        self.sandbox.files.make_dir("watched")
        handle = self.sandbox.files.watch_dir("watched")
        self.assertEqual(handle.get_new_events(), [])
        self.sandbox.files.write("watched/f", "x")
        events = handle.get_new_events()
        self.assertEqual([(e.type.value, e.name) for e in events], [("create", "f"), ("chmod", "f"), ("write", "f")])
        handle.stop()

    def test_hundred_megabytes(self):
        data = os.urandom(1 << 20) * 100
        self.sandbox.files.write("/tmp/big", data)
        inside = self.sandbox.commands.run("sha256sum /tmp/big").stdout.split()[0]
        self.assertEqual(inside, hashlib.sha256(data).hexdigest())
        got = hashlib.sha256()
        for part in self.sandbox.files.read("/tmp/big", format="stream"):
            got.update(part)
        self.assertEqual(got.hexdigest(), inside)

    def test_signed_download(self):
        self.sandbox.files.write("signed.txt", "by signature")
        with urllib.request.urlopen(self.sandbox.download_url("signed.txt")) as answer:
            self.assertEqual(answer.read(), b"by signature")


class Lifecycle(unittest.TestCase):
    def test_info_list_and_kill(self):
        mark = os.urandom(6).hex()
        sandbox = Sandbox.create(timeout=60, metadata={"mark": mark})
        self.addCleanup(sandbox.kill)
        info = sandbox.get_info()
        self.assertEqual((info.template_id, info.metadata), ("base", {"mark": mark}))
        from e2b import SandboxQuery

        found = Sandbox.list(query=SandboxQuery(metadata={"mark": mark})).next_items()
        self.assertEqual([s.sandbox_id for s in found], [sandbox.sandbox_id])
        self.assertTrue(sandbox.is_running())
        sandbox.set_timeout(1)
        eventually(lambda: not sandbox.is_running(), "the time-out ends the sandbox")
        # Until it is gone it is being killed, and a second kill succeeds.
        eventually(lambda: not sandbox.kill(), "there is nothing to kill")

    def test_connect(self):
        sandbox = Sandbox.create(timeout=60)
        self.addCleanup(sandbox.kill)
        again = Sandbox.connect(sandbox.sandbox_id)
        self.assertEqual(again.commands.run("echo same").stdout, "same\n")

    def test_metrics(self):
        sandbox = Sandbox.create(timeout=60)
        self.addCleanup(sandbox.kill)
        metrics = eventually(sandbox.get_metrics, "a first sample")
        self.assertGreater(metrics[-1].mem_total, 0)

    def test_wrong_key(self):
        with self.assertRaises(AuthenticationException):
            Sandbox.create(api_key="e2b_0000")


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_together(self):
        boxes = await asyncio.gather(*(AsyncSandbox.create(timeout=60) for _ in range(4)))
        try:
            results = await asyncio.gather(*(b.commands.run(f"echo {i}") for i, b in enumerate(boxes)))
            self.assertEqual([r.stdout for r in results], [f"{i}\n" for i in range(4)])
            events = []
            await boxes[0].files.make_dir("watched")
            handle = await boxes[0].files.watch_dir("watched", on_event=events.append)
            await boxes[0].files.write("watched/f", "x")
            for _ in range(1200):
                if len(events) >= 3:
                    break
                await asyncio.sleep(0.05)
            self.assertEqual([e.type.value for e in events], ["create", "chmod", "write"])
            await handle.stop()
        finally:
            await asyncio.gather(*(b.kill() for b in boxes))


if __name__ == "__main__":
    unittest.main()
