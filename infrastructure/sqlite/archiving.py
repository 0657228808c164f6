"""Removing finished runs for good, each batch in one transaction with the event that records it."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from typing import Any

from ...domain.errors import StoreCorrupt
from ...domain.events import STORE_KEY, RecordedEvent
from ...domain.status import ACTIVE
from ...domain.values import RunId, run_key, to_micros
from ...projections.ports import NewEvent, Removed, StoredRow
from ...projections.run_view import RunView, fold_view
from ..mapper import EVENT_COLUMNS, EventMapper, StoredRunEvent, recorded_event
from .datastore import ThreadDatastore
from .recorder import SELECT_EVENTS
from .rows import OF_RUN, SELECT_BARE_VIEW, id_of, view_of

_STORE_BATCH = 20
_ACTIVE = f"({', '.join(repr(status.value) for status in sorted(ACTIVE))})"
_WRITTEN = tuple(column for column in EVENT_COLUMNS if column not in {"position", "recorded_at"})
_INSERT = f"""
INSERT INTO events ({", ".join(_WRITTEN)}, recorded_at) VALUES ({", ".join("?" * len(_WRITTEN))},
    max(?, ifnull((SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1), 0)))
RETURNING position, recorded_at
"""


def finished(datastore: ThreadDatastore, before: int) -> list[tuple[RunId, int]]:
    """See `RunStore.finished`; the moment is in microseconds."""
    rows = datastore.fetch(
        f"SELECT run_key, int_id, version FROM runs WHERE status NOT IN {_ACTIVE} AND finished_at < ? ORDER BY position",
        (before,),
    )
    return [(id_of(key, int_id), version) for key, int_id, version in rows]


def store_events(datastore: ThreadDatastore, after: int) -> Generator[RecordedEvent]:
    """See `RunStore.store_events`."""
    while rows := datastore.fetch(
        f"{SELECT_EVENTS} WHERE originator_id = ? AND position > ? ORDER BY position LIMIT ?",
        (STORE_KEY, after, _STORE_BATCH),
    ):
        for row in rows:
            yield recorded_event(row)
        after = rows[-1][0]


def remove_runs(
    datastore: ThreadDatastore,
    runs: Sequence[tuple[RunId, int]],
    record: Callable[[Sequence[StoredRow]], NewEvent],
    now: datetime,
) -> Removed:
    """See `RunStore.remove_runs`."""
    with datastore.transaction(commit=True) as cursor:
        raw = cursor.sqlite_cursor
        views: list[tuple[int, RunView]] = []
        rows: list[Any] = []
        for run_id, version in runs:
            found = _whole(raw, run_key(run_id), version)
            if found is not None:
                views.append(found[:2])
                rows += found[2]
        if not views:
            return Removed(0, 0)
        rows.sort(key=lambda row: row[0])
        # First: with the newest events gone, their positions would be given out again.
        append_event(raw, stored_for_store(raw, record(rows)), now)
        for number, view in views:
            delete_row(raw, number, view)
            raw.execute("DELETE FROM events WHERE originator_id = ?", (str(view.run_id),))
    datastore.bell.ring()
    return Removed(len(views), len(rows))


def delete_row(raw: sqlite3.Cursor, number: int, view: RunView) -> None:
    """Take the run's row and tags away; the counters follow."""
    created_at = to_micros(view.created_at)
    raw.executemany(
        "DELETE FROM run_tags WHERE key = ? AND value = ? AND created_at = ? AND number = ?",
        [(key, value, created_at, number) for key, value in view.tags.items()],
    )
    raw.execute("DELETE FROM runs WHERE number = ?", (number,))


def append_event(raw: sqlite3.Cursor, stored: StoredRunEvent, now: datetime) -> tuple[int, int]:
    """Put an event at the end of the log; its position, and when it was taken in microseconds."""
    values = [getattr(stored, column) for column in _WRITTEN]
    ((position, recorded_at),) = raw.execute(_INSERT, (*values, to_micros(now))).fetchall()
    return position, recorded_at


def stored_for_store(raw: sqlite3.Cursor, new: NewEvent) -> StoredRunEvent:
    """The next event of the store itself."""
    (version,) = raw.execute(
        "SELECT ifnull(max(originator_version), 0) + 1 FROM events WHERE originator_id = ?",
        (STORE_KEY,),
    ).fetchone()
    return EventMapper().stored(new, STORE_KEY, version)


def _whole(raw: sqlite3.Cursor, key: str, version: int) -> tuple[int, RunView, list[Any]] | None:
    """Number, view and events of a finished run; None when it is gone, or has moved on. Raises `StoreCorrupt`."""
    row = raw.execute(f"{SELECT_BARE_VIEW} WHERE r.{OF_RUN}", (key,)).fetchone()
    if row is None:
        return None
    view = view_of(row)
    if view.version != version or view.status in ACTIVE:
        return None
    rows = raw.execute(
        f"{SELECT_EVENTS} WHERE originator_id = ? ORDER BY originator_version", (key,)
    ).fetchall()
    if fold_view(map(recorded_event, rows)) != view:
        raise StoreCorrupt(
            f"run {key}: expected a row that is what its events say, found another one; nothing of it was removed:"
            " run `lastword verify`"
        )
    return row[0], view, rows
