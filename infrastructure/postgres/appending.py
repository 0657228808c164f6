"""Events, row, tags and the exclusive key in one statement: one round trip, one transaction.

The statement has one shape for each set of columns that change, so that the server prepares it once. It takes positions and time first
(see `schema`), then touches the row, and writes the events only if the row was as expected.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from psycopg import Cursor

from ...domain.errors import (
    LastwordError,
    RunAlreadyActive,
    StoreCorrupt,
    VersionConflict,
)
from ...domain.events import RecordedEvent
from ...domain.values import Owner, from_micros, to_micros
from ...projections.ports import Append, Appended
from ...projections.run_view import RunView, apply
from ..mapper import EVENT_COLUMNS, EventMapper, StoredRunEvent, enveloped
from ..storing.rows import id_of, owner_text
from .connections import Connections, Link
from .quick import one_row
from .rows import FORMAT, maybe_in, move, text_in

WRITTEN = tuple(column for column in EVENT_COLUMNS if column not in {"position", "recorded_at"})
"""The columns of an event that the caller knows."""

_TYPES = {
    "originator_id": "text",
    "originator_version": "bigint",
    "topic": "text",
    "state": "bytea",
    "event_id": "bytea",
    "occurred_at": "bigint",
    "actor": "text",
    "correlation_id": "text",
    "int_id": "smallint",
    "moved": "smallint",
}
_EVENT = (*WRITTEN, "moved")
_ONE_EVENT = ", ".join(f"?::{_TYPES[column]}" for column in _EVENT)
_MAPPER = EventMapper()
_NOWHERE = datetime(1970, 1, 1, tzinfo=UTC)


class Lease(NamedTuple):
    """What the guard saw of the owner's lease."""

    owner: str | None
    renewed_at: int | None
    """Microseconds since 1970."""


class Step(NamedTuple):
    """One append as it will be written: everything but what the store decides, its positions and its time."""

    append: Append
    events: list[RecordedEvent]
    view: RunView
    statement: str
    values: list[Any]


def step_of(
    append: Append, connections: Connections, lease: Lease | None = None, *, taken: bool = False
) -> Step:
    """The statement for one append; it takes its positions itself, unless they are `taken` already.

    A `lease` has to be as the guard saw it, else the statement writes nothing.
    """
    before = append.view
    if before is not None and before.flag is not None:
        before = before.model_copy(update={"flag": None})  # never stored
    run_id = append.run_id if before is None else before.run_id
    view, events, values = before, [], []
    for number, new in enumerate(append.events, 1):
        stored = _MAPPER.stored(
            new, run_id, append.expected_version + number, append.correlation_id
        )
        recorded = enveloped(
            new.event,
            run_id=run_id,
            version=stored.originator_version,
            position=0,
            event_id=new.event_id,
            occurred_at=new.occurred_at.astimezone(UTC),
            recorded_at=_NOWHERE,
            actor=new.actor,
            correlation_id=append.correlation_id,
        )
        view = apply(view, recorded)
        events.append(recorded)
        values.append([number - 1, *event_values(stored), None])
    assert view is not None  # noqa: S101  # there is an event, and `apply` gives a view
    values[-1][-1] = move(None if before is None else before.status, view.status)
    flat = [value for row in values for value in row]
    key = str(run_id)

    def owner_id(owner: Owner) -> int:
        return owner_row(connections, owner)

    if before is None:
        columns, row = FORMAT.filled(view, owner_id)
        tags = [text_in(text) for item in view.tags.items() for text in item]
        position = columns.index("position")
        del row[position]
        statement = _creation(columns, len(events), len(view.tags), taken=taken)
        created = [to_micros(view.created_at)] if tags else []
        parameters = [key, 1 if isinstance(run_id, int) else None, *row]
        return Step(append, events, view, statement, [*parameters, *flat, *created, *tags])
    columns, row = FORMAT.changed(before, view, owner_id)
    del row[columns.index("position")]
    statement = _change(columns, len(events), leased=lease is not None, taken=taken)
    held = [] if lease is None else [lease.owner, lease.renewed_at]
    parameters = [*row, key, append.expected_version, *held]
    return Step(append, events, view, statement, [*parameters, *flat])


def event_values(stored: StoredRunEvent) -> list[Any]:
    """The values of `WRITTEN`."""
    return [
        stored.originator_id,
        stored.originator_version,
        stored.topic,
        stored.state,
        stored.event_id,
        stored.occurred_at,
        maybe_in(stored.actor),
        maybe_in(stored.correlation_id),
        stored.int_id,
    ]


def execute(link: Link, connections: Connections, step: Step, at: int | None) -> Appended | None:
    """Write one step, `at` a time in microseconds, or the server's; None when it wrote nothing. Raises the driver's errors."""
    values = (len(step.events), at, *step.values)
    schema, prepare = connections.address.schema, connections.prepares
    found = one_row(link, step.statement, values, schema, prepare=prepare)
    return _appended(step, None if found is None else tuple(map(int, found)))


def execute_all(
    link: Link, connections: Connections, steps: Sequence[Step], at: int | None
) -> list[Appended | None]:
    """Write steps in one transaction, sent at once; None for each that wrote nothing."""
    with link.transaction():
        count = sum(len(step.events) for step in steps)
        position, recorded_at = take(link, connections, count, at)
        cursors: list[Cursor[tuple[Any, ...]]] = []
        with link.pipeline():
            for step in steps:
                values = (position, recorded_at, *step.values)
                cursors.append(link.execute(connections.sql(step.statement), values))
                position += len(step.events)
        found = [cursor.fetchone() for cursor in cursors]
    return [_appended(step, row) for step, row in zip(steps, found, strict=True)]


