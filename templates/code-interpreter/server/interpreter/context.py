"""A context is a kernel with an identity: its executions, variables and restarts."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import events
from .kernel import KernelDied, KernelFailed
from .languages import LANGUAGES

log = logging.getLogger(__name__)

SANDBOX_ID = Path("/run/e2b/.E2B_SANDBOX_ID")  # envd writes it before a sandbox's first request
PATIENCE = 4.0  # seconds that an interrupted kernel has to stop


@dataclass(eq=False, slots=True)
class _Execution:
    """A client's request, and the part of the answer that it has not read yet."""

    code: str
    env: Mapping[str, str]
    sandbox_env: Callable[[], Awaitable[Mapping[str, str]]]
    out: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    given_up: bool = False  # nobody reads the answer any more


class Context:
    """One kernel. Executions run one after the other, each in a task of its own: a
    client that goes away interrupts its execution and leaves nothing half done.

    One lock guards every start and end of the kernel's process: by a client that
    restarts or removes the context, or by an execution that finds the process dead.
    None of them blocks the running execution, or waits for it.
    """

    def __init__(self, language: str, cwd: str) -> None:
        self.id = str(uuid.uuid4())
        self.language = language
        self.cwd = cwd
        self._speech = LANGUAGES[language]
        self._kernel = self._speech.kernel(cwd)
        self._life = asyncio.Lock()
        self._closed = False
        self._generation = 0  # counts the kernel's processes
        self._turn = asyncio.Lock()
        self._running: _Execution | None = None  # the one whose turn it is
        self._sandbox_env: Mapping[str, str] = {}
        self._informed = -1  # the generation that received the sandbox's variables
        self._seeded = ""  # the sandbox in which the kernel got its random numbers
        self._tasks: set[asyncio.Task[None]] = set()  # keeps references to them

    async def start(self) -> None:
        async with self._life:
            self._seeded = sandbox_id()
            await self._kernel.start()

    async def close(self) -> None:
        """Ends the kernel for good. Executions that run or wait in it end with an error."""
        async with self._life:
            self._closed = True
            await self._kernel.close()

    async def restart(self) -> None:
        """Gives the context a new process. Raises KernelFailed."""
        async with self._life:
            if self._closed:
                raise KernelFailed("the context was removed")
            await self._replace()

    async def touch(self) -> None:
        """Runs an empty cell, unless something is running."""
        if self._turn.locked():
            return
        async with self._turn:
            try:
                await self._revive()
                await self._silently(["0"])
            except KernelDied:
                await self._revive()

    async def execute(self, code: str, env: Mapping[str, str], sandbox_env) -> AsyncIterator[dict[str, Any]]:
        """Runs code and yields events, the last of which is the end. sandbox_env is a coroutine
        function that is called once for each process of the kernel."""
        execution = _Execution(code, env, sandbox_env)
        task = self._keep(self._take_turn(execution))
        try:
            while (event := await execution.out.get()) is not events.END:
                yield event
            yield events.END
        finally:
            if not task.done():
                self._keep(self._give_up(execution, task))

    def _keep(self, work) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _take_turn(self, execution: _Execution) -> None:
        try:
            async with self._turn:
                self._running = execution
                try:
                    await self._run(execution)
                finally:
                    self._running = None
        except KernelFailed as why:
            execution.out.put_nowait(events.error("ContextRestarting", str(why)))
        except Exception:
            log.exception("an execution failed")
            execution.out.put_nowait(events.UNEXPECTED_END)
        finally:
            execution.out.put_nowait(events.END)

    async def _run(self, execution: _Execution) -> None:
        try:
            await self._revive()  # it may have died while nothing ran
            await self._prepare(execution)
            failed = False
            if not execution.given_up:
                async for message in self._kernel.execute(execution.code):
                    if message.content.get("new_shell"):
                        self._informed = -1  # the old shell's variables are gone
                    event = events.translate(message, failed=failed, displayed=self._speech.displays_results)
                    if event is not None:
                        failed |= event["type"] == "error"
                        execution.out.put_nowait(event)
            await self._restore(execution.env)
        except KernelDied:
            execution.out.put_nowait(events.UNEXPECTED_END if self._closed else events.RESTARTED)
            await self._revive()

    async def _give_up(self, execution: _Execution, task: asyncio.Task[None]) -> None:
        """Ends an execution whose client has gone."""
        execution.given_up = True
        if self._running is not execution:
            task.cancel()  # it is still waiting; the running execution is another's
            return
        generation = self._generation
        for again in (False, True):
            await self._kernel.interrupt(again=again)
            done, _ = await asyncio.wait({task}, timeout=PATIENCE / 2)
            if done:
                return
        async with self._life:
            if not self._closed and self._generation == generation:
                await self._replace()  # the execution notices that its kernel died

    async def _revive(self) -> None:
        """Starts a kernel that has died, unless that has been done already."""
        async with self._life:
            if not self._closed and not self._kernel.alive:
                await self._replace()

    async def _replace(self) -> None:
        """Starts the next process. The caller holds the lock of the kernel's life."""
        self._generation += 1
        self._seeded = sandbox_id()
        await self._kernel.restart()

    async def _prepare(self, execution: _Execution) -> None:
        generation, lines = self._generation, []
        sandbox = sandbox_id()
        if self._seeded != sandbox:  # the kernel is a copy, whose original draws the same numbers
            lines += [self._speech.reseed]
        if self._informed != generation:
            self._sandbox_env = await execution.sandbox_env()
            lines += [self._speech.set_variable(k, v) for k, v in self._sandbox_env.items()]
        lines += [self._speech.set_variable(k, v) for k, v in execution.env.items()]
        await self._silently(lines)
        self._informed = generation
        self._seeded = sandbox

    async def _restore(self, env: Mapping[str, str]) -> None:
        """Restores the values that variables have between executions."""
        known = dict(self._sandbox_env)
        if self._speech.inherits_variables:
            known = {**os.environ, **known}
        await self._silently(
            self._speech.set_variable(k, known[k]) if k in known else self._speech.unset_variable(k) for k in env
        )

    async def _silently(self, lines) -> None:
        if code := "\n".join(lines):
            async for _ in self._kernel.execute(self._speech.together(code), silent=True):
                pass


def sandbox_id() -> str:
    """The sandbox in which this process runs now, which may be a copy of that where it began."""
    try:
        return SANDBOX_ID.read_text()
    except OSError:
        return ""
