"""Time travel: what a run, and all runs together, looked like at an earlier moment.

There are two questions, and the answers differ where an event waited in a spool:

recorded    what did the store know then? The events that it had taken by then.
occurred    what was true then? The events that had happened by then, whenever the store learnt of them.

Flags are no part of the past: leases are not history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..domain.errors import InvalidInput
from ..domain.events import RecordedEvent, RunCreated
from ..domain.status import ACTIVE, RunStatus
from ..domain.values import Utc, shown, utc
from .ports import Past
from .run_view import RunView, fold_view

By = Literal["recorded", "occurred"]
"""Which of an event's two times counts."""


class StoreSnapshot(BaseModel):
    """What was known of all runs at a moment."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    when: Utc
    by: By
    """``recorded``: what the store knew; ``occurred``: what was true."""
    position: int
    """The newest event that the answer rests on; 0 when there is none."""
    counts: dict[RunStatus, int]
    """How many runs had each status; every status has a number."""
    active: tuple[RunView, ...]
    """The runs that had no last word yet, oldest first, without flags."""


def by_of(value: object) -> By:
    """One of the two words. Raises `InvalidInput`.

    >>> by_of("occurred")
    'occurred'
    """
    if value not in ("recorded", "occurred"):
        raise InvalidInput(
            f"by: expected 'recorded' (what the store knew) or 'occurred' (what was true), found {shown(value)}"
        )
    return value


def until(events: Iterable[RecordedEvent], when: Utc, by: By = "recorded") -> list[RecordedEvent]:
    """Of a run's events, in order, those that belong to the moment; none before the run was created.

    By `recorded` they are always the beginning of the history. By `occurred` they need not be: an outcome that waited in a
    spool stands behind events that happened after it.
    """
    if by == "recorded":
        return [event for event in events if event.recorded_at <= when]
    happened = [event for event in events if event.occurred_at <= when]
    created = bool(happened) and isinstance(happened[0].event, RunCreated)
    return happened if created else []


def as_of(events: Iterable[RecordedEvent], when: Utc, by: By = "recorded") -> RunView | None:
    """The run as it was at the moment, from all of its events; None when it did not exist yet.

    `when` itself is included. Raises `InvalidInput` for a naive time or another `by`, `StoreCorrupt` for a history that does not
    begin with `RunCreated`.
    """
    return fold_view(until(events, utc(when, "when"), by_of(by)))


def snapshot_of(past: Past, when: Utc, by: By = "recorded") -> StoreSnapshot:
    """The answer over all runs, from what a store says of the moment."""
    counts = {status: past.settled.get(status, 0) for status in RunStatus}
    active: list[RunView] = []
    for view in (*past.active, *_folded(past.changed, when, by)):
        counts[view.status] += 1
        if view.status in ACTIVE:
            active.append(view)
    active.sort(key=lambda view: (view.created_at, str(view.run_id)))
    return StoreSnapshot.model_construct(
        when=when, by=by, position=past.position, counts=counts, active=tuple(active)
    )


def _folded(changed: Iterable[Sequence[RecordedEvent]], when: Utc, by: By) -> Iterable[RunView]:
    for events in changed:
        view = fold_view(until(events, when, by))
        if view is not None:
            yield view
