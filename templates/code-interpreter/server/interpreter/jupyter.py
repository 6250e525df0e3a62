"""Kernels that speak Jupyter's protocol over ZeroMQ."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from .kernel import KernelDied, KernelFailed, Message
from .process import Process
from .wire import BadMessage, Packet, Wire

log = logging.getLogger(__name__)

START_TIMEOUT = 60.0  # seconds until a new process must answer
GREETING_INTERVAL = 0.25  # seconds between attempts to reach a new process
Spawn = Callable[..., Awaitable[Process]]  # as Process.spawn
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


class JupyterKernel:
    """A kernel process and the sockets to it.

    argv may contain {connection_file}. Kernels that support Unix sockets get them,
    because TCP ports on localhost would be forwarded out of the sandbox.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        directory: Path,
        transport: str = "ipc",
        interrupt_by_message: bool = False,
        spawn: Spawn = Process.spawn,
    ) -> None:
        self._argv = argv
        self._cwd = cwd
        self._env = env
        self._directory = directory
        self._transport = transport
        self._interrupt_by_message = interrupt_by_message
        self._spawn_process = spawn
        self._process: Process | None = None
        self._ready = False  # the process has answered, and is not being ended
        self._sockets: dict[str, zmq.asyncio.Socket] = {}
        self._readers: list[asyncio.Task[None]] = []
        # By request ID. None means that the process has ended.
        self._waiting: dict[str, asyncio.Queue[Packet | None]] = {}
        self._wire = Wire("")

    async def start(self) -> None:
        connection = self._write_connection()
        try:
            await self._spawn(connection)
            async with asyncio.timeout(START_TIMEOUT):
                await self._greet()
        except (OSError, TimeoutError, KernelDied) as error:
            await self.close()
            raise KernelFailed(f"Failed to start the kernel: {error or 'it did not answer'}") from error
        self._ready = True

    async def execute(self, code: str, *, silent: bool = False) -> AsyncIterator[Message]:
        if not self._ready:
            raise KernelDied
        with self._expect() as (_, packets, send):
            await send("shell", "execute_request", execute_request(code, silent=silent))
            idle, reply, result = False, None, False
            while not idle or reply is None:
                packet = await packets.get()
                if packet is None:
                    raise KernelDied
                if packet.kind == "execute_reply":
                    reply = packet
                elif packet.kind == "status":
                    idle = packet.content.get("execution_state") == "idle"
                else:
                    result |= packet.kind == "execute_result"
                    yield Message(packet.kind, packet.content)
            if not silent and not result:  # the result is the last message of a cell
                async for message in self._belated(packets, send):
                    yield message
            yield Message("execute_reply", reply.content)

    async def _belated(self, packets: asyncio.Queue[Packet | None], send) -> AsyncIterator[Message]:
        """Messages of the cell that arrive after its end. Most kernels send everything in order;
        for others, this is overridden."""
        return
        yield  # makes this an empty generator

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    async def interrupt(self, *, again: bool = False) -> None:
        if not self._ready or self._process is None:
            return
        if self._interrupt_by_message:
            _, frames = self._wire.pack("interrupt_request", {})
            await self._sockets["control"].send_multipart(frames)
        else:
            self._process.interrupt()
            # A kernel that awaits something keeps sleeping until it gets a message.
            _, frames = self._wire.pack("kernel_info_request", {})
            await self._sockets["shell"].send_multipart(frames)

    async def restart(self) -> None:
        await self.close()
        await self.start()

    async def close(self) -> None:
        self._ready = False
        if self._process is not None:
            await self._process.end()
            self._process = None
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._readers.clear()
        for sock in self._sockets.values():
            sock.close(linger=0)
        self._sockets.clear()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _write_connection(self) -> dict[str, Any]:
        self._directory.mkdir(parents=True, mode=0o700)
        connection: dict[str, Any] = {
            "transport": self._transport,
            "key": uuid.uuid4().hex,
            "signature_scheme": "hmac-sha256",
            "kernel_name": "",
        }
        if self._transport == "ipc":
            connection["ip"] = str(self._directory / "socket")
            connection.update({name: number for number, name in enumerate(PORTS, 1)})
        else:
            connection["ip"] = "127.0.0.1"
            connection.update(zip(PORTS, free_ports(len(PORTS)), strict=True))
        (self._directory / "connection.json").write_text(json.dumps(connection))
        return connection

    async def _spawn(self, connection: dict[str, Any]) -> None:
        file = str(self._directory / "connection.json")
        argv = [word.replace("{connection_file}", file) for word in self._argv]
        self._process = await self._spawn_process(argv, cwd=self._cwd, env=self._env, on_exit=self._lost)
        self._wire = Wire(connection["key"])
        separator = "-" if self._transport == "ipc" else ":"
        for name, kind in (("shell", zmq.DEALER), ("control", zmq.DEALER), ("iopub", zmq.SUB)):
            sock = zmq.asyncio.Context.instance().socket(kind)
            sock.set_hwm(0)  # no message may be dropped
            if kind == zmq.SUB:
                sock.subscribe(b"")
            sock.connect(f"{self._transport}://{connection['ip']}{separator}{connection[name + '_port']}")
            self._sockets[name] = sock
            self._readers.append(asyncio.create_task(self._read(sock)))

    async def _greet(self) -> None:
        """Waits until the process answers and its broadcasts arrive."""
        reply = broadcast = False
        while True:
            with self._expect() as (_, packets, send):
                await send("shell", "kernel_info_request", {})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GREETING_INTERVAL):
                        while not (reply and broadcast):
                            packet = await packets.get()
                            if packet is None:
                                raise KernelDied("its process ended")
                            reply |= packet.kind == "kernel_info_reply"
                            broadcast |= packet.kind == "status"
            if reply and broadcast:
                return

    @contextlib.contextmanager
    def _expect(self):
        """Collects the messages that answer one request."""
        packets: asyncio.Queue[Packet | None] = asyncio.Queue()
        token = uuid.uuid4().hex  # a placeholder until the request has its ID
        idents: list[str] = []

        async def send(channel: str, kind: str, content: dict[str, Any]) -> None:
            ident, frames = self._wire.pack(kind, content)
            idents.append(ident)
            self._waiting[ident] = packets
            if self._process is None or not self._process.alive:
                packets.put_nowait(None)
                return
            await self._sockets[channel].send_multipart(frames)

        try:
            yield token, packets, send
        finally:
            for ident in idents:
                self._waiting.pop(ident, None)

    async def _read(self, sock: zmq.asyncio.Socket) -> None:
        while True:
            frames = await sock.recv_multipart()
            try:
                packet = self._wire.unpack(frames)
            except BadMessage as error:
                log.warning("dropped a message of a kernel: %s", error)
                continue
            packets = self._waiting.get(packet.parent)
            if packets is not None:
                packets.put_nowait(packet)

    def _lost(self) -> None:
        for packets in self._waiting.values():
            packets.put_nowait(None)


def execute_request(code: str, *, silent: bool) -> dict[str, Any]:
    return {
        "code": code,
        "silent": silent,
        "store_history": not silent,
        "user_expressions": {},
        "allow_stdin": False,
        # The kernel never has anything important in its queue, so there is nothing to stop.
        "stop_on_error": False,
    }


def free_ports(count: int) -> list[int]:
    """Finds unused TCP ports on localhost."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]
