"""Reading the whole store in one snapshot: run by run, for comparing rows with events, or event by event as they lie there."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import count
from typing import Any

from ...domain.values import RunId, run_key
from ...projections.ports import ScannedRun, SoundRuns, StoredRow
from ..storing.columns import SELECT_BARE_VIEW
from ..storing.scanning import SideBySide, side_by_side
from .connections import Connections
from .counters import horizon
from .links import Link
from .reading import SELECT_EVENTS
from .rows import event_out, row_of, view_of

BATCH = 1000
"""Rows that are fetched at once."""

_NUMBERS = count()
"""Tell the cursors of one transaction apart."""


def scan(connections: Connections) -> Generator[ScannedRun]:
    """See `RunStore.scan`; in order of the key, without the events of the store itself."""
    with connections.snapshot() as link:
        yield from side_by_side(*_both(link, connections), view_of)


def check(connections: Connections) -> Generator[ScannedRun | SoundRuns]:
    """See `RunStore.check`."""
    with connections.snapshot() as link:
        yield from SideBySide(row_of, view_of).check(*_both(link, connections))


def _both(
    link: Link, connections: Connections
) -> tuple[Iterator[Sequence[Any]], Iterator[Sequence[Any]]]:
    """Rows and events, in order of the key."""
    rows = f"{SELECT_BARE_VIEW} ORDER BY r.run_key"
    events = f"{SELECT_EVENTS} WHERE originator_id <> '' ORDER BY originator_id, originator_version"
    return (
        streamed(link, connections.sql(rows)),
        map(event_out, streamed(link, connections.sql(events))),
    )


def log(
    connections: Connections, after: int, run_ids: Sequence[RunId] | None
) -> Generator[Sequence[StoredRow]]:
    """See `RunStore.log`. It ends where the first event is missing that is still on its way."""
    with connections.held() as link:
        newest = horizon(link, connections)
    statement = f"{SELECT_EVENTS} WHERE position > ? AND position <= ?"
    values: list[Any] = [after, newest]
    if run_ids is not None:
        statement += " AND originator_id = ANY(?)"
        values.append([run_key(run_id) for run_id in run_ids])
    with connections.snapshot() as link:
        batch: list[StoredRow] = []
        for row in streamed(link, connections.sql(f"{statement} ORDER BY position"), values):
            batch.append(event_out(row))
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def streamed(link: Link, statement: bytes, values: Sequence[Any] = ()) -> Iterator[Any]:
    """The rows of a statement, a thousand at a time; a transaction is open."""
    with link.cursor(name=f"rows_{next(_NUMBERS)}") as cursor:
        cursor.itersize = BATCH
        cursor.execute(statement, values)
        yield from cursor
