"""JSON lines: one CloudEvent a line, as they are exported and imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from json.encoder import encode_basestring as quoted
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json

from ...domain.errors import InvalidInput
from ...domain.events import EVENT_TYPES, RecordedEvent, RunEvent
from ...domain.values import run_key, shown
from ..mapper import enveloped
from .cloudevents import LARGEST_INTEGER, SPECVERSION, TYPE_PREFIX, from_cloudevent, rfc3339

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def line_of(recorded: RecordedEvent, source: str) -> bytes:
    """The event as one line of UTF-8 with its end: the JSON of `to_cloudevent`, in half the time. The same event gives the same bytes.

    `source` is a URI that names the store. Raises `InvalidInput` for what JSON cannot say.
    """
    position: int | str = recorded.position
    if recorded.position > LARGEST_INTEGER:
        position = quoted(str(position))
    kind = "int" if isinstance(recorded.run_id, int) else "str"
    said = ""
    if recorded.actor is not None:
        said = f',"actor":{quoted(recorded.actor)}'
    if recorded.correlation_id is not None:
        said += f',"correlationid":{quoted(recorded.correlation_id)}'
    try:
        text = (
            f'{{"specversion":"{SPECVERSION}","id":{quoted(recorded.event_id)},"source":{quoted(source)}'
            f',"type":"{TYPE_PREFIX}{recorded.type}","subject":{quoted(str(recorded.run_id))}'
            f',"time":"{rfc3339(recorded.occurred_at)}","datacontenttype":"application/json"'
            f',"runidtype":"{kind}","runversion":{recorded.version},"position":{position}'
            f',"recordedat":"{rfc3339(recorded.recorded_at)}","schemaversion":{recorded.event.SCHEMA_VERSION}{said}'
            f',"data":{recorded.event.model_dump_json(exclude_none=True)}}}\n'
        )
        return text.encode()
    except ValueError as error:
        raise InvalidInput(
            f"run {recorded.run_id}, version {recorded.version}: expected plain JSON in UTF-8,"
            f" found something else: {error}"
        ) from error


def read_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, RecordedEvent]]:
    """The events in the lines of a file, each with its place, e.g. ``("runs.jsonl, line 3", event)``; empty lines are skipped.

    `lines` may be a file opened for reading bytes; one line is in memory at a time. Whether the events of a run follow each other is
    for the caller to check. Raises `InvalidInput`, which names line and field, and `UnsupportedSchema`.
    """
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
        text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if not text.isspace() and text:
            yield where, _quickly(text) or from_cloudevent(object_of(text, where), where)


def object_of(text: bytes, where: str, *, allow_inf_nan: bool = True) -> dict[str, Any]:
    """The JSON object of a line. Raises `InvalidInput`, which tells a truncated file from a line that is no JSON."""
    try:
        data = from_json(text, allow_inf_nan=allow_inf_nan)
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


class _Line(BaseModel):
    """The attributes of an event as `line_of` writes them."""

    specversion: Literal["1.0"]
    id: str = Field(pattern="^[0-9a-f]{32}$")
    subject: str
    runidtype: Literal["int", "str"]
    runversion: int = Field(strict=True, ge=1, le=LARGEST_INTEGER)
    position: int = Field(strict=True, ge=1, le=LARGEST_INTEGER)
    schemaversion: int = Field(strict=True)
    time: str
    recordedat: str
    actor: str | None = None
    correlationid: str | None = None


@cache
def _adapter() -> TypeAdapter[Any]:
    """Reads a line of any event in one step. Not made at import: it takes some milliseconds."""
    lines = [
        create_model(kind.TOPIC, __base__=_Line, type=Literal[TYPE_PREFIX + kind.TOPIC], data=kind)  # pyright: ignore[reportCallIssue, reportArgumentType]  # its types cannot say that values are types
        for kind in EVENT_TYPES
    ]
    union: Any = lines[0]
    for line in lines[1:]:
        union |= line
    return TypeAdapter(Annotated[union, Field(discriminator="type")])  # pyright: ignore[reportArgumentType, reportInvalidTypeForm]  # the types are made above


def _quickly(text: bytes) -> RecordedEvent | None:
    """The event of a line that is as `line_of` writes it today, in a third of the time; None for all others, which are looked at in detail."""
    try:
        line = _adapter().validate_json(text)
        event: RunEvent = line.data
        key: str = run_key(line.subject)
        run_id = int(key) if line.runidtype == "int" else key
        occurred_at, recorded_at = map(datetime.fromisoformat, (line.time, line.recordedat))
    except (ValidationError, ValueError):
        return None
    if (
        line.schemaversion != event.SCHEMA_VERSION
        or str(run_id) != key
        or occurred_at.tzinfo is not UTC
        or recorded_at.tzinfo is not UTC
    ):
        return None
    return enveloped(
        event,
        run_id=run_id,
        version=line.runversion,
        position=line.position,
        event_id=line.id,
        occurred_at=occurred_at,
        recorded_at=recorded_at,
        actor=line.actor,
        correlation_id=line.correlationid,
    )
