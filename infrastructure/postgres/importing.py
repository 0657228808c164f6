"""Taking in histories of another store; see `storing.importing`.

What is read goes into temporary tables, which the server removes when the connection ends. They need a connection that stays with one
session of the server. A pooler that hands connections on after each transaction gives such a one only while nobody else wants it; so the tables
have names of their own and are dropped at the end, and where they are gone, nothing was taken in.
"""

# statements are put together from names of our own; values are always bound
from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import psycopg

from ...domain.errors import StoreUnavailable
from ...domain.events import RecordedEvent
from ...domain.values import Owner, to_micros
from ...projections.importing import ImportReport, Placed
from ...projections.run_view import RunView
from ..mapper import EVENT_COLUMNS
from ..storing.columns import ROW_COLUMNS
from ..storing.importing import Staged
from .appending import take
from .connections import Connections
from .counters import horizon
from .links import Link
from .reading import event_of
from .rights import check_temporary
from .rows import maybe_in, row_of
from .scanning import streamed

_PATIENCE_SECONDS = 24 * 3600.0
_LOCK_SECONDS = 30.0
"""How long the import waits for other transactions to end, once all has been read; who wants to write waits behind it."""
_BUFFERED = 1000
"""Rows that are sent at once."""
_INT64 = 1 << 63
_TABLES = (
    "CREATE TEMP TABLE staging.events (LIKE main.events, place TEXT)",
    "ALTER TABLE staging.events DROP COLUMN moved",
    "CREATE TEMP TABLE staging.runs (LIKE main.runs, place TEXT)",
    "CREATE TEMP TABLE staging.owners (id BIGINT PRIMARY KEY, key TEXT, owner TEXT, kept BIGINT)",
    "CREATE TEMP TABLE staging.tags (LIKE main.run_tags)",
)
_INDEXES = (
    "CREATE INDEX ON staging.events (originator_id, originator_version)",
    "CREATE INDEX ON staging.events (event_id)",
    "ANALYZE staging.events",
)
_STAGED = "staging.events, staging.runs, staging.owners, staging.tags"
_COLUMNS = {
    "events": (*EVENT_COLUMNS, "place"),
    "runs": (*ROW_COLUMNS, "place"),
    "owners": ("id", "key", "owner", "kept"),
    "tags": ("key", "value", "created_at", "number"),
}
_ESCAPED = {
    "events": ("actor", "correlation_id", "place"),
    "runs": ("place",),
    "owners": ("key",),
    "tags": ("key", "value"),
}
"""Columns whose text may hold what PostgreSQL cannot; those of rows are written by `row_of`."""
_COUNTED = """
SELECT status, count(*) FROM main.runs WHERE run_key IN (SELECT run_key FROM staging.runs) GROUP BY status
"""


