"""Reading the whole store in one snapshot: run by run, for comparing rows with events, or event by event as they lie there."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from ...domain.events import STORE_KEY
from ...domain.values import RunId, run_key
from ...projections.ports import ScannedRun, SoundRuns, StoredRow
from ..storing.scanning import SideBySide, side_by_side
from .datastore import ThreadDatastore
from .links import Link, memory_link
from .recorder import SELECT_EVENTS
from .rows import SELECT_BARE_VIEW, row_of, view_of

LOG_BATCH = 1000
"""Events that are read at once."""
CHECK_CACHE_KIB = 32_000
"""Of pages in memory while everything is read in the order of runs, which need not be that of the file."""

Row = Sequence[Any]

_IN_ITS_PLACE = "e.position = r.number AND e.originator_id = r.run_key AND e.originator_version = 1"
"""Holds for a row `r` and the first event `e` of its run."""
_ALONG_THE_LOG = f"""
{SELECT_BARE_VIEW.replace("FROM runs r", "FROM events e CROSS JOIN runs r ON r.number = e.position")}
WHERE e.originator_id > ? AND e.originator_version = 1 ORDER BY e.originator_id
"""
_SORTED = f"""
{SELECT_BARE_VIEW} LEFT JOIN events e ON {_IN_ITS_PLACE} WHERE r.run_key > ? ORDER BY r.run_key, e.position IS NULL
"""
_STRAY = (
    f"SELECT 1 FROM runs r WHERE NOT EXISTS (SELECT 1 FROM events e WHERE {_IN_ITS_PLACE}) LIMIT 1"
)


def scan(datastore: ThreadDatastore) -> Generator[ScannedRun]:
    """Every run with its events and its row, in order of the key; also rows without events.

    What cannot be decoded becomes a flaw of its run. The snapshot lives on a connection of its own until the iterator ends or is
    closed. Events that belong to no run, but to the store, have the key ``""`` and are left out. Raises the driver's errors when the file cannot be read.
    """
    link = snapshot(datastore)
    try:
        yield from side_by_side(*_behind(link.raw, STORE_KEY), view_of)
    finally:
        datastore.discard(link)


def check(datastore: ThreadDatastore) -> Generator[ScannedRun | SoundRuns]:
    """See `RunStore.check`."""
    link = snapshot(datastore)
    compared = SideBySide(row_of, view_of)
    try:
        link.raw.text_factory = str
        link.raw.execute(f"PRAGMA cache_size = -{CHECK_CACHE_KIB}")
        try:
            yield from compared.check(*_behind(link.raw, STORE_KEY))
        except sqlite3.OperationalError as error:
            if "UTF-8" not in str(error):
                raise
            link.raw.text_factory = _text  # from here on with care
            yield from compared.check(*_behind(link.raw, compared.key), careful=True)
    finally:
        datastore.discard(link)


def _behind(raw: sqlite3.Connection, key: object) -> tuple[Iterator[Row], Iterator[Row]]:
    """Rows and events behind a key, in order of the key.

    First events lead to the rows that are in their place. Where there are others, all are sorted, on the disk; of two rows with one key that
    in its place comes first.
    """
    has_strays = raw.execute(_STRAY).fetchone() is not None
    return (
        _each(raw, _SORTED if has_strays else _ALONG_THE_LOG, key),
        _each(
            raw,
            f"{SELECT_EVENTS} WHERE originator_id > ? ORDER BY originator_id, originator_version",
            key,
        ),
    )


def _each(raw: sqlite3.Connection, statement: str, key: object) -> Iterator[Row]:
    cursor = raw.execute(statement, (key,))
    while batch := cursor.fetchmany(LOG_BATCH):
        yield from batch


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
        link.raw.execute("PRAGMA temp_store = FILE")
        link.raw.execute("BEGIN")
    link.raw.text_factory = _text
    return link


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
