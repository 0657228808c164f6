"""Small questions about events that are on their way into the store."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.events import RunCreated, RunProgressed
from ...domain.run import RunState, evolve
from ...projections.ports import NewEvent
from .run_cache import Entry


def on_top(state: RunState, events: Sequence[NewEvent]) -> RunState:
    """The state once these have happened, too."""
    for item in events:
        state = evolve(state, item.event)
    return state


def correlation_id_of(entry: Entry, events: Sequence[NewEvent]) -> str | None:
    """The run's, which is set when it is created and lies on each of its events."""
    for item in events:
        if isinstance(item.event, RunCreated):
            return item.event.correlation_id
    return entry.state.correlation_id


def without_exclusive(item: NewEvent) -> NewEvent:
    """The same event, without a claim to an exclusive key."""
    if not isinstance(item.event, RunCreated):
        return item
    event = item.event.model_copy(update={"exclusive": None})
    return NewEvent(item.event_id, event, item.occurred_at, item.actor)


def is_progress(events: Sequence[NewEvent]) -> bool:
    """Whether all of them are progress, and there are any."""
    return bool(events) and all(isinstance(item.event, RunProgressed) for item in events)
