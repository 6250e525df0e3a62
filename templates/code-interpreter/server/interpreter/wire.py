"""Jupyter's message format: four signed JSON parts in a multipart message."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

DELIMITER = b"<IDS|MSG>"
VERSION = "5.3"


class BadMessage(Exception):
    """The parts are not a message, or not signed with this connection's key."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A received message."""

    kind: str
    parent: str  # ID of the request that it answers; may be empty
    content: dict[str, Any]


class Wire:
    """Packs and unpacks the messages of one connection. Holds its key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._session = uuid.uuid4().hex

    def pack(self, kind: str, content: dict[str, Any]) -> tuple[str, list[bytes]]:
        """Returns the ID and the parts of a new message."""
        ident = uuid.uuid4().hex
        header = {
            "msg_id": ident,
            "msg_type": kind,
            "session": self._session,
            "username": "user",
            "date": datetime.now(UTC).isoformat(),
            "version": VERSION,
        }
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        return ident, [DELIMITER, self._sign(parts), *parts]

    def unpack(self, frames: Sequence[bytes]) -> Packet:
        """Reads a message. Raises BadMessage."""
        try:
            start = list(frames).index(DELIMITER) + 1
            signature, *parts = frames[start : start + 5]
            if not hmac.compare_digest(signature, self._sign(parts)):
                raise BadMessage("wrong signature")
            header, parent, _, content = (json.loads(part) for part in parts)
            return Packet(header["msg_type"], parent.get("msg_id", ""), content)
        except (ValueError, KeyError) as error:
            raise BadMessage(str(error)) from error

    def _sign(self, parts: Sequence[bytes]) -> bytes:
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            digest.update(part)
        return digest.hexdigest().encode()
