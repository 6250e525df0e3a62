"""Makes the lines that clients read from the messages of kernels."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from .kernel import Message

_FORMATS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    "e2b/data": "data",
    "e2b/chart": "chart",
}

_COLORS = re.compile(r"\x1b\[[0-9;]*m")  # Java's kernel uses them, as for a terminal

END = {"type": "end_of_execution"}
KEEPALIVE = {"type": "keepalive"}


def error(name: str, value: str, traceback: str = "") -> dict[str, Any]:
    return {"type": "error", "name": name, "value": value, "traceback": traceback}


# Clients know these errors by name.
RESTARTED = error("ContextRestarting", "Context was restarted")
UNEXPECTED_END = error("UnexpectedEndOfExecution", "Connection to the execution was closed before the execution was finished")


def result(data: dict[str, Any], *, main: bool) -> dict[str, Any]:
    event: dict[str, Any] = {"type": "result"}
    extra = {}
    for mime, content in data.items():
        if isinstance(content, list) and all(isinstance(line, str) for line in content) and mime != "application/json":
            content = "".join(content)  # Jupyter allows a text to be a list of lines
        if mime not in _FORMATS:
            extra[mime] = content
            continue
        if mime == "text/plain" and isinstance(content, str):
            content = unquote(content)
        event[_FORMATS[mime]] = content
    return {**event, "extra": extra, "is_main_result": main}


def unquote(text: str) -> str:
    """Strips one pair of matching quotes."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def translate(message: Message, *, failed: bool, displayed: bool) -> dict[str, Any] | None:
    """The event for a message, or None if clients do not need one. failed means that the
    execution's error was already sent; displayed means that displays are results."""
    content = message.content
    match message.kind:
        case "execute_input":
            return {"type": "number_of_executions", "execution_count": content.get("execution_count", 0)}
        case "stream":
            name = "stderr" if content.get("name") == "stderr" else "stdout"
            return {"type": name, "text": content.get("text", ""), "timestamp": datetime.now(UTC).isoformat()}
        case "execute_result":
            return result(content.get("data", {}), main=True)
        case "display_data":
            return result(content.get("data", {}), main=displayed)
        case "error" | "execute_reply" if not failed:
            if content.get("status") == "aborted":
                return error("ExecutionAborted", "Execution was aborted")
            if message.kind == "error" or content.get("status") == "error":
                traceback = _COLORS.sub("", "".join(content.get("traceback", [])))
                return error(content.get("ename", ""), content.get("evalue", ""), traceback)
    return None
