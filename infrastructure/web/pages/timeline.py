"""A run's life drawn to scale. Pure: from events to positions in percent of the width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ....domain.events import RecordedEvent, RunProgressed
from ....domain.status import FlagReason, RunStatus
from ....projections.run_view import RunView
from ... import words
from .story import LATE

Place = Callable[[datetime], float]

_MOST_TICKS = 4
_CLOSEST = 0.5
"""Percent between two marks of progress; of those that are closer the first is drawn."""
_STEPS = [
    *(timedelta(milliseconds=number) for number in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(timedelta(seconds=number) for number in (1, 2, 5, 10, 15, 30)),
    *(timedelta(minutes=number) for number in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=number) for number in (1, 2, 3, 6, 12)),
    *(timedelta(days=number) for number in (1, 2, 7, 30, 90, 365, 3650, 36500, 365000)),
]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the run's life with one name."""

    kind: str
    """``waiting``, ``running``, ``unheard``: since its owner was last heard of, or ``after``: what came when it had ended."""
    left: float
    width: float
    length: timedelta

    @property
    def words(self) -> str:
        """How long it lasted."""
        return words.span(self.length)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment."""

    kind: str
    """The event's name, or ``stored`` for the moment at which the store took a late one, or ``deadline``, or ``now``."""
    at: float
    moment: datetime


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the scale."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that is drawn; each position is in percent of the whole, from the left."""

    stretches: tuple[Stretch, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    length: timedelta
    ongoing: bool

    @property
    def words(self) -> str:
        """The same for those who cannot see it."""
        parts = [f"{_KINDS[stretch.kind]} {stretch.words}" for stretch in self.stretches]
        return f"{words.span(self.length)} in all: {', '.join(parts)}." if parts else ""


_KINDS = {
    "waiting": "waiting",
    "running": "running",
    "unheard": "not heard of",
    "after": "after its end",
}


def timeline(view: RunView, events: Sequence[RecordedEvent], now: datetime) -> Timeline:
    """The run from its creation to its newest event, or to now while it is active. Clocks that disagree are taken as they are."""
    ongoing = not view.status.is_terminal
    moments = [view.created_at, *(item.occurred_at for item in events)]
    late = [item for item in events if item.recorded_at - item.occurred_at > LATE]
    moments += [item.recorded_at for item in late]
    if ongoing:
        moments.append(now)
    if view.finished_at is not None:
        moments.append(view.finished_at)
    begin, end = min(moments), max(moments)
    if view.deadline_at is not None and begin < view.deadline_at <= begin + 2 * (end - begin):
        end = max(end, view.deadline_at)
    length = max(end - begin, timedelta(microseconds=1))

    def place(moment: datetime) -> float:
        return round(100 * min(1.0, max(0.0, (moment - begin) / length)), 3)

    stretches: list[Stretch] = []
    for kind, since, until in _parts(view, end if not ongoing else now):
        left = place(since)
        stretches.append(
            Stretch(
                kind,
                left,
                round(max(0.0, place(until) - left), 3),
                max(timedelta(0), until - since),
            )
        )
    marks = [*_marks(events, place)]
    marks += [Mark("stored", place(item.recorded_at), item.recorded_at) for item in late]
    if view.deadline_at is not None and begin <= view.deadline_at <= end:
        marks.append(Mark("deadline", place(view.deadline_at), view.deadline_at))
    if ongoing:
        marks.append(Mark("now", place(now), now))
    return Timeline(
        tuple(stretches), tuple(marks), tuple(_ticks(length)), length=end - begin, ongoing=ongoing
    )


def _parts(view: RunView, end: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    stopped = view.finished_at or end
    yield "waiting", view.created_at, view.started_at or stopped
    if view.started_at is not None:
        heard = _last_heard(view) or stopped
        yield "running", view.started_at, heard
        if heard < stopped:
            yield "unheard", heard, stopped
    if view.status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED) and end > stopped:  # fmt: skip
        yield "after", stopped, end


def _last_heard(view: RunView) -> datetime | None:
    """When the owner of a run that it left without a last word was last heard of; None for any other run."""
    if view.status_update_failed:
        return view.last_seen_at
    if view.flag is not None and view.flag.reason in (FlagReason.SILENT, FlagReason.OWNER_GONE):
        return view.last_seen_at
    return None


def _marks(events: Sequence[RecordedEvent], place: Place) -> Iterator[Mark]:
    drawn = -_CLOSEST
    for item in events:
        at = place(item.occurred_at)
        if isinstance(item.event, RunProgressed):
            if at - drawn < _CLOSEST:
                continue
            drawn = at
        yield Mark(item.type, at, item.occurred_at)


def _ticks(length: timedelta) -> Iterator[Tick]:
    step = next((step for step in _STEPS if length / step <= _MOST_TICKS), _STEPS[-1])
    number = 1
    while (at := number * step) <= length:
        yield Tick(round(100 * (at / length), 3), _label(at))
        number += 1


def _label(length: timedelta) -> str:
    """A round duration, short: ``500 ms``, ``15 s``, ``2 h``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number = length / timedelta(seconds=size)
        if number >= 1:
            return f"{number:g} {unit}"
    return f"{length / timedelta(milliseconds=1):g} ms"
