"""A store at an earlier moment, without an index of its own.

`recorded_at` never decreases with the position, so "recorded by" is a position, found by binary search. A row whose newest event
is at or before that position is as it was then. Only runs that were created before it and changed after it, which are the ones
that were under way, are read from their events.

`occurred_at` has no order. But the row of a run that has ended says when it was created and when it ended; if both lie before the
moment, its status was that of today. All others are read from their events.
"""

# statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from ...domain.errors import StoreCorrupt
from ...domain.events import RecordedEvent
from ...domain.records import record
from ...domain.status import ACTIVE, RunStatus
from ...projections.ports import Past
from ...projections.run_view import RunView
from ..mapper import EVENT_COLUMNS
from .columns import SELECT_BARE_VIEW

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


@record()
class PastReader:
    """Reads inside one transaction, in which the store stands still."""

    fetch: Callable[[str, Sequence[Any]], Sequence[Any]]
    """All rows of a statement."""
    view_of: Callable[[Any], RunView]
    event_of: Callable[[Any], RecordedEvent]
    newest: int | None = None
    """Behind this position nothing is looked at; None: behind none."""

    def position_at(self, moment: int) -> int:
        """The newest position that was recorded at or before the moment, in microseconds; 0 when there is none."""
        low, high = 0, self._last_position()
        while low < high:
            middle = (low + high + 1) // 2
            rows = self.fetch(_FIRST_BETWEEN, (middle, high))
            if not rows or rows[0][1] > moment:
                high = middle - 1
            else:
                low = rows[0][0]
        return low

    def past(self, moment: int, *, occurred: bool) -> Past:
        """See `RunStore.past`. The moment is in microseconds since 1970."""
        return self._occurred(moment) if occurred else self._recorded(moment)

    def _recorded(self, moment: int) -> Past:
        position = self.position_at(moment)
        settled = self._settled("number <= ? AND position <= ?", position, 2)
        active = self.fetch(
            f"{SELECT_BARE_VIEW} WHERE r.status IN {_ACTIVE} AND r.position <= ?", (position,)
        )
        changed = self._changed("r.number <= ? AND r.position > ? AND e.position <= ?", position, 3)
        return Past(position, settled, tuple(map(self.view_of, active)), changed)

    def _occurred(self, moment: int) -> Past:
        settled = self._settled("created_at <= ? AND finished_at <= ?", moment, 2)
        changed = self._changed(
            f"r.created_at <= ? AND (r.status IN {_ACTIVE} OR r.finished_at > ? OR r.finished_at IS NULL)",
            moment,
            2,
        )
        return Past(self._last_position(), settled, (), changed)

    def _settled(self, condition: str, value: int, times: int) -> dict[RunStatus, int]:
        statement = _SETTLED.format(active=_ACTIVE, condition=condition)
        counted: dict[RunStatus, int] = {}
        for status, number in self.fetch(statement, (value,) * times):
            try:
                counted[RunStatus(status)] = number
            except ValueError:
                raise StoreCorrupt(
                    f"runs: expected one of {', '.join(RunStatus)}, found the status {status!r:.60} in {number} rows;"
                    " `lastword rebuild` computes all rows anew"
                ) from None
        return counted

    def _changed(
        self, condition: str, value: int, times: int
    ) -> tuple[tuple[RecordedEvent, ...], ...]:
        statement = _CHANGED.format(columns=_COLUMNS, condition=condition)
        rows = self.fetch(statement, (value,) * times)
        return tuple(
            tuple(map(self.event_of, events)) for _, events in groupby(rows, key=lambda row: row[1])
        )

    def _last_position(self) -> int:
        if self.newest is not None:
            return self.newest
        return self.fetch("SELECT coalesce(max(position), 0) FROM events", ())[0][0]
