"""Taking in histories of another store: all of them or none, with memory that does not grow.

What is read goes into a database of its own, beside the store and on the disk, which SQLite removes when the connection is closed or
the process dies. There it is put in order and folded, and compared with what the store has. Then one short transaction copies events
and rows into the store; writers wait only for that.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from ...domain.errors import InvalidInput, StoreUnavailable
from ...domain.events import RecordedEvent
from ...domain.values import Owner, to_micros
from ...projections.importing import HistoryCheck, ImportReport, Placed, Refusal, other_content
from ..mapper import EVENT_COLUMNS, encode_event, recorded_event
from .datastore import ThreadDatastore
from .links import Link
from .rows import ROW_COLUMNS, VIEW_COLUMNS, owner_text, row_of

BATCH = 500
"""Events that are put aside at once."""

_PATIENCE_MS = 30_000
"""How long other processes may keep the import from writing: all has been read by then."""
_COLUMNS = len(EVENT_COLUMNS)
_ENVELOPED = tuple(
    number
    for number, column in enumerate(EVENT_COLUMNS)
    if column not in {"position", "recorded_at"}
)
"""What makes two events the same one."""


def _listed(columns: Iterable[str], alias: str = "", **others: str) -> str:
    return ", ".join(others.get(column, alias + column) for column in columns)


_TABLES = (
    f"CREATE TABLE staging.events ({_listed(EVENT_COLUMNS, position='position INTEGER PRIMARY KEY')}, place)",
    "CREATE TABLE staging.repeats (position INTEGER PRIMARY KEY)",
    f"CREATE TABLE staging.runs ({_listed(ROW_COLUMNS, lease_seconds='lease_seconds NOT NULL')}, place)",
    "CREATE TABLE staging.owners (id INTEGER PRIMARY KEY, key, owner UNIQUE)",
    "CREATE TABLE staging.tags (key, value, created_at, number)",
)
"""Positions and numbers in them count from 1; the store's newest position is added in the end."""
_INDEXES = (
    "CREATE INDEX staging.by_run ON events (originator_id, originator_version)",
    "CREATE INDEX staging.by_event ON events (event_id)",
)
_PUT = f"INSERT INTO staging.events VALUES ({_listed('?' * (_COLUMNS + 1))})"
_PUT_RUN = f"INSERT INTO staging.runs VALUES ({_listed('?' * (len(ROW_COLUMNS) + 1))})"
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
_SAME_VERSION = f"""
SELECT {_listed(EVENT_COLUMNS, "e.")}, {_listed(EVENT_COLUMNS, "s.")}, s.place FROM {{tables}}
WHERE e.originator_id = s.originator_id AND e.originator_version = s.originator_version AND e.position > ?
"""
_SAME_IN_ALL = _SAME_VERSION.format(tables="staging.events s CROSS JOIN main.events e")
_SAME_SINCE = _SAME_VERSION.format(tables="main.events e CROSS JOIN staging.events s")
_COPY = f"""
INSERT INTO main.events ({_listed(EVENT_COLUMNS)})
SELECT {_listed(EVENT_COLUMNS, position="position + :base", recorded_at="iif(:base, :now, recorded_at)")}
FROM staging.events s WHERE s.position NOT IN (SELECT position FROM staging.repeats) ORDER BY s.position
"""
_COPY_OWNERS = """
INSERT INTO main.owners (key, owner) SELECT key, owner FROM staging.owners WHERE true ON CONFLICT DO NOTHING
"""
_OWNER = "(SELECT o.id FROM staging.owners t JOIN main.owners o ON o.owner = t.owner WHERE t.id = s.owner)"
_COPY_RUNS = f"""
INSERT INTO main.runs ({_listed(ROW_COLUMNS)})
SELECT {_listed(ROW_COLUMNS, number="number + :base", position="position + :base", owner=_OWNER)}
FROM staging.runs s WHERE (s.status IN ('pending', 'running')) = :active ORDER BY s.number
ON CONFLICT (run_key) DO UPDATE SET {_listed(VIEW_COLUMNS, **{column: f"{column} = excluded.{column}" for column in VIEW_COLUMNS})}
WHERE excluded.version > runs.version
"""
_COPY_TAGS = """
INSERT INTO main.run_tags (key, value, created_at, number)
SELECT t.key, t.value, t.created_at, r.number FROM staging.tags t JOIN main.runs r ON r.number = t.number + ?
"""
_NEW_AND_ACTIVE = """
SELECT * FROM staging.runs s WHERE s.exclusive IS NOT NULL AND s.status IN ('pending', 'running')
    AND NOT EXISTS (SELECT 1 FROM main.runs r WHERE r.run_key = s.run_key AND r.version >= s.version)
"""
_HELD = f"""
WITH asked AS ({_NEW_AND_ACTIVE})
SELECT s.place, s.run_key, s.exclusive, ifnull(
    (SELECT r.run_key FROM main.runs r
        WHERE r.exclusive = s.exclusive AND r.run_key <> s.run_key AND r.status IN ('pending', 'running')),
    (SELECT o.run_key FROM asked o WHERE o.exclusive = s.exclusive AND o.number < s.number ORDER BY o.number)
) AS holder FROM asked s WHERE holder IS NOT NULL ORDER BY s.number LIMIT 1
"""


