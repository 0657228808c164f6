"""JSON lines: one CloudEvent a line, as they are exported and imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from json.encoder import encode_basestring as quoted
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json

from ...domain.errors import InvalidInput
from ...domain.events import EVENT_TYPES, RecordedEvent, RunEvent
from ...domain.values import from_micros, run_key, shown
from ...projections.ports import StoredRow
from ..mapper import enveloped, is_plain, recorded_event
from .cloudevents import LARGEST_INTEGER, SPECVERSION, TYPE_PREFIX, from_cloudevent, rfc3339

_REMEMBERED = 2_000
_SHORT = 1_000
"""Bytes of facts that are worth remembering."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def line_of(recorded: RecordedEvent, source: str) -> bytes:
    """The event as one line of UTF-8 with its end: the JSON of `to_cloudevent`, in half the time. The same event gives the same bytes.

    `source` is a URI that names the store. Raises `InvalidInput` for what JSON cannot say.
    """
    return LineWriter(source).line(recorded)


class LineWriter:
    """Writes many events as lines. `source` is a URI that names the store."""

    def __init__(self, source: str) -> None:
        self._source = quoted(source)
        self._known: dict[tuple[str, bytes], tuple[int, str]] = {}
        self._second = lru_cache(maxsize=256)(_second)

    def line(self, recorded: RecordedEvent) -> bytes:
        """See `line_of`."""
        run_id, event = recorded.run_id, recorded.event
        return self._line(
            recorded.position,
            str(run_id),
            recorded.version,
            recorded.type,
            recorded.event_id,
            rfc3339(recorded.occurred_at),
            rfc3339(recorded.recorded_at),
            recorded.actor,
            recorded.correlation_id,
            isinstance(run_id, int),
            (event.SCHEMA_VERSION, _data(recorded)),
        )

    def line_of_row(self, row: StoredRow) -> bytes:
        """The line of an event as it lies in a store, in a third of the time: facts that come again are decoded and written once.

        Raises `StoreCorrupt`, `UnsupportedSchema`, `InvalidInput`.
        """
        (
            position,
            key,
            version,
            topic,
            state,
            event_id,
            at,
            recorded_at,
            actor,
            correlation_id,
            int_id,
        ) = row
        if not is_plain(row) or (int_id is not None and not (int_id == 1 and key.isdecimal())):
            return self.line(recorded_event(row))
        facts = self._known.get((topic, state))
        if facts is None:
            recorded = recorded_event(row)
            facts = recorded.event.SCHEMA_VERSION, _data(recorded)
            if len(state) <= _SHORT:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[topic, state] = facts
        return self._line(
            position,
            str(int(key)) if int_id else key,
            version,
            topic,
            event_id.hex(),
            self._moment(at),
            self._moment(recorded_at),
            actor,
            correlation_id,
            int_id == 1,
            facts,
        )

    def _line(
        self,
        position: int,
        key: str,
        version: int,
        topic: str,
        event_id: str,
        occurred_at: str,
        recorded_at: str,
        actor: str | None,
        correlation_id: str | None,
        is_int: bool,
        facts: tuple[int, str],
    ) -> bytes:
        place = position if position <= LARGEST_INTEGER else quoted(str(position))
        said = "" if actor is None else f',"actor":{quoted(actor)}'
        if correlation_id is not None:
            said += f',"correlationid":{quoted(correlation_id)}'
        text = (
            f'{{"specversion":"{SPECVERSION}","id":{quoted(event_id)},"source":{self._source}'
            f',"type":"{TYPE_PREFIX}{topic}","subject":{quoted(key)}'
            f',"time":"{occurred_at}","datacontenttype":"application/json"'
            f',"runidtype":"{"int" if is_int else "str"}","runversion":{version},"position":{place}'
            f',"recordedat":"{recorded_at}","schemaversion":{facts[0]}{said},"data":{facts[1]}}}\n'
        )
        try:
            return text.encode()
        except ValueError as error:
            raise _unsayable(key, version, error) from error

    def _moment(self, micros: int) -> str:
        seconds, fraction = divmod(micros, 1_000_000)
        return (
            f"{self._second(seconds)}.{fraction:06}Z" if fraction else f"{self._second(seconds)}Z"
        )


def _second(seconds: int) -> str:
    """As `rfc3339`, without the zone. Many events share a second."""
    return rfc3339(from_micros(seconds * 1_000_000))[:-1]


def _data(recorded: RecordedEvent) -> str:
    try:
        return recorded.event.model_dump_json(exclude_none=True)
    except ValueError as error:
        raise _unsayable(recorded.run_id, recorded.version, error) from error


def _unsayable(run: object, version: int, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"run {run}, version {version}: expected plain JSON in UTF-8, found something else: {error}"
    )


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
