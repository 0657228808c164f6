"""Runs per hour as bars. Pure: from a tally to rectangles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ....domain.status import RunStatus
from ....projections.queries import Tally

HOURS = 24
HEIGHT = 96
"""Pixels from the line to the top of the tallest bar."""
_LEAST = 2.0
"""Pixels of the smallest part that is not zero: one failure among thousands must be seen."""
_GAP = 22
"""Percent of a bar's place that stays empty."""
_LABEL_EVERY = 6

ORDER = (
    RunStatus.COMPLETED,
    RunStatus.FAILED,
    RunStatus.CANCELLED,
    RunStatus.RUNNING,
    RunStatus.PENDING,
)
"""From the line up."""


@dataclass(frozen=True, slots=True)
class Part:
    """One outcome's part of a bar."""

    status: RunStatus
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour."""

    since: datetime
    runs: dict[RunStatus, int]
    """Every status has a number."""
    x: float
    """In percent of the width, as is `width`."""
    width: float
    parts: tuple[Part, ...]
    label: str
    """Hour of the day in UTC, on some bars."""

    @property
    def total(self) -> int:
        """Runs of the hour."""
        return sum(self.runs.values())


@dataclass(frozen=True, slots=True)
class Strip:
    """The chart."""

    bars: tuple[Bar, ...]
    most: int
    """Runs in the fullest hour."""
    totals: dict[RunStatus, int]
    capped: tuple[RunStatus, ...]
    """Statuses of which only the newest runs were counted."""
    limit: int

    @property
    def total(self) -> int:
        """All runs that were counted."""
        return sum(self.totals.values())

    @property
    def words(self) -> str:
        """The chart for those who cannot see it; the table beside it has every number."""
        if not self.total:
            return "No run was created in the last 24 hours."
        fullest = max(self.bars, key=lambda bar: bar.total)
        parts = [f"{self.totals[status]:,} {status}" for status in ORDER if self.totals[status]]
        return (
            f"{self.total:,} runs were created in the last 24 hours: {', '.join(parts)}."
            f" Most in one hour: {self.most:,}, from {fullest.since:%H:%M} UTC."
        )


def first_hour(now: datetime) -> datetime:
    """Where the chart begins: so that the hour of `now` is its last.

    >>> from datetime import UTC
    >>> first_hour(datetime(2026, 2, 5, 22, 3, tzinfo=UTC)).isoformat()
    '2026-02-04T23:00:00+00:00'
    """
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)


def strip(tally: Tally) -> Strip:
    """The chart of a tally."""
    query, place = tally.query, 100 / len(tally.numbers)
    hours = [{status: found.get(status, 0) for status in ORDER} for found in tally.numbers]
    most = max(sum(hour.values()) for hour in hours)
    bars: list[Bar] = []
    for number, runs in enumerate(hours):
        since = query.since + number * query.stretch
        bars.append(
            Bar(
                since=since,
                runs=runs,
                x=round(number * place + place * _GAP / 200, 3),
                width=round(place * (100 - _GAP) / 100, 3),
                parts=_parts(runs, most),
                label=f"{since:%H:%M}" if since.hour % _LABEL_EVERY == 0 else "",
            )
        )
    return Strip(
        bars=tuple(bars),
        most=most,
        totals={status: sum(hour[status] for hour in hours) for status in ORDER},
        capped=tuple(status for status in ORDER if status in tally.capped),
        limit=query.limit,
    )


def _parts(runs: dict[RunStatus, int], most: int) -> tuple[Part, ...]:
    """From the line up; where small parts were made visible, the others give way."""
    total = sum(runs.values())
    if not total:
        return ()
    height = max(HEIGHT * total / most, _LEAST * sum(map(bool, runs.values())))
    heights = {status: max(_LEAST, height * number / total) for status, number in runs.items() if number}  # fmt: skip
    excess = sum(heights.values()) - height
    largest = max(heights, key=lambda status: heights[status])
    heights[largest] = max(_LEAST, heights[largest] - excess)
    parts: list[Part] = []
    top = float(HEIGHT)
    for status in ORDER:
        if status in heights:
            top -= heights[status]
            parts.append(Part(status, round(top, 2), round(heights[status], 2)))
    return tuple(parts)
