"""A context is a kernel with an identity: its executions, variables and restarts."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from . import events
from .kernel import KernelDied, KernelFailed
from .languages import LANGUAGES

log = logging.getLogger(__name__)

PATIENCE = 4.0  # seconds that an interrupted kernel has to give up


class Context:
    """One kernel. Executions run one after the other, in tasks of their own: a
    client that goes away interrupts its execution and leaves nothing half done."""

    def __init__(self, language: str, cwd: str) -> None:
        self.id = str(uuid.uuid4())
        self.language = language
        self.cwd = cwd
        self._speech = LANGUAGES[language]
        self._kernel = self._speech.kernel(cwd)
        self._turn = asyncio.Lock()
        self._sandbox_env: dict[str, str] | None = None  # None: the kernel has not got it yet

    async def start(self) -> None:
        await self._kernel.start()

    async def close(self) -> None:
        await self._kernel.close()

    async def restart(self) -> None:
        self._sandbox_env = None
        await self._kernel.restart()

    async def touch(self) -> None:
        """Runs nothing, if nothing runs."""
        if self._turn.locked():
            return
        async with self._turn:
            try:
                await self._silently(["0"])
            except KernelDied:
                await self._revive()

    async def execute(self, code: str, env: Mapping[str, str], sandbox_env) -> AsyncIterator[dict[str, Any]]:
        """Runs code and yields events, the last of which is the end. sandbox_env is a
        coroutine function that is asked once for each kernel process."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        task = asyncio.create_task(self._run(code, env, sandbox_env, queue))
        try:
            while (event := await queue.get()) is not events.END:
                yield event
            yield events.END
        finally:
            if not task.done():
                asyncio.create_task(self._abandon(task))

    async def _run(self, code: str, env: Mapping[str, str], sandbox_env, out: asyncio.Queue) -> None:
        try:
            async with self._turn:
                try:
                    await self._prepare(env, sandbox_env)
                    failed = False
                    async for message in self._kernel.execute(code):
                        event = events.translate(message, failed=failed, displayed=self._speech.displays_results)
                        if event is not None:
                            failed |= event["type"] == "error"
                            out.put_nowait(event)
                    await self._restore(env)
                except KernelDied:
                    out.put_nowait(events.error("ContextRestarting", "Context was restarted"))
                    await self._revive()
                except KernelFailed as why:
                    out.put_nowait(events.error("ContextRestarting", str(why)))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("an execution failed")
            out.put_nowait(events.error("UnexpectedEndOfExecution", "Connection to the execution was closed before the execution was finished"))
        finally:
            out.put_nowait(events.END)

    async def _abandon(self, task: asyncio.Task) -> None:
        """Ends an execution that nobody listens to any more."""
        for _ in range(2):
            await self._kernel.interrupt()
            done, _ = await asyncio.wait({task}, timeout=PATIENCE / 2)
            if done:
                return
        await self.restart()  # the execution sees its kernel die

    async def _revive(self) -> None:
        """Starts a kernel that died, unless somebody has already."""
        if not self._kernel.alive:
            await self.restart()

    async def _prepare(self, env: Mapping[str, str], sandbox_env) -> None:
        code = []
        if self._sandbox_env is None:
            self._sandbox_env = await sandbox_env()
            code += [self._speech.set_variable(k, v) for k, v in self._sandbox_env.items()]
        code += [self._speech.set_variable(k, v) for k, v in env.items()]
        await self._silently(code)

    async def _restore(self, env: Mapping[str, str]) -> None:
        known = self._sandbox_env or {}
        await self._silently(
            self._speech.set_variable(k, known[k]) if k in known else self._speech.unset_variable(k) for k in env
        )

    async def _silently(self, lines) -> None:
        if code := "\n".join(lines):
            async for _ in self._kernel.execute(code, silent=True):
                pass
