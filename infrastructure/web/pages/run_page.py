"""What one run's page shows. Pure: from a view and its history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ....domain.events import OutcomeContradicted, RecordedEvent, RunFailed, RunLost
from ....domain.values import Owner
from ....projections.flags import evidence_of
from ....projections.run_view import RunView
from ... import words
from .story import LATE, Sentence, story
from .timeline import Timeline, timeline

EVENTS_SHOWN = 200
"""Of a longer history the first and the newest are shown."""
_FIRST = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the history."""

    item: RecordedEvent
    after: str
    """How long since the event before, in words; empty for the first."""
    says: str
    late: timedelta | None
    """How much later the store took it, if that is worth a word."""
    raw: str
    """The whole event as JSON."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a flag or a verdict rests on."""

    reason: str
    detail: str
    since: datetime | None
    last_seen_at: datetime | None
    lease_seconds: float | None
    deadline_at: datetime | None
    owner: Owner | None
    declared_at: datetime | None = None
    """When the verdict was written; None for a flag."""

    @property
    def lease(self) -> str:
        """The lease in words."""
        if self.lease_seconds is None:
            return ""
        return words.span(timedelta(seconds=min(self.lease_seconds, 1e9)))


@dataclass(frozen=True, slots=True)
class RunPage:
    """Everything about one run."""

    view: RunView
    sentences: list[Sentence]
    timeline: Timeline
    steps: tuple[Step, ...]
    """The first ones, or all."""
    hidden: int
    """How many events are between the first and the last ones."""
    last_steps: tuple[Step, ...]
    proof: Proof | None
    claims: tuple[OutcomeContradicted, ...]
    traceback: str | None
    """Of the newest failure, if it was stored."""

    @classmethod
    def of(cls, view: RunView, events: Sequence[RecordedEvent], now: datetime) -> RunPage:
        """From what the store says. `events` is the whole history."""
        steps, hidden, last = _steps(events)
        return cls(
            view=view,
            sentences=story(view, events, now),
            timeline=timeline(view, events, now),
            steps=steps,
            hidden=hidden,
            last_steps=last,
            proof=_proof(view, events),
            claims=tuple(
                item.event for item in events if isinstance(item.event, OutcomeContradicted)
            ),
            traceback=_traceback(view, events),
        )


def share_of(view: RunView) -> float | None:
    """How much of the run is done, in percent from 0 to 100; None when that is not known.

    A completed run is not taken for 100: what it last reported stands.
    """
    if view.progress_current is None or not view.progress_total or view.progress_total < 0:
        return None
    return round(100 * min(1.0, max(0.0, view.progress_current / view.progress_total)), 1)


def pretty(value: object) -> str:
    """JSON for people to read."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _steps(events: Sequence[RecordedEvent]) -> tuple[tuple[Step, ...], int, tuple[Step, ...]]:
    if len(events) <= EVENTS_SHOWN:
        return _told(events, None), 0, ()
    begin = len(events) - (EVENTS_SHOWN - _FIRST)
    return _told(events[:_FIRST], None), begin - _FIRST, _told(events[begin:], events[begin - 1])


def _told(events: Sequence[RecordedEvent], before: RecordedEvent | None) -> tuple[Step, ...]:
    steps: list[Step] = []
    for item in events:
        late = item.recorded_at - item.occurred_at
        steps.append(
            Step(
                item=item,
                after="" if before is None else _gap(item.occurred_at - before.occurred_at),
                says=words.event(item),
                late=late if late > LATE else None,
                raw=pretty(item.as_json()),
            )
        )
        before = item
    return tuple(steps)


def _gap(length: timedelta) -> str:
    """Also of events whose clocks disagree."""
    return words.span(length) if length >= timedelta(0) else f"−{words.span(-length)}"


def _traceback(view: RunView, events: Sequence[RecordedEvent]) -> str | None:
    if view.error_message is None:
        return None
    failures = [item.event for item in events if isinstance(item.event, RunFailed)]
    return failures[-1].error.traceback if failures else None


def _proof(view: RunView, events: Sequence[RecordedEvent]) -> Proof | None:
    if view.flag is not None:
        evidence, reason, declared = evidence_of(view, view.flag), view.flag.reason, None
    elif view.status_update_failed:
        fact, declared = [
            (item.event, item.occurred_at) for item in events if isinstance(item.event, RunLost)
        ][-1]
        evidence, reason = fact.evidence, fact.flag
    else:
        return None
    return Proof(
        reason=reason,
        detail=evidence.detail,
        since=evidence.since,
        last_seen_at=evidence.last_seen_at,
        lease_seconds=evidence.lease_seconds,
        deadline_at=evidence.deadline_at,
        owner=evidence.owner,
        declared_at=declared,
    )
