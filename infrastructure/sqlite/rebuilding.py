"""Computing all rows anew, beside the ones in use, and putting them in place at once.

Runs are folded in order of their key, a few thousand at a time, so that memory stays flat. Writers wait only while such a
batch is put into the shadow tables, while these get an index, and at the end, when the runs that got events meanwhile are
folded again and the tables change places.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import uuid4

from pydantic_core import from_json

from ...domain.errors import StoreUnavailable
from ...domain.events import STORE_KEY
from ...domain.status import RunStatus
from ...projections.run_view import PROJECTION_VERSION
from ..logs import get_logger
from ..storing.folding import Folder, folded
from .datastore import ThreadDatastore
from .links import Link
from .recorder import SELECT_EVENTS
from .rows import OF_RUN, ROW_COLUMNS, insert_rows, row_of
from .schema import COUNTING, PROJECTION_TABLES, indexes, projection
from .steps import OwnerIds, owner_row

BATCH_EVENTS = 10_000
"""Events that are folded between two commits."""

CACHE_KIB = 32_000
"""Of pages in memory: keys need not come in the order in which their runs were created."""

STALE_SECONDS = 30
"""A rebuild that gave no sign for so long is taken to be dead."""

_KEY, _VERSION, _CREATED_AT, _OWNER, _TAGS = map(
    ROW_COLUMNS.index, ("run_key", "version", "created_at", "owner", "tags")
)
_PATIENCE_SECONDS = 600
_POLL_SECONDS = 0.1

log = get_logger("lastword.store")

Progress = Callable[[int, int], None]


class RebuildingError(StoreUnavailable):
    """Another rebuild of the store is at work."""


class Rebuild:
    """One rebuild of one store. Raises `StoreUnavailable` when another process is at it, `StoreCorrupt` for a bad event."""

    def __init__(self, datastore: ThreadDatastore) -> None:
        self._datastore = datastore
        self._token = uuid4().hex[:12]
        self._suffix = f"_{self._token}"
        self._folder = Folder()
        self._rows = 0

    def run(self, progress: Progress | None = None) -> int:
        """Do it; how many rows there are."""
        if self._datastore.in_memory:
            return self._run(None, progress)
        link = self._datastore.separate_link()
        try:
            link.raw.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            # Where SQLite overwrites what it lets go, as Debian's does, dropping the old tables would keep a copy of them in memory.
            link.raw.execute("PRAGMA temp_store = FILE")
            # Shadow tables may be lost in a crash; the commit that puts them in place makes sure of all before it.
            link.raw.execute("PRAGMA synchronous = NORMAL")
            return self._run(link, progress)
        finally:
            self._datastore.discard(link)

    def _run(self, link: Link | None, progress: Progress | None) -> int:
        newest = self._begin(link)
        total = 0 if progress is None else self._count(link)
        done, last_key = 0, ""
        while rows := self._next_rows(link, last_key, newest):
            last_key = rows[-1][_KEY]
            with self._datastore.transaction(commit=True, link=link) as cursor:
                self._still_mine(cursor.sqlite_cursor)
                self._put(cursor.sqlite_cursor, rows)
            done += sum(row[_VERSION] for row in rows)
            if progress is not None:
                progress(min(done, total), total)
        for statement in indexes(self._suffix):
            with self._datastore.transaction(commit=True, link=link) as cursor:
                self._still_mine(cursor.sqlite_cursor)
                cursor.execute(statement)
                self._sign(cursor.sqlite_cursor)
        if link is not None:
            link.raw.execute("PRAGMA synchronous = FULL")
        with self._datastore.transaction(commit=True, link=link) as cursor:
            raw = cursor.sqlite_cursor
            self._still_mine(raw)
            self._catch_up(raw, newest)
            return self._swap(raw)

    def _begin(self, link: Link | None = None) -> int:
        """Make the shadow tables; the newest position."""
        with self._datastore.transaction(commit=True, link=link) as cursor:
            raw = cursor.sqlite_cursor
            holder = _meta(raw, "rebuild")
            if holder is not None and _age(holder) < STALE_SECONDS:
                raise RebuildingError(
                    f"{self._datastore.url}: expected to rebuild alone, found another rebuild at work;"
                    " wait for its end"
                )
            for table in _leftovers(raw):
                raw.execute(f'DROP TABLE "{table}"')
            for statement in projection(self._suffix):
                raw.execute(statement)
            self._sign(raw)
            return raw.execute("SELECT ifnull(max(position), 0) FROM events").fetchone()[0]

    def _count(self, link: Link | None) -> int:
        with self._datastore.transaction(commit=False, link=link) as cursor:
            return cursor.sqlite_cursor.execute("SELECT count(*) FROM events").fetchone()[0]

    def _next_rows(self, link: Link | None, last_key: str, newest: int) -> list[list[Any]]:
        """The rows of runs behind a key that have about `BATCH_EVENTS` events; each is folded as its events are read."""
        rows: list[list[Any]] = []
        seen = 0
        with self._datastore.transaction(commit=False, link=link) as cursor, cursor as raw:
            events = raw.execute(
                f"{SELECT_EVENTS} WHERE originator_id > ? AND position <= ?"
                " ORDER BY originator_id, originator_version",
                (last_key, newest),
            )
            for row in self._rows_of(events):
                rows.append(row)
                seen += row[_VERSION]
                if seen >= BATCH_EVENTS:
                    break
        return rows

    def _rows_of(self, events: Iterable[Any]) -> Iterator[list[Any]]:
        """The rows of the runs, with their owners' JSON where the owners' numbers will be."""
        for number, fields in folded(events, self._folder):
            yield row_of(fields, number, self._folder.owner)

    def _put(self, raw: sqlite3.Cursor, rows: list[list[Any]]) -> None:
        tags: list[tuple[Any, ...]] = []
        met: OwnerIds = {}  # of these rows: there may be as many as runs
        for row in rows:
            owner = row[_OWNER]
            if owner is not None:
                row[_OWNER] = met.get(owner.text) or owner_row(raw, owner.owner, met)
            if row[_TAGS] is not None:
                number, created_at = row[0], row[_CREATED_AT]
                tags += [
                    (key, value, created_at, number) for key, value in from_json(row[_TAGS]).items()
                ]
        insert_rows(raw, rows, self._suffix)
        raw.executemany(f"INSERT INTO run_tags{self._suffix} VALUES (?, ?, ?, ?)", tags)
        self._rows += len(rows)
        self._sign(raw)

    def _catch_up(self, raw: sqlite3.Cursor, newest: int) -> None:
        """Fold the runs again that got events since the beginning; the write lock is held."""
        late = raw.execute(
            "SELECT DISTINCT originator_id FROM events WHERE position > ?", (newest,)
        ).fetchall()
        if (STORE_KEY,) in late:  # runs were archived meanwhile
            late.remove((STORE_KEY,))
            self._forget_archived(raw)
        for (key,) in late:
            row = raw.execute(
                f"DELETE FROM runs{self._suffix} WHERE {OF_RUN} RETURNING number", (key,)
            ).fetchone()
            if row is not None:
                self._rows -= 1
                raw.execute(f"DELETE FROM run_tags{self._suffix} WHERE number = ?", row)
            events = raw.execute(
                f"{SELECT_EVENTS} WHERE originator_id = ? ORDER BY originator_version", (key,)
            ).fetchall()
            self._put(raw, list(self._rows_of(events)))

    def _forget_archived(self, raw: sqlite3.Cursor) -> None:
        """Take out the rows whose events are gone; a row's number is the position of its first event."""
        found = raw.execute(
            f"DELETE FROM runs{self._suffix} WHERE number NOT IN (SELECT position FROM events)"
        )
        self._rows -= found.rowcount
        raw.execute(
            f"DELETE FROM run_tags{self._suffix} WHERE number NOT IN (SELECT number FROM runs{self._suffix})"
        )

    def _swap(self, raw: sqlite3.Cursor) -> int:
        counted = dict(
            raw.execute(f"SELECT status, count(*) FROM runs{self._suffix} GROUP BY status")
        )
        raw.executemany(
            f"INSERT INTO status_counts{self._suffix} VALUES (?, ?)",
            [(status.value, counted.get(status.value, 0)) for status in RunStatus],
        )
        for table in PROJECTION_TABLES:
            raw.execute(f"DROP TABLE {table}")
            raw.execute(f"ALTER TABLE {table}{self._suffix} RENAME TO {table}")
        for statement in COUNTING:
            raw.execute(statement)
        raw.execute("REPLACE INTO meta VALUES ('projection', ?)", (PROJECTION_VERSION,))
        raw.execute("DELETE FROM meta WHERE key = 'rebuild'")
        return self._rows

    def _sign(self, raw: sqlite3.Cursor) -> None:
        raw.execute("REPLACE INTO meta VALUES ('rebuild', ?)", (f"{self._token} {time.time_ns()}",))

    def _still_mine(self, raw: sqlite3.Cursor) -> None:
        holder = _meta(raw, "rebuild")
        if holder is None or not str(holder).startswith(self._token):
            raise RebuildingError(
                f"{self._datastore.url}: expected to rebuild alone, found that another rebuild took over;"
                " wait for its end"
            )


