"""The Python SDK, newest or 1.x, that knows the domain and a key, and nothing else."""

import os
import threading
import time
import unittest
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from e2b import Sandbox


def new(**options):
    """Creates a sandbox: 1.x by its constructor, later ones by create."""
    if new.by_constructor:
        return Sandbox("base", **options)
    return Sandbox.create("base", **options)


new.by_constructor = os.environ["SDK"].startswith("1.")


class Domain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert not {"E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DEBUG"} & set(os.environ)
        cls.sandbox = new(timeout=300, metadata={"of": "domain"})
        cls.addClassCleanup(cls.sandbox.kill)

    def test_commands_and_files(self):
        self.assertEqual(self.sandbox.commands.run("echo $((6*7))").stdout, "42\n")
        self.sandbox.files.write("/tmp/t.txt", "text")
        self.assertEqual(self.sandbox.files.read("/tmp/t.txt"), "text")
        self.assertIn("t.txt", [e.name for e in self.sandbox.files.list("/tmp")])

    def test_many_calls_on_one_connection(self):
        for i in range(150):
            self.assertEqual(self.sandbox.commands.run(f"echo {i}").stdout, f"{i}\n")

    def test_many_calls_at_once(self):
        with ThreadPoolExecutor(100) as pool:
            outputs = list(pool.map(lambda i: self.sandbox.commands.run(f"echo {i}", timeout=120).stdout, range(300)))
        self.assertEqual(outputs, [f"{i}\n" for i in range(300)])

    @unittest.skipIf(new.by_constructor, "it came with 2.58")
    def test_stream_of_input(self):
        handle = self.sandbox.commands.run("cat", background=True, stdin=True)
        echoed = threading.Semaphore(0)
        reader = threading.Thread(target=lambda: handle.wait(on_stdout=lambda _: echoed.release()))
        reader.start()

        def lines():
            for i in range(5):
                yield f"{i}\n"
                self.assertTrue(echoed.acquire(timeout=20), "what was sent is held back")

        self.sandbox.commands.stream_input(handle.pid, lines())
        self.sandbox.commands.close_stdin(handle.pid)
        reader.join()

    def test_output_as_it_comes(self):
        times = []
        self.sandbox.commands.run("for i in 1 2 3; do echo $i; sleep 0.5; done", on_stdout=lambda _: times.append(time.monotonic()))
        self.assertGreater(times[-1] - times[0], 0.7)

    def test_port(self):
        self.sandbox.commands.run("python3 -m http.server 3000 -d /etc", background=True)
        host = self.sandbox.get_host(3000)
        self.assertTrue(host.endswith("." + os.environ["E2B_DOMAIN"]), host)
        end = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"https://{host}/hostname", timeout=10) as answer:
                    self.assertEqual(answer.status, 200)
                    return
            except urllib.error.HTTPError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def test_connect(self):
        again = Sandbox.connect(self.sandbox.sandbox_id)
        self.assertEqual(again.commands.run("echo again").stdout, "again\n")
        self.assertTrue(again.is_running())


if __name__ == "__main__":
    unittest.main()
