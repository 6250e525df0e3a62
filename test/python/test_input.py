"""Input that is streamed to commands and terminals (clients-2.63.md §5.1), and what else newer SDKs
send that nothing else here does."""

import asyncio
import io
import threading
import time
import unittest

from e2b import AsyncSandbox, NotFoundException, PtySize, Sandbox, SandboxException


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(timeout=600)
        cls.addClassCleanup(cls.sandbox.kill)

    def test_a_thousand_in_order(self):
        commands = self.sandbox.commands
        handle = commands.run("cat", background=True, stdin=True)
        commands.stream_input(handle.pid, (f"{i}\n" for i in range(1000)))
        commands.close_stdin(handle.pid)
        self.assertEqual(handle.wait().stdout, "".join(f"{i}\n" for i in range(1000)))

    def test_echo_while_the_stream_is_open(self):
        commands = self.sandbox.commands
        handle = commands.run("cat", background=True, stdin=True)
        echoed = threading.Semaphore(0)
        reader = threading.Thread(target=lambda: handle.wait(on_stdout=lambda _: echoed.release()))
        reader.start()

        def lines():
            for i in range(5):
                yield f"{i}\n"
                self.assertTrue(echoed.acquire(timeout=20), "what was sent is held back")

        commands.stream_input(handle.pid, lines())
        commands.close_stdin(handle.pid)
        reader.join()

    def test_files_of_any_source(self):
        files = self.sandbox.files
        files.write("/tmp/in/generated", (b"y" * 1000 for _ in range(100)))
        files.write("/tmp/in/object", io.BytesIO(b"z" * 10), gzip=True)
        files.write_files([{"path": "/tmp/in/1", "data": (b"2" for _ in range(3))}, {"path": "/tmp/in/2", "data": "3"}])
        self.assertEqual(files.read("/tmp/in/generated", format="bytes"), b"y" * 100_000)
        self.assertEqual([files.read(f"/tmp/in/{name}") for name in ("object", "1", "2")], ["z" * 10, "222", "3"])

    def test_git(self):
        git, run = self.sandbox.git, self.sandbox.commands.run
        git.configure_user("Somebody", "somebody@example.com")
        git.init("/tmp/repo", initial_branch="main")
        self.sandbox.files.write("/tmp/repo/file", "1")
        git.add("/tmp/repo")
        git.commit("/tmp/repo", "first")
        git.create_branch("/tmp/repo", "other")
        self.assertEqual(sorted(git.branches("/tmp/repo").branches), ["main", "other"])
        git.checkout_branch("/tmp/repo", "main")
        git.delete_branch("/tmp/repo", "other", force=True)
        run("git init -q --bare -b main /tmp/bare")
        git.remote_add("/tmp/repo", "origin", "/tmp/bare")
        git.push("/tmp/repo", remote="origin", branch="main", set_upstream=True)
        git.clone("/tmp/bare", "/tmp/copy")
        self.sandbox.files.write("/tmp/copy/file", "2")
        self.assertEqual([f.name for f in git.status("/tmp/copy").file_status], ["file"])
        git.restore("/tmp/copy", paths=["file"])
        self.assertEqual(git.status("/tmp/copy").file_status, [])
        git.pull("/tmp/copy")


class AsyncStreams(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.sandbox = await AsyncSandbox.create(timeout=300)
        self.addAsyncCleanup(self.sandbox.kill)

    async def test_terminal(self):
        out, seen = bytearray(), asyncio.Event()

        async def data(chunk):
            out.extend(chunk)
            if b"a2b" in out:
                seen.set()

        terminal = await self.sandbox.pty.create(PtySize(24, 80), on_data=data)
        stream = self.sandbox.pty.stream_input(terminal.pid)
        await stream.send(b"echo a$((1+1))b\n")
        await asyncio.wait_for(seen.wait(), 20)
        await stream.send(b"exit\n")
        await stream.close()
        await terminal.wait()

    async def test_nobody_reads(self):
        """The stream fails while it is open and its owner has nothing to send."""
        stream = self.sandbox.commands.stream_input(99999, timeout=0)
        await stream.send("x")
        end = time.monotonic() + 20
        with self.assertRaises(NotFoundException):
            while time.monotonic() < end:
                await asyncio.sleep(0.05)
                await stream.send("y")
        handle = await self.sandbox.commands.run("head -c 1", background=True, stdin=True)
        stream = self.sandbox.commands.stream_input(handle.pid, timeout=0)
        await stream.send("x")
        await handle.wait()
        with self.assertRaises(SandboxException):
            while time.monotonic() < end:
                await asyncio.sleep(0.05)
                await stream.send("y")


if __name__ == "__main__":
    unittest.main()
