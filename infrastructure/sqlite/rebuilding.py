"""Computing all rows anew, beside the ones in use, and putting them in place at once.

Runs are folded in order of their key, a few thousand at a time, so that memory stays flat. Writers wait only while such a
batch is put into the shadow tables, and at the end, when the runs that got events meanwhile are folded again and the
tables change places.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from ...domain.errors import StoreUnavailable
from ...domain.events import STORE_KEY
from ...domain.values import Owner
from ...projections.run_view import PROJECTION_VERSION, Fields
from ..logs import get_logger
from ..storing.folding import Folder, folded
from .datastore import ThreadDatastore
from .links import Link
from .recorder import SELECT_EVENTS
from .rows import ROW_COLUMNS, insert_row, row_of
from .schema import COUNTING, PROJECTION_TABLES, projection
from .steps import owner_row

BATCH_EVENTS = 10_000
"""Events that are folded between two commits."""

CACHE_KIB = 32_000
"""Of pages in memory: keys need not come in the order in which their runs were created."""

STALE_SECONDS = 30
"""A rebuild that gave no sign for so long is taken to be dead."""

_CREATED_AT = ROW_COLUMNS.index("created_at")
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
        self._owner_ids: dict[str, int] = {}
        self._rows = 0

    def run(self, progress: Progress | None = None) -> int:
        """Do it; how many rows there are."""
        if self._datastore.in_memory:
            return self._run(None, progress)
        link = self._datastore.separate_link()
        try:
            link.raw.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            # Shadow tables may be lost in a crash; the commit that puts them in place makes sure of all before it.
            link.raw.execute("PRAGMA synchronous = NORMAL")
            return self._run(link, progress)
        finally:
            self._datastore.discard(link)

    def _run(self, link: Link | None, progress: Progress | None) -> int:
        total, newest = self._begin(link)
        done, last_key = 0, ""
        while batch := self._batch(link, last_key, newest):
            last_key = batch[-1][1]
            views = list(folded(batch, self._folder))
            with self._datastore.transaction(commit=True, link=link) as cursor:
                self._still_mine(cursor.sqlite_cursor)
                self._put(cursor.sqlite_cursor, views)
            done += len(batch)
            if progress is not None:
                progress(min(done, total), total)
        if link is not None:
            link.raw.execute("PRAGMA synchronous = FULL")
        with self._datastore.transaction(commit=True, link=link) as cursor:
            raw = cursor.sqlite_cursor
            self._still_mine(raw)
            self._catch_up(raw, newest)
            return self._swap(raw)

    def _begin(self, link: Link | None = None) -> tuple[int, int]:
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
            return raw.execute("SELECT count(*), ifnull(max(position), 0) FROM events").fetchone()

    def _batch(self, link: Link | None, last_key: str, newest: int) -> list[Any]:
        """Whole runs behind a key, about `BATCH_EVENTS` events of them."""
        with self._datastore.transaction(commit=False, link=link) as cursor:
            raw = cursor.sqlite_cursor
            rows = raw.execute(
                f"{SELECT_EVENTS} WHERE originator_id > ? AND position <= ?"
                " ORDER BY originator_id, originator_version LIMIT ?",
                (last_key, newest, BATCH_EVENTS),
            ).fetchall()
            if len(rows) == BATCH_EVENTS:  # the events of the last run may go on
                key, version = rows[-1][1:3]
                rows += raw.execute(
                    f"{SELECT_EVENTS} WHERE originator_id = ? AND originator_version > ? AND position <= ?"
                    " ORDER BY originator_version",
                    (key, version, newest),
                ).fetchall()
        return rows

    def _put(self, raw: sqlite3.Cursor, views: list[tuple[int, Fields]]) -> None:
        def owner_id(owner: Owner) -> int:
            text = self._folder.owner_text(owner)
            return self._owner_ids.get(text) or owner_row(raw, owner, self._owner_ids)

        rows = [row_of(fields, number, owner_id) for number, fields in views]
        raw.executemany(insert_row(self._suffix), rows)
        raw.executemany(
            f"INSERT INTO run_tags{self._suffix} VALUES (?, ?, ?, ?)",
            [
                (key, value, row[_CREATED_AT], number)
                for row, (number, fields) in zip(rows, views, strict=True)
                for key, value in fields["tags"].items()
            ],
        )
        self._rows += len(views)
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
                f"DELETE FROM runs{self._suffix} WHERE run_key = ? RETURNING number", (key,)
            ).fetchone()
            if row is not None:
                self._rows -= 1
                raw.execute(f"DELETE FROM run_tags{self._suffix} WHERE number = ?", row)
            rows = raw.execute(
                f"{SELECT_EVENTS} WHERE originator_id = ? ORDER BY originator_version", (key,)
            ).fetchall()
            self._put(raw, list(folded(rows, self._folder)))

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
        raw.execute(f"INSERT INTO status_counts{self._suffix} SELECT status, 0 FROM status_counts")
        raw.execute(
            f"UPDATE status_counts{self._suffix} AS c SET runs ="
            f" (SELECT count(*) FROM runs{self._suffix} r WHERE r.status = c.status)"
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
