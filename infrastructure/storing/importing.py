"""Taking in histories of another store: all of them or none, with memory that does not grow.

What is read is put aside, on the disk and beside the store. There it is put in order and folded, and compared with what the store has. Then one
short transaction copies events and rows into the store; writers wait only for that.

Statements name what was put aside ``staging.TABLE`` and the store's own tables ``main.TABLE``.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, Protocol

from ...domain.errors import InvalidInput, StoreUnavailable
from ...domain.events import RecordedEvent
from ...domain.values import Owner, to_micros
from ...projections.importing import HistoryCheck, ImportReport, Placed, Refusal, other_content
from ...projections.run_view import RunView
from ..mapper import EVENT_COLUMNS, encode_event
from .columns import ROW_COLUMNS, VIEW_COLUMNS
from .rows import owner_text

BATCH = 500
"""Events that are put aside at once."""

_COLUMNS = len(EVENT_COLUMNS)


class Desk(Protocol):
    """Where a store puts aside what is to be taken in, and how it writes."""

    def run(self, statement: str, *values: Any) -> int:
        """Execute it; how many rows it touched."""
        ...

    def each(self, statement: str, *values: Any) -> Iterator[Sequence[Any]]:
        """Its rows, one after the other; other statements may be executed meanwhile, inside the same transaction."""
        ...

    def put(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows to a table of ``staging``; each has a value for every column.

        Raises `OverflowError` for one that this kind of store cannot hold.
        """
        ...

    def index(self) -> None:
        """All events are there: let them be found by run and version, and by their id."""
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """All or nothing of what is done inside."""
        ...

    def row_of(self, view: RunView, number: int, owner_id: Callable[[Owner], int]) -> list[Any]:
        """A view as the values of `ROW_COLUMNS`. Raises `OverflowError`, too."""
        ...

    def event_of(self, row: Sequence[Any]) -> RecordedEvent:
        """The event in a row of `EVENT_COLUMNS`."""
        ...

    def copy_active(self, copy: Callable[[], int]) -> int | None:
        """What `copy` gives; None, with nothing of it done, when a run holds an exclusive key that another one wants."""
        ...


def _listed(columns: Iterable[str], alias: str = "", **others: str) -> str:
    return ", ".join(others.get(column, alias + column) for column in columns)


_BY_RUN = f"""
SELECT {_listed(EVENT_COLUMNS)}, place FROM staging.events ORDER BY originator_id, originator_version, position
"""
_TWICE = """
SELECT b.place, a.originator_id, a.originator_version FROM staging.events a CROSS JOIN staging.events b
WHERE b.event_id = a.event_id AND b.position > a.position
    AND (b.originator_id, b.originator_version) <> (a.originator_id, a.originator_version)
ORDER BY b.position LIMIT 1
"""
_TAKEN = """
SELECT s.place, e.originator_id, e.originator_version FROM main.events e CROSS JOIN staging.events s
WHERE e.position > ? AND s.event_id = e.event_id
    AND (s.originator_id, s.originator_version) <> (e.originator_id, e.originator_version)
ORDER BY s.position LIMIT 1
"""
_SAME_VERSION = "e.originator_id = s.originator_id AND e.originator_version = s.originator_version"
_SAME_BYTES = " AND ".join(
    f"coalesce(e.{column} = s.{column}, e.{column} IS NULL AND s.{column} IS NULL)"
    for column in EVENT_COLUMNS
    if column not in {"position", "recorded_at"}
)
_OTHER = f"""
SELECT {_listed(EVENT_COLUMNS, "e.")}, {_listed(EVENT_COLUMNS, "s.")}, s.place FROM {{tables}}
WHERE {_SAME_VERSION} AND e.position > ? AND NOT ({_SAME_BYTES})
"""
_OTHER_IN_ALL = _OTHER.format(tables="staging.events s CROSS JOIN main.events e")
_OTHER_SINCE = _OTHER.format(tables="main.events e CROSS JOIN staging.events s")
_NEWS = f"""
SELECT count(*) FROM (
    SELECT 1 FROM staging.events s WHERE NOT EXISTS (SELECT 1 FROM main.events e WHERE {_SAME_VERSION}) LIMIT 1
) AS news
"""
_COPY = f"""
INSERT INTO main.events ({_listed(EVENT_COLUMNS)})
SELECT {_listed(EVENT_COLUMNS, position="position + ?", recorded_at="CASE WHEN ? = 0 THEN recorded_at ELSE ? END")}
FROM staging.events s WHERE true ORDER BY s.position
ON CONFLICT (originator_id, originator_version) DO NOTHING
"""
"""What is there already, or stands in front of it, has been found to be the same."""
_COPY_OWNERS = """
INSERT INTO main.owners (key, owner) SELECT key, owner FROM staging.owners WHERE true ON CONFLICT DO NOTHING
"""
_FIND_OWNERS = (
    "UPDATE staging.owners AS t SET kept = o.id FROM main.owners o WHERE o.owner = t.owner"
)
_NUMBER = "(SELECT e.position FROM main.events e WHERE e.originator_id = s.run_key AND e.originator_version = 1)"
_COPY_RUNS = f"""
INSERT INTO main.runs ({_listed(ROW_COLUMNS)})
SELECT {_listed(ROW_COLUMNS, "s.", number="e.position", position="s.position + ?", owner="t.kept")}
FROM staging.runs s CROSS JOIN main.events e LEFT JOIN main.runs r ON r.number = e.position
LEFT JOIN staging.owners t ON t.id = s.owner
WHERE e.originator_id = s.run_key AND e.originator_version = 1 AND coalesce(r.version, 0) < s.version
    AND CASE WHEN s.status IN ('pending', 'running') THEN 1 ELSE 0 END = ? ORDER BY s.number
ON CONFLICT (number) DO UPDATE SET {_listed(VIEW_COLUMNS, **{column: f"{column} = excluded.{column}" for column in VIEW_COLUMNS})}
"""
_COPY_TAGS = """
INSERT INTO main.run_tags (key, value, created_at, number)
SELECT t.key, t.value, t.created_at, r.number FROM staging.tags t JOIN main.runs r ON r.number = t.number + ?
"""
_NEW_AND_ACTIVE = f"""
SELECT * FROM staging.runs s WHERE s.exclusive IS NOT NULL AND s.status IN ('pending', 'running')
    AND NOT EXISTS (SELECT 1 FROM main.runs r WHERE r.number = {_NUMBER} AND r.version >= s.version)
"""
_HELD = f"""
WITH asked AS ({_NEW_AND_ACTIVE})
SELECT * FROM (SELECT s.number, s.place, s.run_key, s.exclusive, coalesce(
    (SELECT r.run_key FROM main.runs r
        WHERE r.exclusive = s.exclusive AND r.run_key <> s.run_key AND r.status IN ('pending', 'running')),
    (SELECT o.run_key FROM asked o WHERE o.exclusive = s.exclusive AND o.number < s.number ORDER BY o.number LIMIT 1)
) AS holder FROM asked s) AS found WHERE holder IS NOT NULL ORDER BY number LIMIT 1
"""
_NEW_RUNS = f"""
SELECT count(*) FROM staging.runs s WHERE NOT EXISTS (SELECT 1 FROM main.runs r WHERE r.number = {_NUMBER})
"""


