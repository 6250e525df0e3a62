"""Finds the syntax error in code that JavaScript's kernel cannot parse, because the kernel does not say it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping

# "error: SyntaxError: MESSAGE", lines that show the place, "    at FILE:LINE:COLUMN".
_COMPLAINT = re.compile(r"error: (SyntaxError: (.*?)\n.*?)\n *at file:\S+?:(\d+):(\d+)", re.DOTALL)


async def syntax_error(code: str, env: Mapping[str, str]) -> dict[str, object] | None:
    """The members of an error message, or None if the code can be parsed. Deno's
    formatter only parses; it runs nothing."""
    formatter = await asyncio.create_subprocess_exec(
        *("deno", "fmt", "--no-config", "--ext", "ts", "-"),
        cwd="/",
        env={**os.environ, **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await formatter.communicate(code.encode(errors="replace"))
    found = _COMPLAINT.search(complaint.decode(errors="replace"))
    if found is None:
        return None
    picture, message, line, column = found.groups()
    place = f"line {line}, column {column}"
    return {"ename": "SyntaxError", "evalue": f"{message} ({place})", "traceback": [f"{picture}\n    at {place}"]}
