"""One line of a spool file: an event with its envelope, and a checksum that tells a torn line from a whole one."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

from ..domain.events import BY_TOPIC
from ..domain.values import RunId, from_micros, to_micros
from ..domain.versioning import upcast
from ..projections.ports import NewEvent

HEADER = b"lastword-spool 1 "
"""How a file begins; the process that writes it follows, as JSON."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """One event that waits."""

    run_id: RunId
    event: NewEvent


@dataclass(frozen=True, slots=True)
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


def decode_line(line: bytes) -> Spooled | Torn:
    """The event of a line without its newline; `Torn` when the line is damaged. Raises `UnsupportedSchema`.

    >>> decode_line(b"0000").why
    'no checksum'
    """
    checksum, found, body = line.partition(b" ")
    if not found or len(checksum) != 8:
        return Torn(line, "no checksum")
    try:
        if int(checksum, 16) != zlib.crc32(body):
            return Torn(line, "the checksum differs")
        data = json.loads(body)
        kind = BY_TOPIC[data["type"]]
        event = kind.model_validate(upcast(kind, data["event"], data["v"]))
        new = NewEvent(data["event_id"], event, from_micros(data["occurred_at"]), data["actor"])
        return Spooled(data["run_id"], new)
    except (ValueError, KeyError, TypeError) as error:
        return Torn(line, f"{type(error).__name__}: {error}")
