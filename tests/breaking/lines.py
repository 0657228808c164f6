"""Lines of a spool file, for tests."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

from lastword import RunEvent
from lastword.projections.ports import NewEvent

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def new(event: RunEvent, number: int = 1) -> NewEvent:
    """An event that no store has seen, with an id made from the number."""
    return NewEvent(f"{number:032x}", event, WHEN)


def rechecked(line: bytes, old: bytes, put: bytes) -> bytes:
    """The line with other content and the checksum for it."""
    body = line.rstrip(b"\n").partition(b" ")[2].replace(old, put)
    return b"%08x %s" % (zlib.crc32(body), body)
