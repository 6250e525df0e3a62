"""What the server needs of a kernel, whatever language and protocol it speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol


class KernelDied(Exception):
    """The kernel's process ended, or was restarted, during an execution."""


class KernelFailed(Exception):
    """A kernel could not be started; the text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing a kernel says. Kinds and contents are those of Jupyter's messages.

    Kinds: execute_input, stream, execute_result, display_data, error, and
    execute_reply, which is the last of every execution.
    """

    kind: str
    content: dict[str, Any] = field(default_factory=dict)


class Kernel(Protocol):
    """One process that runs code. The caller runs one execution at a time."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""

    async def start(self) -> None:
        """Starts the process and waits until it takes code. Raises KernelFailed."""

    def execute(self, code: str, *, silent: bool = False) -> AsyncIterator[Message]:
        """Runs code, and ends with its execute_reply. Raises KernelDied.

        A silent execution is no part of the history and does not count.
        """

    async def interrupt(self) -> None:
        """Asks the kernel to give up what it runs."""

    async def restart(self) -> None:
        """Replaces the process; a running execution raises KernelDied."""

    async def close(self) -> None:
        """Ends the process."""
