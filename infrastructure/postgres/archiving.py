"""Removing finished runs for good, each batch in one transaction with the event that records it."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from ...domain.errors import StoreCorrupt
from ...domain.events import STORE_KEY, RecordedEvent
from ...domain.status import ACTIVE
from ...domain.values import RunId, run_key
from ...projections.ports import NewEvent, Removed, StoredRow
from ...projections.run_view import RunView, fold_view
from ..mapper import EventMapper, StoredRunEvent, recorded_event
from ..storing.columns import SELECT_BARE_VIEW
from ..storing.rows import id_of
from .appending import event_values, take
from .connections import Connections
from .counters import fold_up_to
from .links import Link
from .reading import SELECT_EVENTS, event_of, run_events
from .rows import view_of
from .shapes import WRITTEN

_STORE_BATCH = 20
_ACTIVE = f"({', '.join(repr(status.value) for status in sorted(ACTIVE))})"
_INSERT = f"""
INSERT INTO events (position, {", ".join(WRITTEN)}, recorded_at) VALUES (?, {", ".join("?" * len(WRITTEN))}, ?)
"""


def finished(connections: Connections, before: int) -> list[tuple[RunId, int]]:
    """See `RunStore.finished`; the moment is in microseconds."""
    rows = connections.fetch(
        f"SELECT run_key, int_id, version FROM runs WHERE status NOT IN {_ACTIVE} AND finished_at < ? ORDER BY position",
        (before,),
    )
    return [(id_of(key, int_id), version) for key, int_id, version in rows]


def store_events(connections: Connections, after: int) -> Generator[RecordedEvent]:
    """See `RunStore.store_events`."""
    while rows := connections.fetch(
        f"{SELECT_EVENTS} WHERE originator_id = ? AND position > ? ORDER BY position LIMIT ?",
        (STORE_KEY, after, _STORE_BATCH),
    ):
        yield from map(event_of, rows)
        after = rows[-1][0]


def remove_runs(
    connections: Connections,
    runs: Sequence[tuple[RunId, int]],
    record: Callable[[Sequence[StoredRow]], NewEvent],
    at: int | None,
) -> Removed:
    """See `RunStore.remove_runs`."""
    with connections.separate() as link, link.transaction():
        taken = take(link, connections, 1, at)
        # Nobody may write to a run between the look at it and its end.
        link.execute(connections.sql("LOCK TABLE runs IN SHARE ROW EXCLUSIVE MODE"))
        found = [
            whole
            for run_id, version in runs
            if (whole := _whole(link, connections, run_key(run_id), version)) is not None
        ]
        if not found:
            return Removed(0, 0)
        rows = sorted((row for _, _, events in found for row in events), key=lambda row: row[0])
        stored = _of_store(link, connections, record(rows))
        _settle_counters(link, connections)
        put_event(link, connections, stored, taken)
        for number, view, _ in found:
            delete_row(link, connections, number)
            key = str(view.run_id)
            link.execute(connections.sql("DELETE FROM events WHERE originator_id = ?"), (key,))
            link.execute(
                connections.sql("UPDATE status_counts SET runs = runs - 1 WHERE status = ?"),
                (view.status.value,),
            )
    return Removed(len(found), len(rows))


def put_event(
    link: Link, connections: Connections, stored: StoredRunEvent, taken: tuple[int, int]
) -> None:
    """Write one event at its position."""
    position, recorded_at = taken
    link.execute(connections.sql(_INSERT), (position, *event_values(stored), recorded_at))


def delete_row(link: Link, connections: Connections, number: int) -> None:
    """Take the run's row and tags away."""
    for statement in ("DELETE FROM run_tags WHERE number = ?", "DELETE FROM runs WHERE number = ?"):
        link.execute(connections.sql(statement), (number,))


def _settle_counters(link: Link, connections: Connections) -> None:
    """Put into the sums what the events to be removed say of them; no writer is at work."""
    row = link.execute(
        connections.sql("SELECT value::bigint FROM meta WHERE key = 'counted' FOR UPDATE")
    ).fetchone()
    newest = link.execute(
        connections.sql("SELECT coalesce(max(position), 0) FROM events")
    ).fetchone()
    if row is not None and newest is not None:
        fold_up_to(link, connections, row[0], newest[0])


def _of_store(link: Link, connections: Connections, new: NewEvent) -> StoredRunEvent:
    """The next event of the store itself."""
    row = link.execute(
        connections.sql(
            "SELECT coalesce(max(originator_version), 0) + 1 FROM events WHERE originator_id = ?"
        ),
        (STORE_KEY,),
    ).fetchone()
    return EventMapper().stored(new, STORE_KEY, row[0] if row else 1)


def _whole(
    link: Link, connections: Connections, key: str, version: int
) -> tuple[int, RunView, list[Any]] | None:
    """Number, view and events of a finished run; None when it is gone, or has moved on. Raises `StoreCorrupt`."""
    row = link.execute(
        connections.sql(f"{SELECT_BARE_VIEW} WHERE r.run_key = ?"), (key,)
    ).fetchone()
    if row is None:
        return None
    view = view_of(row)
    if view.version != version or view.status in ACTIVE:
        return None
    rows = run_events(link, connections, key)
    if fold_view(map(recorded_event, rows)) != view:
        raise StoreCorrupt(
            f"run {key}: expected a row that is what its events say, found another one; nothing of it was removed:"
            " run `lastword verify`"
        )
    return row[0], view, rows
