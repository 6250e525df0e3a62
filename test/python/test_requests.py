"""What ordinary users put into requests goes through; what is beyond a bound is refused, by a
message that names the bound, and nothing comes of it."""

import time
import unittest
import uuid
from concurrent.futures import ThreadPoolExecutor

from e2b import InvalidArgumentException, Sandbox, SandboxException, Template


class Requests(unittest.TestCase):
    def sandbox(self, **options):
        sandbox = Sandbox.create(timeout=120, **options)
        self.addCleanup(sandbox.kill)
        return sandbox

    def test_metadata(self):
        metadata = {f"key-{i}": f"värde {i} " * 20 for i in range(100)}
        sandbox = self.sandbox(metadata=metadata)
        self.assertEqual(sandbox.get_info().metadata, metadata)

    def test_environment(self):
        envs = {f"NAME_{i}": "x" * 2000 for i in range(32)} | {"LONG": "y" * 120_000, "LINES": "a\nb=c\n", "EMPTY": ""}
        sandbox = self.sandbox(envs=envs)
        told = sandbox.commands.run('echo ${#NAME_0} ${#NAME_31} ${#LONG} "$LINES"').stdout
        self.assertEqual(told, "2000 2000 120000 a\nb=c\n\n")
        largest = self.sandbox(envs={f"L{i}": "x" * 100_000 for i in range(5)})
        self.assertEqual(largest.commands.run("echo ${#L0} ${#L4}").stdout, "100000 100000\n")

    def test_idempotency_key(self):
        key = uuid.uuid4().hex
        with ThreadPoolExecutor(5) as pool:
            made = list(pool.map(lambda _: Sandbox.create(timeout=120, idempotency_key=key), range(5)))
        self.addCleanup(made[0].kill)
        self.assertEqual({sandbox.sandbox_id for sandbox in made}, {made[0].sandbox_id})
        self.assertEqual(made[-1].commands.run("echo same").stdout, "same\n")
        with self.assertRaisesRegex(SandboxException, "another body"):
            Sandbox.create(timeout=121, idempotency_key=key)

    def test_dns_servers(self):
        network = {"dns_servers": ["1.1.1.1"], "allow_public_traffic": None}
        sandbox = self.sandbox(network=network)
        self.assertEqual(sandbox.get_info().network["dns_servers"], ["1.1.1.1"])
        with self.assertRaisesRegex(SandboxException, "not an IPv4 address"):
            sandbox.update_network({"dns_servers": ["::1"]})
        sandbox.update_network({})
        self.assertNotIn("dns_servers", sandbox.get_info().network or {})

    def test_refusals(self):
        mark = uuid.uuid4().hex
        for options, bound in (
            ({"metadata": {"mark": mark, "much": "x" * 70_000}}, "at most 65536"),
            ({"metadata": {"mark": mark} | {f"k{i}": "" for i in range(300)}}, "at most 256"),
            ({"envs": {"A=B": "c"}}, "= or NUL"),
            ({"envs": {f"L{i}": "x" * 100_000 for i in range(6)}}, "at most 524288"),
            ({"envs": {"L": "x" * 2_000_000}}, "larger than 1 MiB"),
        ):
            with self.subTest(bound):
                with self.assertRaisesRegex(SandboxException, bound):
                    Sandbox.create(timeout=30, **{"metadata": {"mark": mark}} | options)
        from e2b import SandboxQuery

        self.assertEqual(Sandbox.list(query=SandboxQuery(metadata={"mark": mark})).next_items(), [])

    def test_steps_of_a_megabyte(self):
        steps = Template().from_template("base")
        for i in range(12):
            steps = steps.run_cmd(f"echo {i} >> /tmp/steps\n# " + "x" * 90_000)
        name = f"py-{uuid.uuid4().hex[:12]}"
        Template.build(steps, name, cpu_count=1, memory_mb=512)
        self.assertEqual(self.sandbox(template=name).commands.run("wc -l < /tmp/steps").stdout.strip(), "12")

    def test_files(self):
        sandbox = self.sandbox()
        sandbox.commands.run("mkfifo fifo; ln -s loop loop; mkdir many; cd many; seq 20000 | xargs touch; touch $'latin1-\\xe9'")
        owner = sandbox.files.get_info("/dev/null").owner
        for path in "fifo", "/dev/null", "loop/x", "n" * 300:
            with self.subTest(path[:20]), self.assertRaises(InvalidArgumentException):
                sandbox.files.write(path, "x")
        self.assertEqual(sandbox.files.get_info("/dev/null").owner, owner)
        start = time.monotonic()
        entries = sandbox.files.list("many")
        print(f"a list of {len(entries)} entries took {time.monotonic() - start:.2f} s")
        self.assertEqual(len(entries), 20001)


if __name__ == "__main__":
    unittest.main()