def import_runs(
    connections: Connections,
    events: Iterable[Placed],
    clock: Callable[[], datetime],
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """See `RunStore.import_runs`."""
    with connections.separate(patience=_PATIENCE_SECONDS) as link:
        desk = _Desk(link, connections)
        staged = Staged(desk)
        with desk.tables():
            staged.put(events, to_micros(clock()), progress)
            staged.fold()
            newest = horizon(link, connections)
            with desk.transaction():  # while others go on writing
                desk.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                staged.compare(0)
                if not staged.has_news():
                    return staged.report()
            with desk.transaction():
                # Positions first, as everybody does; then nobody else may write until it is done.
                first, now = take(link, connections, max(1, staged.events), to_micros(clock()))
                desk.run(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS * 1000:.0f}ms'")
                desk.run("LOCK TABLE main.runs, main.events IN SHARE ROW EXCLUSIVE MODE")
                empty = (
                    desk.one(
                        "SELECT count(*) FROM (SELECT 1 FROM main.events LIMIT 1) AS any_event"
                    )
                    == 0
                )
                staged.refuse_archived(newest)
                staged.compare(newest)
                before = {row[0]: row[1] for row in desk.each(_COUNTED)}
                report = staged.copy(first - 1, now, empty=empty)
                after = {row[0]: row[1] for row in desk.each(_COUNTED)}
                for status in sorted({*before, *after}):
                    change = after.get(status, 0) - before.get(status, 0)
                    desk.run(
                        "UPDATE main.status_counts SET runs = runs + ? WHERE status = ?",
                        change,
                        status,
                    )
    return report


class _Desk:
    """Writes into temporary tables of one connection."""

    def __init__(self, link: Link, connections: Connections) -> None:
        self._link = link
        self._connections = connections
        self._waiting: dict[str, list[Sequence[Any]]] = {"runs": [], "owners": [], "tags": []}
        self._token = uuid4().hex

    @contextlib.contextmanager
    def tables(self) -> Iterator[None]:
        """Inside the block the tables are there."""
        try:
            self._make_tables()
            yield
        except psycopg.errors.UndefinedTable as error:
            if self._token not in str(error):
                raise
            raise StoreUnavailable(
                f"{self._connections.url}: expected to keep one session of the server while histories are taken in, found a pooler that hands it on;"
                " nothing was taken in: give a URL that leads to the server, or to a pooler in session mode",
                transient=False,
            ) from error
        finally:
            with contextlib.suppress(psycopg.Error):  # they end with the session
                self.run(f"DROP TABLE IF EXISTS {_STAGED}")

    def _make_tables(self) -> None:
        try:
            for statement in _TABLES:
                self.run(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            check_temporary(self._link, self._connections, error)
            raise

    def run(self, statement: str, *values: Any) -> int:
        """See `Desk.run`."""
        return self._link.execute(self._sql(statement), values).rowcount

    def each(self, statement: str, *values: Any) -> Iterator[Sequence[Any]]:
        """See `Desk.each`."""
        if self._link.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            yield from self._link.execute(self._sql(statement), values).fetchall()
        else:
            yield from streamed(self._link, self._sql(statement), values)

    def one(self, statement: str, *values: Any) -> Any:
        """The first column of the only row."""
        return next(iter(self.each(statement, *values)))[0]

    def put(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Desk.put`. Rows of runs come one by one and are sent together."""
        if table not in self._waiting:
            self._send(table, rows)
            return
        waiting = self._waiting[table]
        waiting.extend(rows)
        if len(waiting) >= _BUFFERED:
            self._flush()

    def index(self) -> None:
        """See `Desk.index`."""
        for statement in _INDEXES:
            self.run(statement)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Desk.transaction`."""
        with self._link.transaction():
            yield
            self._flush()

    def row_of(self, view: RunView, number: int, owner_id: Callable[[Owner], int]) -> list[Any]:
        """See `Desk.row_of`."""
        row = row_of(view.__dict__, number, owner_id)
        for value in row:
            if isinstance(value, int) and not -_INT64 <= value < _INT64:
                raise OverflowError(f"a number of {value.bit_length()} bits")
            if isinstance(value, float) and math.isnan(value):
                raise OverflowError("a number that is none")
        return row

    def event_of(self, row: Sequence[Any]) -> RecordedEvent:
        """See `Desk.event_of`."""
        return event_of(row)

    def copy_active(self, copy: Callable[[], int]) -> int | None:
        """See `Desk.copy_active`."""
        try:
            with self._link.transaction():  # inside the open one: a savepoint
                return copy()
        except psycopg.errors.UniqueViolation as error:
            if (error.diag.constraint_name or "").startswith("runs_exclusive"):
                return None
            raise

    def _flush(self) -> None:
        for table, rows in self._waiting.items():
            if rows:
                self._send(table, rows)
                rows.clear()

    def _send(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        columns = _COLUMNS[table]
        escaped = [columns.index(column) for column in _ESCAPED[table]]
        statement = self._sql(f"COPY staging.{table} ({', '.join(columns)}) FROM STDIN")
        with self._link.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                values = list(row)
                for column in escaped:
                    values[column] = maybe_in(values[column])
                copy.write_row(values)

    def _sql(self, statement: str) -> bytes:
        text = statement.replace("main.", f'"{self._connections.address.schema}".')
        return (
            re.sub(r"\bstaging\.(\w+)", rf"pg_temp.\1_{self._token}", text)
            .replace("?", "%s")
            .encode()
        )
