"""Reading the whole store in one snapshot: run by run, for comparing rows with events, or event by event as they lie there."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ...domain.values import RunId, run_key
from ...projections.ports import ScannedRun, StoredRow
from ..storing.scanning import side_by_side
from .datastore import ThreadDatastore
from .links import Link, memory_link
from .recorder import SELECT_EVENTS
from .rows import SELECT_BARE_VIEW, view_of

LOG_BATCH = 1000
"""Events that are read at once."""


def scan(datastore: ThreadDatastore) -> Generator[ScannedRun]:
    """Every run with its events and its row, in order of the key; also rows without events.

    What cannot be decoded becomes a flaw of its run. The snapshot lives on a connection of its own until the iterator ends or is
    closed. Events that belong to no run, but to the store, have the key ``""`` and are left out. Raises the driver's errors when the file cannot be read.
    """
    link = snapshot(datastore)
    try:
        rows = link.raw.execute(f"{SELECT_BARE_VIEW} ORDER BY r.run_key")
        events = link.raw.execute(
            f"{SELECT_EVENTS} WHERE originator_id <> '' ORDER BY originator_id, originator_version"
        )
        yield from side_by_side(rows, events, view_of)
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
