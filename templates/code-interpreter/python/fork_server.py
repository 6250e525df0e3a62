"""Starts kernels that are Python programs. It has imported already what they need, which takes
most of the time of their start, so a kernel is a fork of it.

The server (server/interpreter/forks.py) sends requests through the socket whose descriptor is
the first argument: {"argv": as for python3, "cwd": …, "env": …}. The answer is {"pid": …}, with
a descriptor of the process, or {"error": …}. The second argument is room for the command line
of a fork."""

import ctypes
import gc
import json
import os
import random
import runpy
import signal
import socket
import sys


def prepare():
    """Imports what kernels need. None of it may start a thread, which a fork would lose."""
    import bash_kernel.kernel  # noqa: F401
    import ipykernel.debugger  # noqa: F401
    import ipykernel.kernelapp  # noqa: F401
    import PIL.Image  # noqa: F401

    gc.collect()
    gc.freeze()  # or the collector would write to these pages, which forks share


def fork(request, server):
    directory = os.open(request["cwd"], os.O_PATH | os.O_DIRECTORY)
    try:
        pid = os.fork()
        if pid == 0:
            server.close()
            become(request, directory)
        return pid
    finally:
        os.close(directory)


def become(request, directory):
    """Turns a fork into the program; does not return."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.fchdir(directory)
        os.close(directory)
        rename(request["argv"])
        os.environ.clear()
        os.environ.update(request["env"])
        random.seed()
        run(request["argv"][1:])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def rename(words):
    """Makes this the command line that ps and pgrep show. It lies before the environment."""
    first = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")[0]
    room = sum(len(os.fsencode(word)) + 1 for word in sys.orig_argv)
    line = b"".join(os.fsencode(word) + b"\0" for word in words)[: room - 1]
    ctypes.memmove(first - room, line.ljust(room, b"\0"), room)
    sys.orig_argv[:] = words


def run(words):
    """As python3 with these words: a program's file or -m and a module, and its arguments."""
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(words[0]))
        runpy.run_path(words[0], run_name="__main__")


def serve(server):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while data := server.recv(1 << 20):
        answer, descriptors = {}, []
        try:
            answer["pid"] = fork(json.loads(data), server)
            descriptors = [os.pidfd_open(answer["pid"])]
        except ProcessLookupError:
            answer = {"error": "its process ended at once"}
        except OSError as error:
            answer = {"error": str(error)}
        socket.send_fds(server, [json.dumps(answer).encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


sys.path.pop(0)  # this file's directory
prepare()
serve(socket.socket(fileno=int(sys.argv[1])))
