"""Puts the guest into a random state, and tells later whether it is still in it.

state.py build SEED FILES MEMORY SHARED SOCKETS PROCESSES leaves a process behind that holds
the state: FILES small files, MEMORY and SHARED MiB, SOCKETS pairs of sockets with data in
them, PROCESSES children, and open files without a name. state.py check asks that process
for a digest of it all, and reads the files itself.
"""

import hashlib
import os
import random
import socket
import subprocess
import sys
import threading

ADDRESS = "/run/state.sock"
ROOT = "/home/user/state"
SHARED = "/dev/shm/state"
BLOCK = 1 << 20


def content(n):
    """A third of the files is empty, the others have some bytes."""
    return b"" if n % 3 == 0 else (b"%d," % n) * (n % 7 + 1)


def fill(seed, blocks):
    """Memory of which no two pages are alike."""
    return [random.Random(seed + n).randbytes(BLOCK) for n in range(blocks)]


def files_of(count):
    for n in range(count):
        if n % 1000 == 0:
            os.makedirs(f"{ROOT}/{n // 1000}", exist_ok=True)
        with open(f"{ROOT}/{n // 1000}/{n}", "wb") as f:
            f.write(content(n))


class State:
    def __init__(self, seed, files, memory, shared, sockets, processes):
        self.memory = fill(seed, memory)
        os.makedirs(SHARED, exist_ok=True)
        for n, block in enumerate(fill(~seed, shared)):
            with open(f"{SHARED}/{n}", "wb") as f:
                f.write(block)
        self.unlinked = []
        for n, block in enumerate(fill(seed * 3 + 1, 5)):
            path = f"/tmp/unlinked-{n}"
            file = open(path, "wb+")
            file.write(block)
            file.flush()
            os.unlink(path)
            self.unlinked.append(file)
        self.pairs = []
        for n in range(sockets):
            a, b = socket.socketpair()
            a.send(b"%d" % n)
            self.pairs.append((a, b))
        self.children = [subprocess.Popen(["sleep", "100000"]) for _ in range(processes)]
        files_of(files)

    def digest(self):
        h = hashlib.sha256()
        for block in self.memory:
            h.update(block)
        for name in sorted(os.listdir(SHARED), key=int):
            with open(f"{SHARED}/{name}", "rb") as f:
                h.update(f.read())
        for file in self.unlinked:
            h.update(os.pread(file.fileno(), BLOCK, 0))
        for _, b in self.pairs:
            h.update(b.recv(100, socket.MSG_PEEK))
        h.update(b"%d alive" % sum(c.poll() is None for c in self.children))
        return h.hexdigest()


def serve(state, listener):
    while True:
        conn, _ = listener.accept()
        conn.sendall(state.digest().encode())
        conn.close()


def files_digest():
    h, count = hashlib.sha256(), 0
    for folder in sorted(os.listdir(ROOT), key=int) if os.path.isdir(ROOT) else []:
        for name in sorted(os.listdir(f"{ROOT}/{folder}"), key=int):
            count += 1
            with open(f"{ROOT}/{folder}/{name}", "rb") as f:
                h.update(f.read())
    return f"{count} files {h.hexdigest()}"


def build(numbers):
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (200000, 200000))
    ready, done = os.pipe()
    if os.fork():
        os.close(done)
        told = os.read(ready, 1000).decode()
        print(told or "the state cannot be made", file=sys.stderr)
        sys.exit(not told.startswith("ready"))
    os.setsid()
    for fd in 0, 1, 2:
        os.dup2(os.open("/dev/null", os.O_RDWR), fd)
    try:
        state = State(*numbers)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(ADDRESS)
        listener.listen(16)
    except BaseException as e:
        os.write(done, repr(e).encode())
        raise
    os.write(done, b"ready")
    os.close(done)
    server = threading.Thread(target=serve, args=(state, listener))
    server.start()
    server.join()


def check():
    conn = socket.socket(socket.AF_UNIX)
    conn.connect(ADDRESS)
    print(conn.makefile().read(), files_digest())


if sys.argv[1] == "build":
    build([int(a) for a in sys.argv[2:]])
else:
    check()
