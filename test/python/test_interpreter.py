"""The code interpreter's Python SDK: the same rows as its JavaScript twin. The template
code-interpreter-v1 must be built."""

import asyncio
import json
import re
import threading
import time
import unittest

from e2b import NotFoundException, TimeoutException
from e2b_code_interpreter import AsyncSandbox, Sandbox

CHARTS = {
    "line": "plt.plot([1, 2], [3, 4])",
    "scatter": "plt.scatter([1, 2], [3, 4])",
    "bar": 'plt.bar(["a", "b"], [1, 2])',
    "pie": 'plt.pie([1, 3], labels=["a", "b"])',
    "box_and_whisker": "plt.boxplot([[1, 2, 3], [10, 20, 40]], patch_artist=True)",
    "superchart": "f, (a, b) = plt.subplots(1, 2); a.plot([1], [2]); b.scatter([1], [2])",
    "unknown": "plt.imshow([[1, 2], [3, 4]])",
}
BOTH = {"open": {}, "private": {"secure": True, "network": {"allow_public_traffic": False}}}


class Interpreter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(timeout=600, envs={"FROM_SANDBOX": "sandbox"})
        cls.addClassCleanup(cls.sandbox.kill)

    def run_code(self, code, **options):
        execution = self.sandbox.run_code(code, **options)
        self.assertIsNone(execution.error, code)
        return execution

    def test_streams_each_thing_once(self):
        seen = []
        execution = self.run_code(
            'import sys\nprint("hello")\nprint("oops", file=sys.stderr)\nx =1; x',
            on_stdout=lambda o: seen.append(("out", o.line)),
            on_stderr=lambda o: seen.append(("err", o.line)),
            on_result=lambda r: seen.append(("result", r.text)),
        )
        self.assertEqual(sorted(seen), [("err", "oops\n"), ("out", "hello\n"), ("result", "1")])
        self.assertEqual((execution.text, execution.logs.stdout, execution.logs.stderr), ("1", ["hello\n"], ["oops\n"]))
        errors = []
        failed = self.sandbox.run_code("xyz", on_error=errors.append)
        self.assertEqual((failed.error.name, [e.name for e in errors]), ("NameError", ["NameError"]))

    def test_languages(self):
        results = {
            "python": ("import os; os.getcwd()", "/home/user"),
            "js": ("process.cwd()", "/home/user"),
            "ts": ("const n: number = await Promise.resolve(7)\nn", "7"),
            "r": ("getwd()", '[1] "/home/user"'),
            "java": ('System.getProperty("user.dir")', "/home/user"),
        }
        for language, (code, text) in results.items():
            self.assertEqual(self.run_code(code, language=language).text, text, language)
        self.assertEqual(self.run_code("pwd", language="bash").logs.stdout, ["/home/user\n"])
        self.assertEqual("".join(self.run_code("!pwd").logs.stdout).strip(), "/home/user")

    def test_ends_of_cells(self):
        for _ in range(10):
            execution = self.run_code("for (let i = 0; i < 20; i++) console.log(i)\n42", language="js")
            self.assertEqual(("".join(execution.logs.stdout).split(), execution.text), ([str(i) for i in range(20)], "42"))
        self.assertEqual(self.sandbox.run_code("let x = ;", language="js").error.name, "SyntaxError")
        self.assertEqual(self.sandbox.run_code('echo "open', language="bash", timeout=60).error.name, "IncompleteInput")

    def test_data(self):
        result = self.run_code('import pandas as pd\npd.DataFrame({"a": [1, 2, 3]})').results[0]
        self.assertEqual(result.data, {"a": [1, 2, 3]})
        latex = self.run_code('from IPython.display import display\ndisplay({"text/latex": "$x$"}, raw=True)').results
        self.assertEqual([list(r.formats()) for r in latex], [["latex"]])
        own = self.run_code('display({"application/x-own": "mine"}, raw=True)').results[0]
        self.assertEqual(own.extra, {"application/x-own": "mine"})

    def test_images_in_indented_code(self):
        for last in ("image.show()", "image", 'image.save("test.png")'):
            code = f'\n    from PIL import Image\n    image = Image.new("RGB", (9, 9))\n    {last}\n    '
            self.assertTrue(self.run_code(code).results[0].png, last)

    def test_charts(self):
        self.run_code("import matplotlib.pyplot as plt")
        for kind, code in CHARTS.items():
            execution = self.run_code(f'plt.close("all"); {code}; plt.show()')
            chart = execution.results[0].chart
            self.assertEqual(chart.type.value, kind)
            self.assertEqual(json.loads(execution.to_json())["results"][0]["chart"]["type"], kind)

    def test_variables(self):
        read = {
            "python": 'import os; print(os.getenv("{0}", "none"))',
            "js": 'console.log(process.env.{0} ?? "none")',
            "r": 'cat(Sys.getenv("{0}", "none"))',
            "java": 'System.out.println(System.getProperty("{0}", "none"))',
            "bash": "echo ${{{0}:-none}}",
        }
        for language, code in read.items():
            def value(name, **envs):
                return "".join(self.run_code(code.format(name), language=language, envs=envs or None).logs.stdout).strip()

            seen = [value("FROM_SANDBOX"), value("OWN", OWN="1"), value("OWN"), value("FROM_SANDBOX", FROM_SANDBOX="2"), value("FROM_SANDBOX")]
            self.assertEqual(seen, ["sandbox", "1", "none", "2", "sandbox"], language)

    def test_context_or_language(self):
        with self.assertRaises(Exception):
            self.sandbox.run_code("1", language="python", context=self.sandbox.list_code_contexts()[0])

    def test_gives_up(self):
        with self.assertRaisesRegex(TimeoutException, "timed out"):
            self.sandbox.run_code("import time; time.sleep(300)", timeout=3)
        self.assertEqual(self.run_code("1 + 1", timeout=60).text, "2")

    def test_connect(self):
        self.run_code("kept = 5")
        self.assertEqual(Sandbox.connect(self.sandbox.sandbox_id).run_code("kept").text, "5")