def rebuild_if_outdated(datastore: ThreadDatastore) -> None:
    """Compute the rows anew when another version of the fold made them; waits for another process that does it already."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while (found := stored_projection(datastore)) != PROJECTION_VERSION:
        try:
            rows = Rebuild(datastore).run()
        except StoreUnavailable as error:
            if not isinstance(error, RebuildingError) or time.monotonic() > until:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            log.info(
                "lastword.store.rebuilt",
                url=datastore.url,
                rows=rows,
                found=found,
                expected=PROJECTION_VERSION,
            )


def stored_projection(datastore: ThreadDatastore) -> int | None:
    """The version of the fold that the rows were made with."""
    rows = datastore.fetch("SELECT value FROM meta WHERE key = 'projection'")
    return rows[0][0] if rows else None


def _leftovers(raw: sqlite3.Cursor) -> list[str]:
    """Shadow tables of rebuilds that did not come to their end."""
    names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [name for name in names if name.startswith(tuple(f"{t}_" for t in PROJECTION_TABLES))]


def _meta(raw: sqlite3.Cursor, key: str) -> Any:
    row = raw.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _age(holder: object) -> float:
    """Seconds since the rebuild that `_sign` wrote gave a sign."""
    try:
        return abs(time.time_ns() - int(str(holder).split()[1])) / 1e9
    except (IndexError, ValueError):
        return float(STALE_SECONDS)
