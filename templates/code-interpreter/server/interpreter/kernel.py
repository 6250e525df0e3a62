"""What the server needs from a kernel, in any language and protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol


class KernelDied(Exception):
    """The kernel's process ended or was restarted during an execution."""


class KernelFailed(Exception):
    """A kernel could not be started; the text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a kernel. Kinds and contents are those of Jupyter's messages.

    Kinds: execute_input, stream, execute_result, display_data, error, and
    execute_reply, which ends every execution.
    """

    kind: str
    content: dict[str, Any] = field(default_factory=dict)


class Kernel(Protocol):
    """One process that runs code. The caller runs one execution at a time."""

    @property
    def alive(self) -> bool:
        """Whether the process is running."""

    async def start(self) -> None:
        """Starts the process and waits until it accepts code. Raises KernelFailed."""

    def execute(self, code: str, *, silent: bool = False) -> AsyncIterator[Message]:
        """Runs code, and ends with its execute_reply. Raises KernelDied.

        A silent execution is neither counted nor recorded in the history.
        """

    async def interrupt(self, *, again: bool = False) -> None:
        """Asks the kernel to stop what it is running; again if that had no effect."""

    async def restart(self) -> None:
        """Replaces the process; a running execution raises KernelDied."""

    async def close(self) -> None:
        """Ends the process."""
