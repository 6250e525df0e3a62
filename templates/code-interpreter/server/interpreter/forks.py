"""Starts kernels that are Python programs as forks of a process that has imported what they
need; see python/fork_server.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .process import Process, environment

PROGRAM = Path(__file__).parents[2] / "python" / "fork_server.py"
LARGEST_ANSWER = 4096  # bytes
ROOM = " " * 100  # for the command line of a fork


class ForkServer:
    """The process that forks, started when it is first needed and again if it has ended."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # held from a request to its answer
        self._process: Process | None = None
        self._socket: socket.socket | None = None

    async def spawn(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], on_exit: Callable[[], None]
    ) -> Process:
        """As Process.spawn, for a program of Python."""
        request = json.dumps({"argv": [*argv], "cwd": cwd, "env": environment(env)}).encode()
        async with self._turn:
            try:
                answer, descriptors = await self._ask(request)
            except ConnectionError:  # somebody has killed it
                await self._end()
                answer, descriptors = await self._ask(request)
        if "error" in answer:
            raise OSError(answer["error"])
        return Process(answer["pid"], _ended(descriptors[0]), on_exit)

    async def close(self) -> None:
        async with self._turn:
            await self._end()

    async def _ask(self, request: bytes) -> tuple[dict, list[int]]:
        if self._socket is None:
            await self._start()
        self._socket.send(request)
        await _readable(self._socket.fileno())
        data, descriptors, _, _ = socket.recv_fds(self._socket, LARGEST_ANSWER, 1)
        if not data:
            raise ConnectionResetError("the fork server ended")
        return json.loads(data), descriptors

    async def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = await Process.spawn(
                ["/usr/bin/python3", str(PROGRAM), str(theirs.fileno()), ROOM],
                cwd="/",
                env={},
                on_exit=lambda: None,
                pass_fds=[theirs.fileno()],
            )
        self._socket = ours

    async def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            await self._process.end()
            self._process = None


async def _ended(descriptor: int) -> None:
    """Waits for the end of the process that a descriptor of it belongs to."""
    try:
        await _readable(descriptor)
    finally:
        os.close(descriptor)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        with contextlib.suppress(OSError):
            loop.remove_reader(descriptor)


FORK_SERVER = ForkServer()