def take(link: Link, connections: Connections, count: int, at: int | None) -> tuple[int, int]:
    """The first of so many positions in a row, and the time, for what a transaction is going to write; before it writes anything."""
    row = link.execute(
        connections.sql("SELECT base, recorded FROM take(?::int, ?::bigint)"), (count, at)
    ).fetchone()
    assert row is not None  # noqa: S101  # a function gives a row
    return row[0], row[1]


def _appended(step: Step, found: tuple[Any, ...] | None) -> Appended | None:
    if found is None:
        return None
    base, recorded_at = found
    when = from_micros(recorded_at)
    for number, event in enumerate(step.events):  # nobody else has seen them yet
        vars(event).update(position=base + number, recorded_at=when)
    view = step.view
    vars(view).update(position=base + len(step.events) - 1)
    return Appended(tuple(step.events), view)


def owner_row(connections: Connections, owner: Owner) -> int:
    """The number of the owner's row, which is made when it is missing, in a transaction of its own."""
    text = owner_text(owner)
    number = connections.owner_ids.get(text)
    if number is None:
        values = (text_in(owner.key), text, text, text)
        rows = connections.fetch(_OWNER, values) or connections.fetch(_OWNER, values)
        number = connections.owner_ids[text] = rows[0][0]
    return number


_OWNER = """
WITH made AS (
    INSERT INTO owners (key, owner) SELECT ?, ?
    WHERE NOT EXISTS (SELECT 1 FROM owners WHERE md5(owner) = md5(?)) ON CONFLICT DO NOTHING RETURNING id
)
SELECT id FROM made UNION ALL SELECT id FROM owners WHERE md5(owner) = md5(?) LIMIT 1
"""
_SOURCES = {
    False: "WITH taken AS MATERIALIZED (SELECT base, recorded FROM take(?::int, ?::bigint))",
    True: "WITH taken AS MATERIALIZED (SELECT ?::bigint AS base, ?::bigint AS recorded)",
}
"""Where positions and time come from: from the statement itself, or, when they are taken already, from its first two values."""
_EVENTS = f"""
INSERT INTO events (position, {", ".join(_EVENT)}, recorded_at)
SELECT taken.base + e.step, {", ".join(f"e.{column}" for column in _EVENT)}, taken.recorded
FROM taken, kept, (VALUES {{values}}) AS e (step, {", ".join(_EVENT)})
"""
_TAGS = """,
tagged AS (
    INSERT INTO run_tags (key, value, created_at, number)
    SELECT t.key, t.value, ?::bigint, taken.base FROM taken, kept, (VALUES {values}) AS t (key, value)
)"""


def _events(count: int) -> str:
    return _EVENTS.format(values=", ".join([f"(?::int, {_ONE_EVENT})"] * count))


@lru_cache(maxsize=256)
def _creation(columns: tuple[str, ...], events: int, tags: int, *, taken: bool) -> str:
    names = ", ".join(("number", "run_key", "int_id", *columns))
    values = ", ".join(
        f"taken.base + {events - 1}" if column == "position" else "?" for column in columns
    )
    tagging = _TAGS.format(values=", ".join(["(?::text, ?::text)"] * tags)) if tags else ""
    return f"""{_SOURCES[taken]},
    kept AS (INSERT INTO runs ({names}) SELECT taken.base, ?, ?::smallint, {values} FROM taken
        ON CONFLICT DO NOTHING RETURNING number),
    event AS ({_events(events)}){tagging}
    SELECT taken.base, taken.recorded FROM taken, kept"""


@lru_cache(maxsize=256)
def _change(columns: tuple[str, ...], events: int, *, leased: bool, taken: bool) -> str:
    changes = ", ".join(
        f"position = taken.base + {events - 1}" if column == "position" else f"{column} = ?"
        for column in columns
    )
    unmoved = ""
    if leased:
        unmoved = " AND (SELECT l.renewed_at FROM leases l WHERE l.owner = ?::text) IS NOT DISTINCT FROM ?::bigint"
    return f"""{_SOURCES[taken]},
    kept AS (UPDATE runs AS r SET {changes} FROM taken WHERE r.run_key = ? AND r.version = ?{unmoved} RETURNING r.number),
    event AS ({_events(events)})
    SELECT taken.base, taken.recorded FROM taken, kept"""


def refusal(link: Link, connections: Connections, append: Append) -> LastwordError | None:
    """Why nothing was written; None when nothing stands in the way any more, so that it is worth another try."""
    key = str(append.run_id)
    found = link.execute(
        connections.sql(
            "SELECT (SELECT max(originator_version) FROM events WHERE originator_id = ?),"
            " (SELECT version FROM runs WHERE run_key = ?)"
        ),
        (key, key),
    ).fetchone()
    version, row = found or (None, None)
    if (version or 0) != append.expected_version:
        return VersionConflict(append.run_id, append.expected_version, version or 0)
    if row != version:
        told = "none" if row is None else f"a row of version {row}"
        return StoreCorrupt(
            f"run {append.run_id}: expected a row of version {append.expected_version}, found {told},"
            " which is not what its events say; `lastword rebuild` computes all rows anew"
        )
    return _held(link, connections, append)


def _held(link: Link, connections: Connections, append: Append) -> RunAlreadyActive | None:
    """Who has the exclusive key that a new run wants."""
    exclusive = next(
        (value for new in append.events if (value := getattr(new.event, "exclusive", None))), None
    )
    if exclusive is None:
        return None
    active = link.execute(
        connections.sql(
            "SELECT run_key, int_id FROM runs WHERE exclusive = ? AND status IN ('pending', 'running')"
        ),
        (text_in(exclusive),),
    ).fetchone()
    return None if active is None else RunAlreadyActive(append.run_id, exclusive, id_of(*active))
