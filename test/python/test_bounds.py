"""What a guest makes its kernel keep never ends the sandbox: it is refused more, and pauses,
snapshots and forks go on to work."""

import unittest

from e2b import CommandExitException, Sandbox

HEAD = """
import errno, os, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (1000000, 1000000))
held = []
def flood(make, most):
    try:
        while len(held) < most:
            held.append(make())
    except OSError as e:
        print(len(held), errno.errorcode[e.errno], flush=True)
        return
    print(len(held), 'ALL', flush=True)
"""

FILES = """
import os
n = 0
try:
    while n < 1000000:
        if n % 1000 == 0:
            os.makedirs('/home/user/many/%d' % (n // 1000))
        open('/home/user/many/%d/%d' % (n // 1000, n), 'w').close()
        n += 1
    print(n, 'ALL')
except OSError as e:
    print(n, os.strerror(e.errno))
"""

FLOODS = {
    "sockets": "flood(socket.socket, 400000)",
    "pipes with data": """
def pipe():
    r, w = os.pipe()
    os.set_blocking(w, False)
    try: os.write(w, b'x' * 65536)
    except BlockingIOError: pass
    return r, w
flood(pipe, 200000)""",
    "socket pairs with data": """
def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    try:
        while True: a.send(b'x' * 65536)
    except BlockingIOError: pass
    return a, b
flood(pair, 100000)""",
    "mappings": """
import mmap
flood(lambda: mmap.mmap(-1, 4096, prot=1 + len(held) % 2 * 2), 3000000)""",
    "files in memory": """
def fill(path):
    with open(path, 'wb') as f:
        for _ in range(3000): f.write(b'x' * (1 << 20))
for path in '/dev/shm/fill', '/dev/fill':
    try: fill(path)
    except OSError as e: print(path, errno.errorcode[e.errno], flush=True)
if os.path.exists('/dev/fill'): os.remove('/dev/fill') # or it could not even be made""",
}

# The process is ended by the kernel, as on any machine without memory.
FORKS = """
import os, time
ballast = bytearray(b'x' * (8 << 20))
for n in range(2000):
    if os.fork() == 0:
        ballast[::4096] = b'y' * len(ballast[::4096])
        time.sleep(20)
        os._exit(0)
"""


def python(sandbox, program, timeout=400):
    sandbox.files.write("/tmp/program.py", program)
    return sandbox.commands.run("python3 /tmp/program.py", user="root", timeout=timeout).stdout


class Kept(unittest.TestCase):
    def sandbox(self):
        sandbox = Sandbox.create(timeout=1500)
        self.addCleanup(sandbox.kill)
        return sandbox

    def works(self, sandbox):
        self.assertEqual(sandbox.commands.run("ls / > /dev/null && echo fine", timeout=100).stdout, "fine\n")

    def test_many_files(self):
        sandbox = self.sandbox()
        sandbox.commands.run("echo mine > mark.txt")
        made, why = python(sandbox, FILES).split(" ", 1)
        self.assertGreater(int(made), 150000)
        self.assertEqual(why, "No space left on device\n")
        self.works(sandbox)

        sandbox.create_snapshot(request_timeout=300)
        self.works(sandbox)
        sandbox.pause(request_timeout=300)
        sandbox.connect(timeout=1500)
        self.works(sandbox)
        self.assertEqual(sandbox.files.read("mark.txt"), "mine\n")
        self.assertEqual(sandbox.commands.run("ls many | wc -l").stdout.strip(), str(int(made) // 1000 + 1))

        sandbox.commands.run("rm -rf many", user="root", timeout=400)
        sandbox.commands.run("seq 20000 | (mkdir again && cd again && xargs touch)", timeout=400)

    def test_floods(self):
        sandbox = self.sandbox()
        for name, flood in FLOODS.items():
            with self.subTest(name):
                told = python(sandbox, HEAD + flood)
                self.assertRegex(told, "ENFILE|ENOBUFS|ENOMEM|ENOSPC")
                self.works(sandbox)

    def test_forks(self):
        sandbox = self.sandbox()
        try:
            python(sandbox, FORKS)
        except CommandExitException as e:
            self.assertNotEqual(e.exit_code, 0)
        self.works(sandbox)


if __name__ == "__main__":
    unittest.main()
