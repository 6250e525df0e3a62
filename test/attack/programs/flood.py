"""Makes far too much of one thing, without end. flood.py WHAT"""

import os
import resource
import socket
import struct
import sys
import threading
import time

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []


def keep(make):
    """Makes more until no more is possible, and goes on to try."""
    while True:
        try:
            held.append(make())
        except OSError:
            time.sleep(0.01)


def files():
    n = 0
    while True:
        try:
            if n % 1000 == 0:
                os.makedirs(f"/home/user/flood/{n // 1000}", exist_ok=True)
            open(f"/home/user/flood/{n // 1000}/{n}", "w").close()
            n += 1
        except OSError:
            time.sleep(0.01)


def forks():
    while True:
        try:
            if os.fork() == 0:
                time.sleep(1)
                os._exit(0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except OSError:
            time.sleep(0.01)


def spin():
    for _ in range(64):
        if os.fork() == 0:
            while True:
                os.getppid()
    os.wait()


def watches():
    import ctypes
    libc = ctypes.CDLL(None)
    os.makedirs("/home/user/w", exist_ok=True)

    def watch():
        fd = libc.inotify_init1(0)
        if fd < 0 or libc.inotify_add_watch(fd, b"/home/user/w", 0xFFF) < 0:
            raise OSError
        return fd

    def events():
        n = 0
        while True:
            n += 1
            open("/home/user/w/%d" % (n % 100), "w").close()

    threading.Thread(target=events, daemon=True).start()
    keep(watch)


def memory():
    while True:
        if os.fork() == 0:
            while True:
                held.append(b"x" * (16 << 20))
        os.wait()


def http(address, request):
    s = socket.create_connection(address, 5)
    s.sendall(request)
    s.recv(1000)
    s.close()


def logs():
    line = b'{"level":"info","message":"%s"}\n' % (b"x" * 30)
    body = line * 15000
    request = b"POST /logs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    several(lambda: http(("192.0.2.1", 80), request))


def several(action):
    """Does it in many threads, again and again."""
    def again():
        while True:
            try:
                action()
            except OSError:
                time.sleep(0.01)
    for _ in range(40):
        threading.Thread(target=again, daemon=True).start()
    time.sleep(100000)


QUERY = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\x01a\x07invalid\0" + struct.pack("!HH", 1, 1)


def dns_udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        try:
            s.sendto(QUERY, ("8.8.8.8", 53))
        except OSError:
            time.sleep(0.001)


def dns_tcp():
    def connect():
        s = socket.create_connection(("8.8.8.8", 53), 2)
        s.sendall(struct.pack("!H", len(QUERY)) + QUERY)
        held.append(s)
    several(connect)


def egress(address):
    def connect():
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((address, 80))
        return s
    keep(connect)


def serve():
    listener = socket.create_server(("0.0.0.0", 9100), backlog=4096)
    while True:
        try:
            conn, _ = listener.accept()
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            held.append(conn)
        except OSError:
            time.sleep(0.01)


WHAT = {"files": files, "forks": forks, "spin": spin, "sockets": lambda: keep(socket.socket),
        "terminals": lambda: keep(os.openpty), "watches": watches, "memory": memory, "logs": logs,
        "dns-udp": dns_udp, "dns-tcp": dns_tcp, "egress": egress, "serve": serve}
WHAT[sys.argv[1]](*sys.argv[2:])
