"""One append on its way to the server: what is worked out before, and what the answers mean.

A step is one statement, and sent alone it is one round trip and one transaction. It takes positions and time first (see `schema`), then touches
the row, and writes the events only if the row was as expected. Several steps are sent at once: the first statement takes the positions of
all of them, and up to the message that ends the sending it is one transaction, so that it is one round trip, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

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
from ..mapper import StoredRunEvent, encode_event, enveloped
from ..storing.rows import id_of, key_of, owner_text
from ..storing.sharing import Work
from .connections import Connections, Link
from .quick import Call, one_row, one_row_each
from .rows import FORMAT, maybe_in, move, text_in
from .shapes import Shape, change, creation

_NOWHERE = datetime(1970, 1, 1, tzinfo=UTC)


class Lease(NamedTuple):
    """What the guard saw of the owner's lease."""

    owner: str | None
    renewed_at: int | None
    """Microseconds since 1970."""


class Step(Work):
    """One append as it will be written: everything but what the store decides, its positions and its time."""

    __slots__ = ("append", "events", "shape", "values", "view")

    def __init__(
        self,
        append: Append,
        events: list[RecordedEvent],
        view: RunView,
        shape: Shape,
        values: list[Any],
    ) -> None:
        super().__init__()
        self.append = append
        self.events = events
        self.view = view
        self.shape = shape
        self.values = values

    def given(self, *taken: Any) -> list[Any]:
        """The values of the statement, with those that say where positions and time come from."""
        values = self.values.copy()
        values[self.shape.place : self.shape.place] = taken
        return values


def step_of(append: Append, connections: Connections, lease: Lease | None = None) -> Step:
    """One append, ready to be written. A `lease` has to be as the guard saw it, else nothing is written."""
    before = append.view
    if before is not None and before.flag is not None:
        before = before.model_copy(update={"flag": None})  # never stored
    run_id = append.run_id if before is None else before.run_id
    key, int_id = key_of(run_id)
    correlation_id, version = append.correlation_id, append.expected_version
    correlation_in = maybe_in(correlation_id)
    count = len(append.events)
    view, events = before, []
    written: list[Any] = []
    for number, (event_id, event, occurred_at, actor) in enumerate(append.events):
        version += 1
        recorded = enveloped(
            event,
            run_id=run_id,
            version=version,
            position=0,
            event_id=event_id,
            occurred_at=occurred_at.astimezone(UTC),
            recorded_at=_NOWHERE,
            actor=actor,
            correlation_id=correlation_id,
        )
        view = apply(view, recorded)
        events.append(recorded)
        if count > 1:
            written.append(number)
        written += (
            key,
            version,
            event.TOPIC,
            encode_event(event),
            bytes.fromhex(event_id),
            to_micros(occurred_at),
            maybe_in(actor),
            correlation_in,
            int_id,
            None,
        )
    assert view is not None  # noqa: S101  # there is an event, and `apply` gives a view
    written[-1] = move(None if before is None else before.status, view.status)

    def owner_id(owner: Owner) -> int:
        return owner_row(connections, owner)

    if before is None:
        columns, row = FORMAT.filled(view, owner_id)
        del row[columns.index("position")]
        tags: list[Any] = [text_in(text) for item in view.tags.items() for text in item]
        if tags:
            tags.insert(0, to_micros(view.created_at))
        shape = creation(columns, count, len(view.tags))
        values = [key, int_id, *row, *tags, *written]
        return Step(append, events, view, shape, values)
    columns, row = FORMAT.changed(before, view, owner_id)
    del row[columns.index("position")]
    shape = change(columns, count, leased=lease is not None)
    held = [] if lease is None else [lease.owner, lease.renewed_at]
    return Step(append, events, view, shape, [*row, key, append.expected_version, *held, *written])


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
    values = step.given(len(step.events), at)
    schema, prepare = connections.address.schema, connections.prepares
    return _appended(step, one_row(link, step.shape.alone, values, schema, prepare=prepare))


def execute_all(
    link: Link,
    connections: Connections,
    steps: Sequence[Step],
    at: int | None,
    *,
    hasty: bool = False,
) -> list[Appended | None]:
    """Write steps in one transaction, sent at once; None for each that wrote nothing. `hasty`: rather give up than wait for a lock.

    Raises the driver's errors; then nothing was written, unless the connection was lost.
    """
    left = sum(len(step.events) for step in steps)
    calls: list[Call] = [(_TAKE_HASTILY if hasty else _TAKE, (left, at))]
    for step in steps:
        calls.append((step.shape.grouped, step.given(left)))
        left -= len(step.events)
    schema, prepare = connections.address.schema, connections.prepares
    _, *found = one_row_each(link, calls, schema, prepare=prepare)
    return [_appended(step, row) for step, row in zip(steps, found, strict=True)]


_HASTE_MILLISECONDS = 200
"""How long steps that are hasty wait for a lock."""
_TAKE = "SELECT base, recorded FROM take(?::int, ?::bigint)"
_TAKE_HASTILY = f"{_TAKE}, set_config('lock_timeout', '{_HASTE_MILLISECONDS}', true)"


def take(link: Link, connections: Connections, count: int, at: int | None) -> tuple[int, int]:
    """The first of so many positions in a row, and the time, for what a transaction is going to write; before it writes anything."""
    row = link.execute(connections.sql(_TAKE), (count, at)).fetchone()
    assert row is not None  # noqa: S101  # a function gives a row
    return row[0], row[1]


def _appended(step: Step, found: tuple[bytes, ...] | None) -> Appended | None:
    if found is None:
        return None
    base, recorded_at = map(int, found)
    when = from_micros(recorded_at)
    for position, event in enumerate(step.events, base):
        fields = vars(event)  # nobody else has seen it yet
        fields["position"], fields["recorded_at"] = position, when
    vars(step.view)["position"] = base + len(step.events) - 1
    return Appended(tuple(step.events), step.view)


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
