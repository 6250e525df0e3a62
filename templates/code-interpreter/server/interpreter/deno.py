"""Deno's kernel, for JavaScript and TypeScript."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from .cells import rewrite
from .jupyter import JupyterKernel, execute_request
from .kernel import KernelDied, KernelFailed, Message
from .syntax import syntax_error
from .wire import Packet

START = Path(__file__).parents[2] / "deno" / "start.js"


class DenoKernel(JupyterKernel):
    """Deno sends a cell's reply and idle state at once, but its output and result by
    another queue, which may lag far behind. The output of the next cell comes after
    them in that queue, so a cell that prints a word shows when the queue is empty.
    Until then, whatever is in the queue counts as an answer to either cell."""

    async def start(self) -> None:
        await super().start()
        try:
            async for _ in self.execute(START.read_text(), silent=True):
                pass
        except KernelDied as error:
            raise KernelFailed("Failed to start the kernel: it ended") from error

    async def execute(self, code: str, *, silent: bool = False) -> AsyncIterator[Message]:
        cell = code if silent else rewrite(code)
        async for message in super().execute(cell, silent=silent):
            content = message.content
            # The reply is all that Deno says about code that it cannot parse.
            if content.get("evalue") == "Execution failed" and not any(content.get("traceback", [])):
                content = {**content, **(await syntax_error(code, self._env) or {})}
            yield Message(message.kind, content)

    async def interrupt(self, *, again: bool = False) -> None:
        """SIGINT ends what a cell awaits, see deno/start.js. Deno's own interrupt ends what computes,
        but would also end the handler of the signal, so it comes second."""
        if again:
            await super().interrupt(again=True)
        elif self._process is not None:
            self._process.interrupt()

    async def _belated(self, packets: asyncio.Queue[Packet | None], send) -> AsyncIterator[Message]:
        word = uuid.uuid4().hex
        await send("shell", "execute_request", execute_request(say(word), silent=True))
        while (packet := await packets.get()) is not None:
            if packet.kind == "execute_reply" and packet.content.get("status") != "ok":
                return  # interrupted: the word may never arrive
            if packet.kind == "stream" and word in packet.content.get("text", ""):
                return
            if packet.kind in ("stream", "execute_result", "display_data", "error"):
                yield Message(packet.kind, packet.content)
        raise KernelDied


def say(word: str) -> str:
    """A cell that prints a word, even if user code has changed the console."""
    return f"Deno[Deno.internal].core.print({json.dumps(word)})"
