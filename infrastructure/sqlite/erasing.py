"""Overwriting events, and leaving nothing of what they were in the file."""

# statements are put together from names of our own; values are always bound
from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import datetime

from ...domain.errors import StoreCorrupt, VersionConflict
from ...domain.values import Owner, run_key, to_micros
from ...projections.ports import Rewrite
from ...projections.run_view import RunView, fold_view
from ..mapper import EventMapper, encode_event, recorded_event
from .archiving import append_event, delete_row
from .datastore import ThreadDatastore
from .links import Link
from .recorder import SELECT_EVENTS
from .rows import OF_RUN, SELECT_BARE_VIEW, insert_rows, row_of, view_of
from .steps import owner_row

_REPLACE = """
UPDATE events SET state = ?, actor = ?, correlation_id = ? WHERE originator_id = ? AND originator_version = ?
"""


def rewrite(datastore: ThreadDatastore, rewrite: Rewrite, now: datetime) -> RunView:
    """See `RunStore.rewrite`."""
    key, expected = run_key(rewrite.run_id), rewrite.expected_version
    with (
        _overwriting(datastore) as link,
        datastore.transaction(commit=True, link=link) as cursor,
    ):
        raw = cursor.sqlite_cursor
        (version,) = raw.execute(
            "SELECT ifnull(max(originator_version), 0) FROM events WHERE originator_id = ?", (key,)
        ).fetchone()
        if version != expected:
            raise VersionConflict(rewrite.run_id, expected, version)
        for changed in rewrite.changed:
            state = encode_event(changed.event)
            values = (state, changed.actor, changed.correlation_id, key, changed.version)
            raw.execute(_REPLACE, values)
        stored = EventMapper().stored(
            rewrite.record, rewrite.run_id, expected + 1, rewrite.correlation_id
        )
        append_event(raw, stored, now)
        view = _write_row(raw, key)
    datastore.bell.ring()
    return view


def compact(datastore: ThreadDatastore, *, whole: bool) -> bool:
    """See `RunStore.compact`."""
    with _overwriting(datastore) as link, datastore.writing, link.lock:
        if whole:
            link.raw.execute("VACUUM")
        if datastore.in_memory:
            return True
        (busy, _, _) = link.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def _write_row(raw: sqlite3.Cursor, key: str) -> RunView:
    row = raw.execute(f"{SELECT_BARE_VIEW} WHERE r.{OF_RUN}", (key,)).fetchone()
    events = raw.execute(
        f"{SELECT_EVENTS} WHERE originator_id = ? ORDER BY originator_version", (key,)
    ).fetchall()
    view = fold_view(map(recorded_event, events))
    if row is None or view is None:
        raise StoreCorrupt(
            f"run {key}: expected a row for its events, found none; `lastword rebuild` computes all rows anew"
        )
    number = row[0]

    def owner_id(owner: Owner) -> int:
        return owner_row(raw, owner, {})

    delete_row(raw, number, view_of(row))
    insert_rows(raw, [row_of(view.__dict__, number, owner_id)])
    created_at = to_micros(view.created_at)
    raw.executemany(
        "INSERT INTO run_tags (key, value, created_at, number) VALUES (?, ?, ?, ?)",
        [(name, value, created_at, number) for name, value in view.tags.items()],
    )
    return view


@contextlib.contextmanager
def _overwriting(datastore: ThreadDatastore) -> Iterator[Link]:
    """A connection that writes zeros over what it lets go, and does not keep a copy of the store in memory."""
    if datastore.in_memory:
        link = datastore.link()
        link.raw.execute("PRAGMA secure_delete = ON")
        yield link
        return
    link = datastore.separate_link()
    try:
        link.raw.execute("PRAGMA secure_delete = ON")
        link.raw.execute("PRAGMA temp_store = FILE")
        yield link
    finally:
        datastore.discard(link)
