"""Tries what root in a guest might do to the host, the machine and the neighbors.

Each attempt prints its name and what came of it: "done" or the error. That something is done
inside the guest is no fault; the tests look whether it had an effect outside.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
SYSCALLS = {"bpf": 321, "io_uring_setup": 425, "userfaultfd": 323, "perf_event_open": 298, "init_module": 175,
            "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320, "add_key": 248,
            "keyctl": 250, "iopl": 172, "ioperm": 173, "swapon": 167, "acct": 163, "quotactl": 179,
            "open_by_handle_at": 304, "lookup_dcookie": 212, "modify_ldt": 154, "nfsservctl": 180, "vhangup": 153,
            "fanotify_init": 300, "name_to_handle_at": 303, "move_pages": 279, "migrate_pages": 256,
            "process_vm_writev": 311, "kcmp": 312, "pidfd_open": 434, "pidfd_getfd": 438, "fsopen": 430,
            "open_tree": 428, "move_mount": 429, "mount_setattr": 442, "landlock_create_ruleset": 444,
            "quotactl_fd": 443, "memfd_secret": 447, "syslog": 103, "clock_settime": 227, "settimeofday": 164,
            "adjtimex": 159, "setns": 308}


def attempt(name, action):
    print(name, end=" ", flush=True)
    try:
        action()
        print("done")
    except OSError as e:
        print(errno.errorcode.get(e.errno, e.errno))
    except Exception as e:  # an attempt that cannot even be made
        print(repr(e))
    sys.stdout.flush()


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def call(name, *args):
    checked(libc.syscall(SYSCALLS[name], *args))


def mount(source, target, kind, flags=0, data=None):
    os.makedirs(target, exist_ok=True)
    enc = lambda s: s.encode() if s is not None else None
    checked(libc.mount(enc(source), enc(target), enc(kind), flags, enc(data)))


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def device(name, major, minor, block=False):
    path = "/tmp/device-" + name
    if os.path.exists(path):
        os.unlink(path)
    os.mknod(path, 0o666 | (0o060000 if block else 0o020000), os.makedev(major, minor))
    with open(path, "rb+", buffering=0) as f:
        f.seek(0)
        data = f.read(512)
        f.seek(0)
        f.write(data)


def mounts():
    for kind, source in [("proc", "proc"), ("sysfs", "sysfs"), ("tmpfs", "none"), ("cgroup", "none"),
                         ("cgroup2", "none"), ("devtmpfs", "none"), ("debugfs", "none"), ("tracefs", "none"),
                         ("securityfs", "none"), ("bpf", "none"), ("9p", "/"), ("ext4", "/dev/sda"),
                         ("ext4", "/dev/vda"), ("erofs", "/dev/vda"), ("overlay", "overlay"), ("fuse", "none"),
                         ("nfs", "10.1.2.3:/"), ("cifs", "//10.1.2.3/c$"), ("virtiofs", "root"), ("ramfs", "none")]:
        data = "lowerdir=/etc,upperdir=/tmp/u,workdir=/tmp/w" if kind == "overlay" else None
        for d in "/tmp/u", "/tmp/w":
            os.makedirs(d, exist_ok=True)
        attempt(f"mount {kind} {source}", lambda: mount(source, "/mnt/" + kind, kind, data=data))
    attempt("mount --bind /", lambda: mount("/", "/mnt/bind", None, 4096))
    attempt("remount / shared", lambda: mount("none", "/", None, 1 << 20 | 16384))
    attempt("umount /proc", lambda: checked(libc.umount2(b"/proc/sys", 2)))
    attempt("pivot_root", lambda: checked(libc.syscall(155, b"/mnt/tmpfs", b"/mnt/tmpfs")))


def files():
    for path, text in {"/proc/sysrq-trigger": "b", "/proc/sys/kernel/core_pattern": "|/tmp/evil",
                       "/proc/sys/kernel/modprobe": "/tmp/evil", "/proc/sys/kernel/hostname": "taken",
                       "/proc/sys/vm/overcommit_memory": "2", "/proc/sys/vm/drop_caches": "3",
                       "/proc/sys/kernel/panic": "1", "/proc/sys/kernel/sysrq": "1",
                       "/proc/sys/net/ipv4/ip_forward": "0", "/proc/sys/fs/file-max": "10",
                       "/proc/sys/kernel/pid_max": "301", "/proc/1/oom_score_adj": "1000",
                       "/proc/self/oom_score_adj": "-1000", "/proc/1/mem": "x",
                       "/sys/kernel/uevent_helper": "/tmp/evil", "/sys/power/state": "mem",
                       "/sys/fs/cgroup/release_agent": "/tmp/evil", "/sys/fs/cgroup/cgroup.procs": "0",
                       "/sys/fs/cgroup/memory/memory.limit_in_bytes": "-1", "/dev/kmsg": "from the guest",
                       "/dev/mem": "x", "/dev/kmem": "x", "/dev/port": "x"}.items():
        attempt("write " + path, lambda: write(path, text))
    for path in "/proc/kcore", "/proc/kallsyms", "/dev/mem", "/proc/1/root/etc/shadow-of-host", "/proc/kmsg", \
            "/proc/self/exe/../../..", "/.dockerenv/../..", "/proc/1/cwd/../../../../run/shoal":
        attempt("read " + path, lambda: open(path, "rb").read(16))
    for name, major, minor, block in [("mem", 1, 1, False), ("kmem", 1, 2, False), ("port", 1, 4, False),
                                      ("kmsg", 1, 11, False), ("sda", 8, 0, True), ("vda", 253, 0, True),
                                      ("vda2", 254, 0, True), ("loop", 7, 0, True), ("nvme", 259, 0, True),
                                      ("kvm", 10, 232, False), ("fuse", 10, 229, False), ("tun", 10, 200, False),
                                      ("vhost", 10, 238, False), ("sg", 21, 0, False), ("msr", 202, 0, False)]:
        attempt("device " + name, lambda: device(name, major, minor, block))


def chroot_out():
    os.makedirs("/tmp/jail", exist_ok=True)
    pid = os.fork()
    if pid == 0:
        try:
            top = os.open("/", os.O_RDONLY)
            os.chroot("/tmp/jail")
            os.fchdir(top)
            for _ in range(100):
                os.chdir("..")
            os.chroot(".")
            # The marker is a file that only the host's root has.
            os._exit(0 if os.path.exists("/HOST-MARKER") else 1)
        except OSError:
            os._exit(2)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise OSError(errno.EPERM, "")


def calls():
    buffer = ctypes.create_string_buffer(4096)
    for name in SYSCALLS:
        if name not in ("setns", "vhangup", "clock_settime", "settimeofday", "syslog", "adjtimex"):
            attempt("call " + name, lambda: call(name, 0, buffer, 4096, 0, 0))
    attempt("syslog clear", lambda: call("syslog", 5, 0, 0))
    attempt("clock_settime", lambda: call("clock_settime", 0, struct.pack("qq", 1, 0)))
    attempt("settimeofday", lambda: call("settimeofday", struct.pack("qq", 1, 0), 0))
    attempt("reboot off", lambda: checked(libc.syscall(169, 0xFEE1DEAD, 672274793, 0x4321FEDC, 0)))
    attempt("sethostname", lambda: checked(libc.sethostname(b"taken", 5)))
    for kind in "net", "pid", "mnt", "uts", "ipc", "user", "cgroup":
        attempt("setns " + kind, lambda: call("setns", os.open(f"/proc/1/ns/{kind}", os.O_RDONLY), 0))
    for name, flag in {"user": 0x10000000, "net": 0x40000000, "mnt": 0x20000, "pid": 0x20000000}.items():
        attempt("unshare " + name, lambda: in_child(lambda: checked(libc.unshare(flag))))
    attempt("chroot", chroot_out)


def in_child(action):
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except OSError as e:
            os._exit(e.errno & 127)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, "")


def sockets():
    for name, family, kind, protocol in [("vsock", 40, 1, 0), ("packet", 17, 3, 0), ("netlink audit", 16, 3, 9),
                                         ("netlink uevent", 16, 3, 15), ("netfilter", 16, 3, 12), ("alg", 38, 5, 0),
                                         ("bluetooth", 31, 3, 1), ("can", 29, 3, 1), ("xdp", 44, 3, 0),
                                         ("key", 15, 3, 2), ("tipc", 30, 1, 0), ("rds", 21, 5, 0)]:
        attempt("socket " + name, lambda: socket.socket(family, kind, protocol).close())
    attempt("vsock host", lambda: socket.socket(40, 1).connect((2, 5008)))
    for n in range(3):  # the host's abstract sockets are in another namespace
        for path in "\0shoal", "/run/shoal/node.sock", "/run/docker.sock", "\0/containerd-shim", "/run/systemd/private":
            attempt(f"unix {path!r}", lambda: socket.socket(socket.AF_UNIX).connect(path))
    attempt("tun", lambda: fcntl.ioctl(os.open("/dev/net/tun", os.O_RDWR), 0x400454CA, struct.pack("16sH14x", b"tun9", 2)))


mounts()
files()
calls()
sockets()
print("all tried")
