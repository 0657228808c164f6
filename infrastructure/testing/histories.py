"""Histories for tests that do not care about ids, versions and times."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...domain.events import RecordedEvent, RunCreated, RunEvent
from ...domain.values import Owner, RunId
from ...projections.run_view import RunView, fold_view
from .clock import START

STEP = timedelta(seconds=1)
"""The time between two events."""
OWNER = Owner(host="host-1", pid=100, started_at=START - timedelta(hours=1), boot_id="boot-1")
"""An owner for tests that do not care who it is."""
OTHER_OWNER = Owner(host="host-2", pid=100, started_at=START - timedelta(hours=1), boot_id="boot-2")
"""Another process than `OWNER`, on another host."""


def recorded(
    *events: RunEvent | RecordedEvent,
    run_id: RunId | None = None,
    start: datetime = START,
    step: timedelta = STEP,
) -> list[RecordedEvent]:
    """The events with envelopes: versions and positions 1, 2, 3, ..., and times `step` apart from `start` on.

    What has an envelope keeps it, and what follows goes on from there. The run's id is the one of the first envelope, else 1.

    >>> from lastword.domain.events import RunCancelled
    >>> history = recorded(RunCreated(name="import"), RunCancelled())
    >>> [(event.run_id, event.version) for event in history]
    [(1, 1), (1, 2)]
    >>> recorded(*history[:1], RunCancelled()) == history
    True
    """
    if run_id is None:
        run_id = next((item.run_id for item in events if isinstance(item, RecordedEvent)), 1)
    history: list[RecordedEvent] = []
    correlation_id: str | None = None
    for item in events:
        if isinstance(item, RecordedEvent):
            correlation_id = item.correlation_id
            history.append(item)
            continue
        if isinstance(item, RunCreated):
            correlation_id = item.correlation_id
        before = history[-1] if history else None
        version = before.version + 1 if before else 1
        at = before.occurred_at + step if before else start
        history.append(
            RecordedEvent(
                run_id=run_id,
                version=version,
                position=before.position + 1 if before else 1,
                event_id=f"{version:032x}",
                event=item,
                occurred_at=at,
                recorded_at=at if before is None else max(at, before.recorded_at),
                actor=getattr(item, "actor", None),
                correlation_id=correlation_id,
            )
        )
    return history


def view_of(*events: RunEvent | RecordedEvent, run_id: RunId | None = None) -> RunView:
    """The view of a run with this history. Raises `ValueError` for an empty one.

    >>> view_of(RunCreated(name="import")).status.value
    'pending'
    """
    view = fold_view(recorded(*events, run_id=run_id))
    if view is None:
        raise ValueError("view_of: expected at least one event, found none")
    return view
