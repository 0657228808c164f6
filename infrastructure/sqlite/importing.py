"""Taking in histories of another store; see `storing.importing`.

What is read goes into a database of its own, beside the store and on the disk, which SQLite removes when the connection is closed or
the process dies.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from ...domain.events import RecordedEvent
from ...domain.values import Owner, to_micros
from ...projections.importing import ImportReport, Placed
from ...projections.run_view import RunView
from ..mapper import EVENT_COLUMNS, recorded_event
from ..storing.importing import Staged
from .datastore import ThreadDatastore
from .links import Link
from .rows import ROW_COLUMNS, insert_all, row_of

_PATIENCE_MS = 30_000
"""How long other processes may keep the import from writing: all has been read by then."""


def _listed(columns: Iterable[str], **others: str) -> str:
    return ", ".join(others.get(column, column) for column in columns)


_TABLES = (
    f"CREATE TABLE staging.events ({_listed(EVENT_COLUMNS, position='position INTEGER PRIMARY KEY')}, place)",
    f"CREATE TABLE staging.runs ({_listed(ROW_COLUMNS, lease_seconds='lease_seconds NOT NULL')}, place)",
    "CREATE TABLE staging.owners (id INTEGER PRIMARY KEY, key, owner, kept)",
    "CREATE TABLE staging.tags (key, value, created_at, number)",
)
"""Positions and numbers in them count from 1; the store's newest position is added in the end."""
_INDEXES = (
    "CREATE INDEX staging.by_run ON events (originator_id, originator_version)",
    "CREATE INDEX staging.by_event ON events (event_id)",
)


def import_runs(
    datastore: ThreadDatastore,
    events: Iterable[Placed],
    clock: Callable[[], datetime],
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """See `RunStore.import_runs`."""
    with _staging(datastore) as link:
        staged = Staged(_Desk(link.raw))
        staged.put(events, to_micros(clock()), progress)
        staged.fold()
        newest = compare_all(link.raw, staged)
        if newest is None:
            return staged.report()
        with datastore.transaction(commit=True, link=link):
            base, recorded_at = _end(link.raw)
            if base != newest:  # others have written meanwhile
                staged.refuse_archived(newest)
                staged.compare(newest)
            report = staged.copy(base, max(to_micros(clock()), recorded_at), empty=base == 0)
        link.newest = -1
    if report.added:
        datastore.bell.ring()
    return report


def compare_all(raw: sqlite3.Connection, staged: Staged) -> int | None:
    """Compare with the whole store, while others go on writing; the newest position that was seen, None when the store has it all."""
    raw.execute("BEGIN")
    newest, _ = _end(raw)
    staged.compare(0)
    news = staged.has_news()
    raw.execute("COMMIT")
    return newest if news else None


class _Desk:
    """Writes into the database that is attached as ``staging``; names are SQLite's own."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def run(self, statement: str, *values: Any) -> int:
        """See `Desk.run`."""
        return self._raw.execute(statement, values).rowcount

    def each(self, statement: str, *values: Any) -> Iterator[Sequence[Any]]:
        """See `Desk.each`."""
        with contextlib.closing(self._raw.execute(statement, values)) as rows:
            yield from rows

    def put(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Desk.put`."""
        try:
            insert_all(self._raw, f"staging.{table}", rows)
        except sqlite3.IntegrityError as error:
            raise OverflowError(str(error)) from error

    def index(self) -> None:
        """See `Desk.index`."""
        for statement in _INDEXES:
            self._raw.execute(statement)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Desk.transaction`."""
        self._raw.execute("BEGIN")
        yield
        self._raw.execute("COMMIT")  # else the connection is closed with all that was put aside

    def row_of(self, view: RunView, number: int, owner_id: Callable[[Owner], int]) -> list[Any]:
        """See `Desk.row_of`."""
        return row_of(view.__dict__, number, owner_id)

    def event_of(self, row: Sequence[Any]) -> RecordedEvent:
        """See `Desk.event_of`."""
        return recorded_event(row)

    def copy_active(self, copy: Callable[[], int]) -> int | None:
        """See `Desk.copy_active`."""
        try:
            return copy()
        except sqlite3.IntegrityError as error:
            if "runs.exclusive" in str(error):
                return None
            raise


def _end(raw: sqlite3.Connection) -> tuple[int, int]:
    """The store's newest position, and when it was recorded; zeros when it is empty."""
    row = raw.execute(
        "SELECT position, recorded_at FROM main.events ORDER BY position DESC LIMIT 1"
    ).fetchone()
    return (0, 0) if row is None else (row[0], row[1] or 0)


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