class Contexts(unittest.TestCase):
    def test_life(self):
        for name, options in BOTH.items():
            with self.subTest(name):
                sandbox = Sandbox.create(timeout=300, **options)
                self.addCleanup(sandbox.kill)
                self.assertEqual(sandbox.run_code("x =1; x").text, "1")
                self.assertEqual([c.language for c in sandbox.list_code_contexts()], ["python", "javascript"])
                context = sandbox.create_code_context(cwd="/root")
                last = sandbox.list_code_contexts()[-1]
                self.assertEqual((last.id, last.language, last.cwd), (context.id, "python", "/root"))
                sandbox.run_code("y = 1", context=context)
                self.assertEqual(sandbox.run_code("y").error.name, "NameError")
                sandbox.restart_code_context(context)
                self.assertEqual(sandbox.run_code("y", context=context).error.value, "name 'y' is not defined")
                sandbox.remove_code_context(context)
                with self.assertRaises(NotFoundException):
                    sandbox.run_code("1", context=context)

    def test_restart_and_removal_during_an_execution(self):
        async def both():
            sandbox = await AsyncSandbox.create(timeout=300)
            try:
                ends = []
                for act in ("restart_code_context", "remove_code_context"):
                    context, begun = await sandbox.create_code_context(), asyncio.Event()
                    code = 'print("begun", flush=True)\nimport time; time.sleep(300)'
                    end = asyncio.create_task(sandbox.run_code(code, context=context, on_stdout=lambda _: begun.set()))
                    await begun.wait()
                    await getattr(sandbox, act)(context)
                    ends.append((await end).error.name)
                return ends, (await sandbox.run_code("1 + 1")).text
            finally:
                await sandbox.kill()

        self.assertEqual(asyncio.run(both()), (["ContextRestarting", "UnexpectedEndOfExecution"], "2"))

    def test_end_of_the_sandbox(self):
        sandbox = Sandbox.create(timeout=300)
        begun = threading.Event()
        killer = threading.Thread(target=lambda: begun.wait(60) and sandbox.kill())
        killer.start()
        with self.assertRaises(TimeoutException) as caught:
            sandbox.run_code('print("begun", flush=True)\nimport time; time.sleep(60)', on_stdout=lambda _: begun.set())
        killer.join()
        self.assertIn("sandbox was killed while the request was in progress", str(caught.exception))


# What two copies of a process may not have in common, by language.
RANDOM = {
    "python": "import random, ssl, numpy; print(random.random(), numpy.random.rand(), ssl.RAND_bytes(8).hex())",
    "js": "console.log(Math.random(), crypto.randomUUID(), require('crypto').randomBytes(8).toString('hex'))",
    "ts": "console.log(Math.random(), crypto.randomUUID(), require('crypto').randomBytes(8).toString('hex'))",
    "r": "cat(runif(1), rnorm(1))",
    "bash": "echo $RANDOM$RANDOM $RANDOM$RANDOM",
    "java": "System.out.print(Math.random() + \" \" + java.util.UUID.randomUUID())",
}


class Randomness(unittest.TestCase):
    def differ(self, sandboxes, languages):
        for language in languages:
            draws = ["".join(s.run_code(RANDOM[language], language=language).logs.stdout).split() for s in sandboxes]
            for values in zip(*draws, strict=True):
                self.assertEqual(len(set(values)), len(sandboxes), f"{language}: {values}")

    def test_sandboxes_and_forks_draw_their_own(self):
        sandboxes = [Sandbox.create(timeout=300) for _ in range(2)]
        for sandbox in sandboxes:
            self.addCleanup(sandbox.kill)
        self.differ(sandboxes, RANDOM)
        forks = sandboxes[0].fork(count=2, timeout=300)  # with kernels that have drawn
        for fork in forks:
            self.addCleanup(fork.kill)
        self.differ([sandboxes[0], *forks], RANDOM)

    def test_seeds_stay_over_a_pause(self):
        sandbox = Sandbox.create(timeout=300)
        self.addCleanup(sandbox.kill)
        draws = [sandbox.run_code("import random; random.seed(7); random.random()").text]
        sandbox.run_code("random.seed(7)")
        sandbox.pause()
        draws.append(Sandbox.connect(sandbox.sandbox_id).run_code("random.random()").text)
        self.assertEqual(draws[0], draws[1])


class Survival(unittest.TestCase):
    def test_killed_servers(self):
        sandbox = Sandbox.create(timeout=300)
        self.addCleanup(sandbox.kill)
        for pattern in ("jupyter server", "uvicorn main:app"):
            find = f"pgrep -f '[/]python .*{pattern}' || true"
            old = sandbox.commands.run(find, user="root").stdout
            self.assertRegex(old, re.compile(r"^\d+\n$"))
            try:
                sandbox.commands.run(f"kill -9 $(pgrep -f '{pattern}')", user="root")
            except Exception:  # the command line of the shell matches too
                pass
            end = time.monotonic() + 120
            while True:
                new = sandbox.commands.run(find, user="root").stdout
                health = 'curl -s -o /dev/null -w "%{http_code}" http://localhost:49999/health || true'
                if new not in ("", old) and sandbox.commands.run(health).stdout == "200":
                    break
                self.assertLess(time.monotonic(), end, "the server is not back")
                time.sleep(0.5)
            self.assertEqual(sandbox.run_code("1 + 1").text, "2")


if __name__ == "__main__":
    unittest.main()
