"""What root in an ordinary container may do, each of which must work here too."""

import ctypes
import os
import socket
import subprocess


def run(*args, **options):
    subprocess.run(args, check=True, capture_output=True, **options)


run("useradd", "-m", "guest")
run("chown", "-R", "guest:guest", "/home/guest")
run("su", "guest", "-c", "test $(id -un) = guest && touch ~/mine")
assert os.stat("/home/guest/mine").st_uid not in (0, 1000)

# A file with the set-user-ID bit gives its owner's rights.
run("cp", "/usr/bin/id", "/usr/local/bin/rootly")
os.chmod("/usr/local/bin/rootly", 0o4755)
assert subprocess.run(["su", "guest", "-c", "/usr/local/bin/rootly -u"], check=True, capture_output=True,
                      text=True).stdout.strip() == "0"

listener = socket.create_server(("0.0.0.0", 81))
run("bash", "-c", "echo > /dev/tcp/127.0.0.1/81")
listener.close()
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
os.mkfifo("/tmp/fifo")
os.nice(-5)
run("chroot", "/", "true")
run("bash", "-c", "hostname > /dev/null")

libc = ctypes.CDLL(None, use_errno=True)
os.makedirs("/mnt/t")
assert libc.mount(b"none", b"/mnt/t", b"tmpfs", 0, None) == 0
open("/mnt/t/x", "w").close()
assert libc.umount(b"/mnt/t") == 0
pid = os.fork()
if pid == 0:
    libc.ptrace(0, 0, 0, 0)  # PTRACE_TRACEME
    os.kill(os.getpid(), 19)
    os._exit(7)
assert os.WIFSTOPPED(os.waitpid(pid, 0)[1])
assert libc.ptrace(7, pid, 0, 0) == 0  # PTRACE_CONT
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
print("all works")
