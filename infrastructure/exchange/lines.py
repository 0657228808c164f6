"""JSON lines: one CloudEvent a line, as they are exported and imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json, to_json

from ...domain.errors import InvalidInput
from ...domain.events import RecordedEvent
from ...domain.values import shown
from .cloudevents import attributes_of, from_cloudevent

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def line_of(recorded: RecordedEvent, source: str) -> bytes:
    """The event as one line of UTF-8 with its end: the JSON of `to_cloudevent`, in half the time. The same event gives the same bytes.

    `source` is a URI that names the store. Raises `InvalidInput` for what JSON cannot say.
    """
    try:
        attributes = to_json(attributes_of(recorded, source))
        facts = recorded.event.model_dump_json(exclude_none=True).encode()
    except ValueError as error:
        raise InvalidInput(
            f"run {recorded.run_id}, version {recorded.version}: expected plain JSON in UTF-8,"
            f" found something else: {error}"
        ) from error
    return b'%s,"data":%s}\n' % (attributes[:-1], facts)


def read_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, RecordedEvent]]:
    """The events in the lines of a file, each with its place, e.g. ``("runs.jsonl, line 3", event)``; empty lines are skipped.

    `lines` may be a file opened for reading bytes; one line is in memory at a time. Whether the events of a run follow each other is
    for the caller to check. Raises `InvalidInput`, which names line and field, and `UnsupportedSchema`.
    """
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
        text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if not text.isspace() and text:
            yield where, from_cloudevent(_object(text, where), where)


def _object(text: bytes, where: str) -> dict[str, Any]:
    try:
        data = from_json(text, allow_inf_nan=True)
    except ValueError as error:
        if not text.endswith(b"\n"):  # only a file's last line can lack it
            raise InvalidInput(
                f"{where}: expected a whole JSON object, found a line that ends after {len(text):,} bytes:"
                " the file is truncated; export it again"
            ) from None
        found = text.strip().decode("utf-8", "backslashreplace")
        raise InvalidInput(f"{where}: expected JSON, found {shown(found)} ({error})") from None
    if not isinstance(data, dict):
        raise InvalidInput(
            f"{where}: expected a JSON object, found {type(data).__name__} {shown(data)}"
        )
    return data
