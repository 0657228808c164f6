"""The store at an earlier moment, without an index of its own.

`recorded_at` never decreases with the position, so "recorded by" is a position, found by binary search. A row whose newest event
is at or before that position is as it was then. Only runs that were created before it and changed after it, which are the ones
that were under way, are read from their events.

`occurred_at` has no order. But the row of a run that has ended says when it was created and when it ended; if both lie before the
moment, its status was that of today. All others are read from their events.
"""

# statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from ...domain.errors import StoreCorrupt
from ...domain.events import RecordedEvent
from ...domain.status import ACTIVE, RunStatus
from ...projections.ports import Past
from ..mapper import EVENT_COLUMNS, recorded_event
from .datastore import ThreadDatastore
from .rows import SELECT_BARE_VIEW, view_of

_ACTIVE = f"({', '.join(repr(status.value) for status in sorted(ACTIVE))})"

# The columns of a row that the questions below need stand in the row itself; an index would be read in another order than
# the table and cost a jump for each run. Hence NOT INDEXED.
_SETTLED = """
SELECT status, count(*) FROM runs NOT INDEXED WHERE status NOT IN {active} AND {condition} GROUP BY status
"""
_CHANGED = """
SELECT {columns} FROM runs r NOT INDEXED CROSS JOIN events e ON e.originator_id = r.run_key
WHERE {condition} ORDER BY r.number, e.originator_version
"""
_COLUMNS = ", ".join(f"e.{column}" for column in EVENT_COLUMNS)

_FIRST_BETWEEN = """
SELECT position, recorded_at FROM events
WHERE position BETWEEN ? AND ? AND recorded_at IS NOT NULL ORDER BY position LIMIT 1
"""


def position_at(raw: sqlite3.Cursor, moment: int) -> int:
    """The newest position that was recorded at or before the moment, in microseconds; 0 when there is none."""
    low, high = 0, _last_position(raw)
    while low < high:
        middle = (low + high + 1) // 2
        row = raw.execute(_FIRST_BETWEEN, (middle, high)).fetchone()
        if row is None or row[1] > moment:
            high = middle - 1
        else:
            low = row[0]
    return low


def past(datastore: ThreadDatastore, moment: int, *, occurred: bool) -> Past:
    """See `RunStore.past`. The moment is in microseconds since 1970."""
    with datastore.transaction(commit=False) as cursor:
        raw = cursor.sqlite_cursor
        return _occurred(raw, moment) if occurred else _recorded(raw, moment)


def _recorded(raw: sqlite3.Cursor, moment: int) -> Past:
    position = position_at(raw, moment)
    settled = _settled(raw, "number <= :moment AND position <= :moment", position)
    active = raw.execute(
        f"{SELECT_BARE_VIEW} WHERE r.status IN {_ACTIVE} AND r.position <= ?", (position,)
    ).fetchall()
    changed = _changed(
        raw, "r.number <= :moment AND r.position > :moment AND e.position <= :moment", position
    )
    return Past(position, settled, tuple(map(view_of, active)), changed)


def _occurred(raw: sqlite3.Cursor, moment: int) -> Past:
    settled = _settled(raw, "created_at <= :moment AND finished_at <= :moment", moment)
    changed = _changed(
        raw,
        f"r.created_at <= :moment AND (r.status IN {_ACTIVE} OR r.finished_at > :moment OR r.finished_at IS NULL)",
        moment,
    )
    return Past(_last_position(raw), settled, (), changed)


def _settled(raw: sqlite3.Cursor, condition: str, value: int) -> dict[RunStatus, int]:
    rows = raw.execute(_SETTLED.format(active=_ACTIVE, condition=condition), {"moment": value})
    counted: dict[RunStatus, int] = {}
    for status, number in rows:
        try:
            counted[RunStatus(status)] = number
        except ValueError:
            raise StoreCorrupt(
                f"runs: expected one of {', '.join(RunStatus)}, found the status {status!r:.60} in {number} rows;"
                " `lastword rebuild` computes all rows anew"
            ) from None
    return counted


def _changed(
    raw: sqlite3.Cursor, condition: str, value: int
) -> tuple[tuple[RecordedEvent, ...], ...]:
    rows: Iterable[Any] = raw.execute(
        _CHANGED.format(columns=_COLUMNS, condition=condition), {"moment": value}
    )
    return tuple(
        tuple(map(recorded_event, events)) for _, events in groupby(rows, key=lambda row: row[1])
    )


def _last_position(raw: sqlite3.Cursor) -> int:
    return raw.execute("SELECT ifnull(max(position), 0) FROM events").fetchone()[0]
