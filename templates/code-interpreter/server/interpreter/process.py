"""Starts, signals and ends the processes of kernels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

# The kernels of a server have this in their environment, so that the next server finds
# those that a killed server left behind.
MARK = "CODE_INTERPRETER_KERNEL"


class Process:
    """A kernel's process, the leader of its own session.

    ended comes back when the process has. Then on_exit is called once, from the event loop.
    """

    def __init__(self, pid: int, ended: Awaitable[object], on_exit: Callable[[], None]) -> None:
        self._pid = pid
        self._on_exit = on_exit
        self.alive = True
        self._watcher = asyncio.ensure_future(self._watch(ended))

    @classmethod
    async def spawn(
        cls,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        on_exit: Callable[[], None],
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Starts argv in cwd. What it prints goes to the server's own log."""
        child = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=environment(env),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        return cls(child.pid, child.wait(), on_exit)

    def interrupt(self) -> None:
        """Sends SIGINT to the process and to the children in its group."""
        self._signal(signal.SIGINT)

    async def end(self) -> None:
        """Kills the process and its group, and waits for its end."""
        self._signal(signal.SIGKILL)
        await self._watcher

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, number)

    async def _watch(self, ended: Awaitable[object]) -> None:
        code = await ended
        self.alive = False
        log.info("kernel process %d ended%s", self._pid, "" if code is None else f" with {code}")
        self._on_exit()


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a kernel: the server's, with more."""
    return {**os.environ, **more, MARK: str(os.getpid())}


def end_leftovers(proc: Path = Path("/proc")) -> list[int]:
    """Kills the kernels of earlier servers; returns their process IDs."""
    mark = f"{MARK}=".encode()
    ended: list[int] = []
    for entry in proc.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or belongs to another user
        owner = next((e.removeprefix(mark) for e in environ if e.startswith(mark)), None)
        if owner is None or owner == str(os.getpid()).encode():
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(int(entry.name), signal.SIGKILL)
            ended.append(int(entry.name))
    return ended
