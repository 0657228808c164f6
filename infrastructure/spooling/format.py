"""What a spool file says: a header, then lines of one event each with a checksum that tells a torn line from a whole one."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

from ...domain.errors import StoreCorrupt, UnsupportedSchema
from ...domain.events import BY_TOPIC
from ...domain.records import record
from ...domain.values import RunId, from_micros, to_micros
from ...domain.versioning import upcast
from ...projections.ports import NewEvent

VERSION = 1
"""Of the file's shape."""
_TITLE = b"lastword-spool "
HEADER = _TITLE + b"%d " % VERSION
"""How a file begins; the process that writes it follows, as JSON."""


@record()
class Spooled:
    """One event that waits."""

    run_id: RunId
    event: NewEvent
    line: bytes = b""
    """As it was read; empty for one that is to be written."""


@record()
class Newer:
    """A whole line with an event that a newer release wrote; it waits for such a release."""

    run_id: RunId
    line: bytes
    why: str


@record()
class Torn:
    """A line that is not whole: the process died, or the disk was full, while it was written."""

    line: bytes
    why: str


def encode_line(item: Spooled) -> bytes:
    """The line, with its newline."""
    new = item.event
    body = json.dumps(
        {
            "run_id": item.run_id,
            "event_id": new.event_id,
            "type": new.event.TOPIC,
            "v": new.event.SCHEMA_VERSION,
            "event": new.event.model_dump(mode="json", exclude_none=True),
            "occurred_at": to_micros(new.occurred_at),
            "actor": new.actor,
        },
        separators=(",", ":"),
    ).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_line(line: bytes) -> Spooled | Newer | Torn:
    """What a line without its newline holds.

    >>> decode_line(b"0000").why
    'no checksum'
    """
    checksum, found, body = line.partition(b" ")
    if not found or len(checksum) != 8:
        return Torn(line, "no checksum")
    try:
        if int(checksum, 16) != zlib.crc32(body):
            return Torn(line, "the checksum differs")
        return _decoded(json.loads(body), line)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, StoreCorrupt) as error:
        return Torn(line, f"{type(error).__name__}: {error}")


def _decoded(data: dict[str, Any], line: bytes) -> Spooled | Newer:
    kind, version = BY_TOPIC.get(data["type"]), data["v"]
    if kind is None:
        return Newer(data["run_id"], line, f"event {data['type']!r} is not known here")
    try:
        payload = upcast(kind, data["event"], version)
    except UnsupportedSchema as error:
        return Newer(data["run_id"], line, str(error))
    event = kind.model_validate(payload)
    new = NewEvent(data["event_id"], event, from_micros(data["occurred_at"]), data["actor"])
    return Spooled(data["run_id"], new, line)


def parsed(data: bytes) -> Iterator[Spooled | Newer | Torn]:
    """All lines of a file but its header. Raises `UnsupportedSchema` for a file of a shape that is not known here."""
    for line in data.split(b"\n"):
        if line.startswith(_TITLE):
            version = line.removeprefix(_TITLE).split(b" ", 1)[0]
            if version.isdigit() and int(version) > VERSION:
                raise UnsupportedSchema("spool file", int(version), VERSION)
        elif line:
            yield decode_line(line)
