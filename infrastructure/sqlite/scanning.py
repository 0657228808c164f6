"""Reading the whole store in one snapshot, for comparing rows with events."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import groupby
from typing import Any

from ...domain.errors import StoreCorrupt, UnsupportedSchema
from ...domain.events import RecordedEvent
from ...projections.ports import ScannedRun
from ...projections.run_view import RunView
from ..mapper import recorded_event
from .datastore import ThreadDatastore
from .links import Link, memory_link
from .recorder import SELECT_EVENTS
from .rows import SELECT_BARE_VIEW, id_of, view_of

Row = Sequence[Any]

_KEY = 1
_INT_ID = 2
_EVENT_INT_ID = 10


def scan(datastore: ThreadDatastore) -> Generator[ScannedRun]:
    """Every run with its events and its row, in order of the key; also rows without events.

    What cannot be decoded becomes a problem of its run. The snapshot lives on a connection of its own until the iterator ends or is
    closed. Raises the driver's errors when the file cannot be read.
    """
    link = _snapshot(datastore)
    try:
        raw = link.raw
        rows = raw.execute(f"{SELECT_BARE_VIEW} ORDER BY r.run_key")
        row = rows.fetchone()
        events = raw.execute(f"{SELECT_EVENTS} ORDER BY originator_id, originator_version")
        for key, group in groupby(events, key=lambda event: event[_KEY]):
            while row is not None and _before(row[_KEY], key):
                yield _scanned((), row)
                row = rows.fetchone()
            if row is not None and row[_KEY] == key:
                yield _scanned(tuple(group), row)
                row = rows.fetchone()
            else:
                yield _scanned(tuple(group), None)
        while row is not None:
            yield _scanned((), row)
            row = rows.fetchone()
    finally:
        datastore.discard(link)


def _snapshot(datastore: ThreadDatastore) -> Link:
    """A connection of its own on which the store stands still."""
    if not datastore.in_memory:
        link = datastore.separate_link()
        link.raw.execute("BEGIN")
        return link
    link = memory_link(datastore.busy_timeout)
    source = datastore.held_link()
    try:
        source.raw.backup(link.raw)
    finally:
        source.lock.release()
    return link


def _before(left: object, right: object) -> bool:
    """SQLite's order of keys; a key that is no text can only come from elsewhere and sorts behind."""
    if isinstance(left, str) and isinstance(right, str):
        return left.encode("utf-8", "surrogatepass") < right.encode("utf-8", "surrogatepass")
    return isinstance(left, str) or (isinstance(left, int) and not isinstance(right, int))


def _scanned(events: Sequence[Row], row: Row | None) -> ScannedRun:
    problems: list[str] = []
    decoded: list[RecordedEvent] = []
    for event in events:
        try:
            decoded.append(recorded_event(event))
        except (StoreCorrupt, UnsupportedSchema) as error:
            problems.append(str(error))
    view: RunView | None = None
    if row is not None:
        try:
            view = view_of(row)
        except StoreCorrupt as error:
            problems.append(str(error))
    key, int_id = "", None
    if events:
        key, int_id = events[0][_KEY], events[0][_EVENT_INT_ID]
    elif row is not None:
        key, int_id = row[_KEY], row[_INT_ID]
    try:
        run_id = id_of(key, int_id)
    except ValueError:
        run_id = str(key)
        problems.append(f"run {key}: expected an id of digits, found another text")
    return ScannedRun(run_id, tuple(decoded), view, tuple(problems))
