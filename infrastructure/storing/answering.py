"""What a store answers to an append that it took."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from functools import partial

from ...domain.events import RecordedEvent
from ...domain.values import RunId, from_micros
from ...projections.ports import Append, Appended
from ...projections.run_view import RunView
from ..mapper import enveloped


def answer(
    append: Append, run_id: RunId, view: RunView, taken: Sequence[tuple[int, int]]
) -> Appended:
    """The answer, which makes the events when somebody asks for them. `taken` has the position of each, and when it was taken in microseconds.

    It holds what the events are made of, not whoever wrote them and holds the answer: a circle would wait for the garbage collector.
    """
    return Appended(partial(_recorded, append, run_id, taken), view)


def _recorded(
    append: Append, run_id: RunId, taken: Sequence[tuple[int, int]]
) -> tuple[RecordedEvent, ...]:
    return tuple(
        enveloped(
            new.event,
            run_id=run_id,
            version=append.expected_version + number,
            position=position,
            event_id=new.event_id,
            occurred_at=new.occurred_at.astimezone(UTC),
            recorded_at=from_micros(recorded_at),
            actor=new.actor,
            correlation_id=append.correlation_id,
        )
        for number, (new, (position, recorded_at)) in enumerate(
            zip(append.events, taken, strict=True), start=1
        )
    )
