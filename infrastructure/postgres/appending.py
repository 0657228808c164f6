"""One append on its way to the server: what is worked out before, and what the answers mean.

A step is one statement, and sent alone it is one round trip and one transaction. It takes positions and time first (see `schema`), then touches
the row, and writes the events only if the row was as expected. Several steps are sent at once: the first statement takes the positions of
all of them, and up to the message that ends the sending it is one transaction, so that it is one round trip, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ...domain.errors import (
    LastwordError,
    RunAlreadyActive,
    StoreCorrupt,
    VersionConflict,
)
from ...domain.values import Owner, RunId, to_micros
from ...projections.ports import Append, Appended
from ...projections.run_view import Fields, RunView, advance, begin, view_from
from ..mapper import StoredRunEvent, encode_event
from ..storing.answering import answer
from ..storing.rows import id_of, key_of, owner_text
from ..storing.sharing import Work
from .connections import Connections
from .links import Link
from .quick import Call, Row, one_row, one_row_each
from .rows import FORMAT, maybe_in, move, text_in
from .shapes import Shape, change, creation

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Lease(NamedTuple):
    """What the guard saw of the owner's lease."""

    owner: str | None
    renewed_at: int | None
    """Microseconds since 1970."""


class Step(Work):
    """One append as it will be written: everything but what the store decides, its positions and its time."""

    __slots__ = ("append", "base", "recorded_at", "run_id", "shape", "told", "values", "view")

    def __init__(
        self, append: Append, run_id: RunId, told: Fields, shape: Shape, values: list[Any]
    ) -> None:
        super().__init__()
        self.append = append
        self.run_id = run_id
        self.told = told
        """What the new events say of the view; all of it for a new run."""
        self.view: RunView | None = None
        """The fold with the new events; its position is that of the newest once they are written."""
        self.shape = shape
        self.values = values
        self.base = self.recorded_at = 0
        """The first position and the time, in microseconds, once they are written."""

    def given(self, taken: int | None) -> list[Any]:
        """The values of the statement, with the one that says where positions and time come from."""
        values = self.values.copy()
        values.insert(self.shape.place, taken)
        return values

    def written(self, found: Row | None) -> Appended | None:
        """What the answer of the server means: its first position and the time, or None when nothing was written."""
        if found is None:
            return None
        base, at = found
        self.base, self.recorded_at = first, recorded_at = int(base), int(at)
        count = len(self.append.events)
        view = self.view or self.fold()
        vars(view)["position"] = first + count - 1  # nobody else has seen it yet
        taken = [(position, recorded_at) for position in range(first, first + count)]
        return answer(self.append, self.run_id, view, taken)

    def fold(self) -> RunView:
        """Make the view with the new events. The statement needs only what they change, so there is time for it while the server works."""
        old = self.append.view  # a flag is never stored
        fields = self.told if old is None else {**vars(old), "flag": None, **self.told}
        self.view = view_from(fields)
        return self.view


def step_of(append: Append, connections: Connections, lease: Lease | None = None) -> Step:
    """One append, ready to be written. A `lease` has to be as the guard saw it, else nothing is written."""
    run_id, version, new, old, correlation_id, _ = append
    before: Fields | None = None
    if old is not None:
        before = vars(old)
        run_id = before["run_id"]
    key, int_id = key_of(run_id)
    correlation_id = maybe_in(correlation_id)
    count = len(new)
    told: Fields = {}
    moment, micros = _LONG_AGO, 0
    events: list[Any] = []
    for number, (event_id, event, occurred_at, actor) in enumerate(new):
        version += 1
        moment = occurred_at if occurred_at.tzinfo is UTC else occurred_at.astimezone(UTC)
        micros = to_micros(moment)
        if version == 1:
            told = begin(event, run_id, version, 0, moment)
        else:
            advance(told, event, version, 0, moment)
        if count > 1:
            events.append(number)
        events += (
            key,
            version,
            event.TOPIC,
            encode_event(event),
            bytes.fromhex(event_id),
            micros,
            maybe_in(actor),
            correlation_id,
            int_id,
            None,
        )

    def owner_id(owner: Owner) -> int:
        return owner_row(connections, owner)

    if before is None:
        view = view_from(told)
        events[-1] = move(None, view.status)
        columns, row = FORMAT.filled(view, owner_id)
        del row[columns.index("position")]
        tags: list[Any] = [text_in(text) for item in view.tags.items() for text in item]
        if tags:
            tags.insert(0, to_micros(view.created_at))
        shape = creation(columns, count, len(view.tags))
        return Step(append, run_id, told, shape, [key, int_id, *row, *tags, *events])
    events[-1] = move(before["status"], told.get("status", before["status"]))
    columns, row = FORMAT.moved(told, before, moment, micros, owner_id)
    shape = change(columns, count, leased=lease is not None)
    held = [] if lease is None else [lease.owner, lease.renewed_at]
    values = [*row, version, key, append.expected_version, *held, *events]
    return Step(append, run_id, told, shape, values)


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
    if connections.pooled:  # its session would outlive an error, and with it the lock under which the statement takes its position
        return execute_all(link, connections, (step,), at)[0]
    values = step.given(at)
    schema, prepare = connections.address.schema, connections.prepares
    row = one_row(link, step.shape.alone, values, schema, prepare=prepare, meanwhile=step.fold)
    return step.written(row)


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
    left = sum(len(step.append.events) for step in steps)
    calls: list[Call] = [(_TAKE_HASTILY if hasty else _TAKE, (left, at))]
    for step in steps:
        calls.append((step.shape.grouped, step.given(left)))
        left -= len(step.append.events)
    schema, prepare = connections.address.schema, connections.prepares
    _, *found = one_row_each(link, calls, schema, prepare=prepare)
    return [step.written(row) for step, row in zip(steps, found, strict=True)]


