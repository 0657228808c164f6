"""Reading the whole store in one snapshot: run by run, for comparing rows with events, or event by event as they lie there."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import groupby
from typing import Any

from ...domain.errors import StoreCorrupt, UnsupportedSchema
from ...domain.events import RecordedEvent
from ...domain.values import RunId, run_key
from ...projections.ports import Flaw, ScannedRun, StoredRow
from ...projections.problems import ProblemKind
from ...projections.run_view import RunView
from ..mapper import recorded_event
from .datastore import ThreadDatastore
from .links import Link, memory_link
from .recorder import SELECT_EVENTS
from .rows import SELECT_BARE_VIEW, id_of, view_of

Row = Sequence[Any]

LOG_BATCH = 1000
"""Events that are read at once."""

_NUMBER = 0
_KEY = 1
_INT_ID = 2
_EVENT_INT_ID = 10
_TEXTS = (1, 3, 8, 9)
"""Columns of an event that hold text: run, type, actor, correlation id."""


def scan(datastore: ThreadDatastore) -> Generator[ScannedRun]:
    """Every run with its events and its row, in order of the key; also rows without events.

    What cannot be decoded becomes a flaw of its run. The snapshot lives on a connection of its own until the iterator ends or is
    closed. Events that belong to no run, but to the store, have the key ``""`` and are left out. Raises the driver's errors when the file cannot be read.
    """
    link = snapshot(datastore)
    try:
        raw = link.raw
        rows = raw.execute(f"{SELECT_BARE_VIEW} ORDER BY r.run_key")
        row = rows.fetchone()
        events = raw.execute(
            f"{SELECT_EVENTS} WHERE originator_id <> '' ORDER BY originator_id, originator_version"
        )
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


def log(
    datastore: ThreadDatastore, after: int, run_ids: Sequence[RunId] | None = None
) -> Generator[Sequence[StoredRow]]:
    """See `RunStore.log`. The snapshot lives on a connection of its own until the iterator ends or is closed."""
    link = snapshot(datastore)
    try:
        statement, parameters = f"{SELECT_EVENTS} WHERE position > ?", [after]
        if run_ids is not None:
            link.raw.execute("CREATE TEMP TABLE wanted (key TEXT PRIMARY KEY)")
            keys = [(run_key(run_id),) for run_id in run_ids]
            link.raw.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", keys)
            of_these = (
                "SELECT position FROM events WHERE originator_id IN (SELECT key FROM temp.wanted)"
            )
            statement += (
                f" AND position IN ({of_these})"  # only positions are sorted, not whole events
            )
        rows = link.raw.execute(f"{statement} ORDER BY position", parameters)
        while batch := rows.fetchmany(LOG_BATCH):
            yield batch
    finally:
        datastore.discard(link)


def snapshot(datastore: ThreadDatastore) -> Link:
    """A connection of its own on which the store stands still; text that is not UTF-8 does not end the reading."""
    if datastore.in_memory:
        source = datastore.held_link()
        try:
            link = memory_link(datastore.busy_timeout)
            source.raw.backup(link.raw)
        finally:
            source.lock.release()
    else:
        link = datastore.separate_link()
        link.raw.execute("BEGIN")
    link.raw.text_factory = _text
    return link


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _before(left: object, right: object) -> bool:
    """SQLite's order of keys; a key that is no text can only come from elsewhere and sorts behind."""
    if isinstance(left, str) and isinstance(right, str):
        return left.encode("utf-8", "surrogateescape") < right.encode("utf-8", "surrogateescape")
    return isinstance(left, str) or (isinstance(left, int) and not isinstance(right, int))


def _scanned(events: Sequence[Row], row: Row | None) -> ScannedRun:
    flaws: list[Flaw] = []
    decoded: list[RecordedEvent] = []
    for event in events:
        try:
            decoded.append(recorded_event(event))
            _check_texts(event)
        except UnsupportedSchema as error:
            flaws.append(_flaw(ProblemKind.NEWER, error, event[_NUMBER]))
        except StoreCorrupt as error:
            flaws.append(_flaw(ProblemKind.UNDECODABLE, error, event[_NUMBER]))
    view: RunView | None = None
    if row is not None:
        try:
            view = view_of(row)
        except StoreCorrupt as error:
            flaws.append(_flaw(ProblemKind.ROW, error))
        if decoded and not flaws and row[_NUMBER] != decoded[0].position:
            what = f"row: number: expected {decoded[0].position}, the position of its first event, found {row[_NUMBER]}"
            flaws.append(Flaw(ProblemKind.ROW, what))
    key, int_id = "", None
    if events:
        key, int_id = events[0][_KEY], events[0][_EVENT_INT_ID]
    elif row is not None:
        key, int_id = row[_KEY], row[_INT_ID]
    try:
        run_id = id_of(key, int_id)
    except (TypeError, ValueError):
        run_id = _printable(str(key))
        kind = ProblemKind.UNDECODABLE if events else ProblemKind.ROW
        flaws.append(Flaw(kind, f"run {run_id}: expected an id of digits, found another text"))
    if isinstance(run_id, str):
        run_id = _printable(run_id)
    return ScannedRun(run_id, tuple(decoded), view, tuple(flaws))


def _check_texts(event: Row) -> None:
    """Refuse what is no UTF-8; the mapper takes envelopes as they are. Raises `StoreCorrupt`."""
    for column in _TEXTS:
        text = event[column]
        if text is not None and not (isinstance(text, str) and (text.isascii() or _whole(text))):
            raise StoreCorrupt(
                f"run {event[_KEY]}, version {event[2]}, position {event[_NUMBER]}: expected text in UTF-8,"
                f" found {text!r:.60}; restore the store from a backup"
            )


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flaw(kind: ProblemKind, error: Exception, position: object = None) -> Flaw:
    return Flaw(kind, _printable(str(error)), position if isinstance(position, int) else None)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