def import_runs(
    datastore: ThreadDatastore,
    events: Iterable[Placed],
    clock: Callable[[], datetime],
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """See `RunStore.import_runs`."""
    with _staging(datastore) as link:
        staged = _Staged(link.raw)
        staged.put(events, to_micros(clock()), progress)
        staged.fold()
        newest = staged.compare_all()
        with datastore.transaction(commit=True, link=link):
            if staged.newest() != newest:  # others have written meanwhile
                staged.refuse_archived(newest)
                staged.compare(newest)
            report = staged.copy(to_micros(clock()))
        link.newest = -1
    if report.added:
        datastore.bell.ring()
    return report


class _Staged:
    """What was read, beside the store."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self._events = 0
        self._runs = 0
        self._owner = lru_cache(maxsize=1024)(self._owner_row)

    def put(
        self, events: Iterable[Placed], now: int, progress: Callable[[int], None] | None
    ) -> None:
        """Put everything aside, in the order in which it comes."""
        recorded_at = -(1 << 62)
        batch: list[tuple[object, ...]] = []
        self._raw.execute("BEGIN")
        for where, recorded in events:
            recorded_at = max(recorded_at, min(to_micros(recorded.recorded_at), now))
            self._events += 1
            batch.append((*_columns(recorded, self._events, recorded_at), where))
            if len(batch) == BATCH:
                self._raw.executemany(_PUT, batch)
                batch.clear()
                if progress is not None:
                    progress(self._events)
        self._raw.executemany(_PUT, batch)
        for statement in _INDEXES:
            self._raw.execute(statement)
        self._raw.execute("COMMIT")
        if progress is not None:
            progress(self._events)

    def fold(self) -> None:
        """Check each history and put its row aside. Raises `InvalidInput` for the first line that does not fit."""
        refused: tuple[int, Refusal] | None = None
        run, key = _Run(), ""
        self._raw.execute("BEGIN")
        with contextlib.closing(self._raw.execute(_BY_RUN)) as rows:
            for row in rows:
                if row[1] != key:
                    self._put_row(run)
                    run, key = _Run(), row[1]
                order: int = row[0]
                placed = Placed(row[-1], recorded_event(row[:-1]))
                if run.repeated(placed):
                    refusal = run.other(placed)
                    self._raw.execute("INSERT INTO staging.repeats VALUES (?)", (order,))
                else:
                    refusal = run.add(placed, order)
                if refusal is not None and (refused is None or order < refused[0]):
                    refused = order, refusal
        self._put_row(run)
        self._raw.execute("COMMIT")
        if refused is not None:
            raise refused[1].error
        self._refuse_id(_TWICE)

    def newest(self) -> int:
        """The store's newest position."""
        return self._one("SELECT ifnull(max(position), 0) FROM main.events")

    def compare_all(self) -> int:
        """Compare with the whole store, while others go on writing; the newest position that was seen."""
        self._raw.execute("BEGIN")
        newest = self.newest()
        self.compare(0)
        self._raw.execute("COMMIT")
        return newest

    def compare(self, after: int) -> None:
        """Find what the store has already behind a position. Raises `InvalidInput` where that is something else."""
        with contextlib.closing(
            self._raw.execute(_SAME_SINCE if after else _SAME_IN_ALL, (after,))
        ) as rows:
            for row in rows:
                known, found = row[:_COLUMNS], row[_COLUMNS:-1]
                if any(known[number] != found[number] for number in _ENVELOPED):
                    _refuse_other(known, found, row[-1])
                self._raw.execute("INSERT OR IGNORE INTO staging.repeats VALUES (?)", (found[0],))
        self._refuse_id(_TAKEN, after)

    def refuse_archived(self, after: int) -> None:
        """What the store had when it was compared may be gone: runs were archived behind that position. Raises `StoreUnavailable`."""
        archived = "SELECT count(*) FROM main.events WHERE originator_id = '' AND position > ?"
        if self._one(archived, after):
            raise StoreUnavailable(
                "import: expected the runs that were there when it began, found that runs were archived meanwhile;"
                " nothing was imported: import again"
            )

    def copy(self, now: int) -> ImportReport:
        """Bring it all into the store; the transaction is open."""
        base = self.newest()
        now = max(
            now,
            self._one(
                "SELECT ifnull(max(recorded_at), 0) FROM main.events WHERE position = ?", base
            ),
        )
        runs = self._one("SELECT sum(runs) FROM main.status_counts")
        added = self._raw.execute(_COPY, {"base": base, "now": now}).rowcount
        self._raw.execute(_COPY_OWNERS)
        written = 0
        try:
            for active in (0, 1):  # what has ended lets go of its exclusive key first
                parameters = {"base": base, "active": active}
                written += self._raw.execute(_COPY_RUNS, parameters).rowcount
        except sqlite3.IntegrityError as error:
            held = self._raw.execute(_HELD).fetchone()
            if held is None:
                raise
            raise _held(*held) from error
        self._raw.execute(_COPY_TAGS, (base,))
        new = self._one("SELECT sum(runs) FROM main.status_counts") - runs
        return ImportReport(
            events=self._events,
            runs=self._runs,
            added=added,
            new_runs=new,
            extended_runs=written - new,
        )

    def _put_row(self, run: _Run) -> None:
        view = run.view
        if view is None:
            return
        self._runs += 1
        try:
            self._raw.execute(
                _PUT_RUN, (*row_of(view.__dict__, run.number, self._owner), run.where)
            )
        except (OverflowError, sqlite3.IntegrityError) as error:
            what = f"expected facts of run {view.run_id} that the store can hold, found one that it cannot: {error}"
            raise Refusal(run.where, "data", what).error from error
        if not view.tags:
            return
        created_at = to_micros(view.created_at)
        tags = [(key, value, created_at, run.number) for key, value in view.tags.items()]
        self._raw.executemany("INSERT INTO staging.tags VALUES (?, ?, ?, ?)", tags)

    def _owner_row(self, owner: Owner) -> int:
        text = owner_text(owner)
        self._raw.execute(
            "INSERT OR IGNORE INTO staging.owners (key, owner) VALUES (?, ?)", (owner.key, text)
        )
        return self._one("SELECT id FROM staging.owners WHERE owner = ?", text)

    def _refuse_id(self, statement: str, *parameters: int) -> None:
        found = self._raw.execute(statement, parameters).fetchone()
        if found is not None:
            where, key, version = found
            what = (
                f"expected one that no other event has, found that of run {key}, version {version}"
            )
            raise Refusal(where, "id", what).error

    def _one(self, statement: str, *parameters: Any) -> int:
        return self._raw.execute(statement, parameters).fetchone()[0]


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


@contextlib.contextmanager
def _staging(datastore: ThreadDatastore) -> Iterator[Link]:
    """A connection on which a database named ``staging`` lies beside the store; it is gone afterwards.

    A store in memory has one connection; it serves nobody else meanwhile.
    """
    link = datastore.held_link() if datastore.in_memory else datastore.separate_link()
    try:
        if not datastore.in_memory:
            link.raw.execute("PRAGMA temp_store = FILE")
            link.raw.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
        link.raw.execute("ATTACH '' AS staging")
        link.raw.execute("PRAGMA staging.journal_mode = MEMORY")
        link.raw.execute("PRAGMA staging.synchronous = OFF")
        for statement in _TABLES:
            link.raw.execute(statement)
        yield link
    finally:
        if datastore.in_memory:
            try:
                link.raw.rollback()
                link.raw.execute("DETACH staging")
            finally:
                link.lock.release()
        else:
            datastore.discard(link)


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


def _refuse_other(known: Sequence[Any], found: Sequence[Any], where: str) -> None:
    """Raise unless it is the same event, written in an older shape."""
    fields = other_content(recorded_event(known), recorded_event(found))
    if fields is not None:
        what = f"expected version {found[2]} of run {found[1]} as the store has it, found another content"
        raise Refusal(where, fields, what).error


def _held(where: str, key: str, exclusive: str, holder: str) -> InvalidInput:
    what = (
        f"expected no other active run with the exclusive key {exclusive!r}, found that run {holder} holds it;"
        f" wait for its end, or leave run {key} out"
    )
    return Refusal(where, "data.exclusive", what).error