_HASTE_MILLISECONDS = 200
"""How long steps that are hasty wait for a lock."""
_TAKE = "SELECT base, recorded FROM take(?::int, ?::bigint)"
_TAKE_HASTILY = f"{_TAKE}, set_config('lock_timeout', '{_HASTE_MILLISECONDS}', true)"


def take(link: Link, connections: Connections, count: int, at: int | None) -> tuple[int, int]:
    """The first of so many positions in a row, and the time, for what a transaction is going to write; before it writes anything."""
    row = link.execute(connections.sql(_TAKE), (count, at)).fetchone()
    assert row is not None  # noqa: S101  # a function gives a row
    return row[0], row[1]


def owner_row(connections: Connections, owner: Owner) -> int:
    """The number of the owner's row, which is made when it is missing, in a transaction of its own."""
    text = owner_text(owner)
    number = connections.owner_ids.get(text)
    if number is None:
        values = (text_in(owner.key), text, text, text)
        rows = connections.fetch(_OWNER, values) or connections.fetch(_OWNER, values)
        number = connections.owner_ids[text] = rows[0][0]
    return number


def owner_rows(link: Link, connections: Connections, owners: Mapping[str, Owner]) -> dict[str, int]:
    """The numbers of the rows of many owners, by the JSON under which they are given; those that are missing are made."""
    texts = [*owners]
    keys = [text_in(owner.key) for owner in owners.values()]
    link.execute(connections.sql(_MAKE_OWNERS), (keys, texts))
    return dict(link.execute(connections.sql(_FIND_OWNERS), (texts,)).fetchall())


_OWNER = """
WITH made AS (
    INSERT INTO owners (key, owner) SELECT ?, ?
    WHERE NOT EXISTS (SELECT 1 FROM owners WHERE md5(owner) = md5(?)) ON CONFLICT DO NOTHING RETURNING id
)
SELECT id FROM made UNION ALL SELECT id FROM owners WHERE md5(owner) = md5(?) LIMIT 1
"""
_MAKE_OWNERS = """
INSERT INTO owners (key, owner) SELECT t.key, t.owner FROM unnest(?::text[], ?::text[]) AS t (key, owner)
WHERE NOT EXISTS (SELECT 1 FROM owners o WHERE md5(o.owner) = md5(t.owner)) ON CONFLICT DO NOTHING
"""
_FIND_OWNERS = """
SELECT owner, id FROM owners WHERE md5(owner) = ANY (ARRAY(SELECT md5(text) FROM unnest(?::text[]) AS text))
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
    """Who has the exclusive key that the run wants."""
    exclusive = append.exclusive
    if exclusive is None:
        return None
    active = link.execute(
        connections.sql(
            "SELECT run_key, int_id FROM runs WHERE exclusive = ? AND status IN ('pending', 'running')"
        ),
        (text_in(exclusive),),
    ).fetchone()
    return None if active is None else RunAlreadyActive(append.run_id, exclusive, id_of(*active))