class Staged:
    """What was read, beside the store. In order: `put`, `fold`, `compare`, and in the transaction that takes it in, `copy`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._events = 0
        self._runs = 0
        self._owners = 0
        self._owner = lru_cache(maxsize=1024)(self._owner_row)

    @property
    def events(self) -> int:
        """How many events were read."""
        return self._events

    def put(
        self, events: Iterable[Placed], now: int, progress: Callable[[int], None] | None
    ) -> None:
        """Put everything aside, in the order in which it comes."""
        recorded_at = -(1 << 62)
        batch: list[tuple[object, ...]] = []
        with self._desk.transaction():
            for where, recorded in events:
                recorded_at = max(recorded_at, min(to_micros(recorded.recorded_at), now))
                self._events += 1
                batch.append((*_columns(recorded, self._events, recorded_at), where))
                if len(batch) == BATCH:
                    self._desk.put("events", batch)
                    batch.clear()
                    if progress is not None:
                        progress(self._events)
            self._desk.put("events", batch)
            self._desk.index()
        if progress is not None:
            progress(self._events)

    def fold(self) -> None:
        """Check each history and put its row aside. Raises `InvalidInput` for the first line that does not fit."""
        refused: tuple[int, Refusal] | None = None
        run, key = _Run(), ""
        with self._desk.transaction():
            for row in self._desk.each(_BY_RUN):
                if row[1] != key:
                    self._put_row(run)
                    run, key = _Run(), row[1]
                order: int = row[0]
                placed = Placed(row[-1], self._desk.event_of(row[:-1]))
                refusal = run.other(placed) if run.repeated(placed) else run.add(placed, order)
                if refusal is not None and (refused is None or order < refused[0]):
                    refused = order, refusal
            self._put_row(run)
        if refused is not None:
            raise refused[1].error
        self._refuse_id(_TWICE)

    def compare(self, after: int) -> None:
        """Look at what the store has already behind a position. Raises `InvalidInput` where that is something else."""
        for row in self._desk.each(_OTHER_SINCE if after else _OTHER_IN_ALL, after):
            self._refuse_other(row[:_COLUMNS], row[_COLUMNS:-1], row[-1])
        self._refuse_id(_TAKEN, after)

    def has_news(self) -> bool:
        """Whether there is an event that the store does not have. In the snapshot of `compare`: what came since is not compared yet."""
        return self._one(_NEWS) > 0

    def report(self, added: int = 0, new: int = 0, extended: int = 0) -> ImportReport:
        """What was read, and what the store got of it."""
        return ImportReport(
            events=self._events,
            runs=self._runs,
            added=added,
            new_runs=new,
            extended_runs=extended,
        )

    def refuse_archived(self, after: int) -> None:
        """What the store had when it was compared may be gone: runs were archived behind that position. Raises `StoreUnavailable`."""
        archived = "SELECT count(*) FROM main.events WHERE originator_id = '' AND position > ?"
        if self._one(archived, after):
            raise StoreUnavailable(
                "import: expected the runs that were there when it began, found that runs were archived meanwhile;"
                " nothing was imported: import again"
            )

    def copy(self, base: int, now: int, *, empty: bool) -> ImportReport:
        """Bring it all into the store, behind the position `base`; the transaction is open. An `empty` store keeps `recorded_at`."""
        new = self._one(_NEW_RUNS)
        added = self._desk.run(_COPY, base, 0 if empty else 1, now)
        self._desk.run(_COPY_OWNERS)
        self._desk.run(_FIND_OWNERS)
        written = self._desk.run(
            _COPY_RUNS, base, 0
        )  # what has ended lets go of its exclusive key first
        active = self._desk.copy_active(lambda: self._desk.run(_COPY_RUNS, base, 1))
        if active is None:
            for _, where, key, exclusive, holder in self._desk.each(_HELD):
                raise _held(where, key, exclusive, holder)
            raise StoreUnavailable(
                "import: expected to take the runs in, found one in the way; import again"
            )
        self._desk.run(_COPY_TAGS, base)
        return self.report(added, new, written + active - new)

    def _put_row(self, run: _Run) -> None:
        view = run.view
        if view is None:
            return
        self._runs += 1
        try:
            row = self._desk.row_of(view, run.number, self._owner)
            self._desk.put("runs", [(*row, run.where)])
        except OverflowError as error:
            what = f"expected facts of run {view.run_id} that the store can hold, found one that it cannot: {error}"
            raise Refusal(run.where, "data", what).error from error
        if view.tags:
            created_at = to_micros(view.created_at)
            tags = [(key, value, created_at, run.number) for key, value in view.tags.items()]
            self._desk.put("tags", tags)

    def _owner_row(self, owner: Owner) -> int:
        self._owners += 1
        self._desk.put("owners", [(self._owners, owner.key, owner_text(owner), None)])
        return self._owners

    def _refuse_id(self, statement: str, *values: int) -> None:
        for where, key, version in self._desk.each(statement, *values):
            what = (
                f"expected one that no other event has, found that of run {key}, version {version}"
            )
            raise Refusal(where, "id", what).error

    def _refuse_other(self, known: Sequence[Any], found: Sequence[Any], where: str) -> None:
        """Raise unless it is the same event, written in an older shape."""
        fields = other_content(self._desk.event_of(known), self._desk.event_of(found))
        if fields is not None:
            what = f"expected version {found[2]} of run {found[1]} as the store has it, found another content"
            raise Refusal(where, fields, what).error

    def _one(self, statement: str, *values: Any) -> int:
        return next(iter(self._desk.each(statement, *values)))[0]


class _Run(HistoryCheck):
    """One run's history, and where it begins."""

    number = 0
    where = ""

    def add(self, placed: Placed, order: int) -> Refusal | None:
        if not self.number:
            self.number, self.where = order, placed.where
        return super().add(placed, order)

    def repeated(self, placed: Placed) -> bool:
        """Whether it has the version of the event before."""
        return self.last is not None and placed.recorded.version == self.last.recorded.version

    def other(self, placed: Placed) -> Refusal | None:
        """Why a repeated event is none."""
        assert self.last is not None  # noqa: S101  # `repeated` said so
        fields = other_content(self.last.recorded, placed.recorded)
        if fields is None:
            return None
        run, version = placed.recorded.run_id, placed.recorded.version
        what = f"expected version {version} of run {run} as in {self.last.where}, found another content"
        return Refusal(placed.where, fields, what)


def _columns(recorded: RecordedEvent, position: int, recorded_at: int) -> tuple[object, ...]:
    """In the order of `EVENT_COLUMNS`."""
    return (
        position,
        str(recorded.run_id),
        recorded.version,
        recorded.type,
        encode_event(recorded.event),
        bytes.fromhex(recorded.event_id),
        to_micros(recorded.occurred_at),
        recorded_at,
        recorded.actor,
        recorded.correlation_id,
        1 if isinstance(recorded.run_id, int) else None,
    )


def _held(where: str, key: str, exclusive: str, holder: str) -> InvalidInput:
    what = (
        f"expected no other active run with the exclusive key {exclusive!r}, found that run {holder} holds it;"
        f" wait for its end, or leave run {key} out"
    )
    return Refusal(where, "data.exclusive", what).error
