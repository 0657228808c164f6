"""Small questions about events that are on their way into the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...domain.events import RunCreated, RunProgressed
from ...domain.run import RunState, evolve
from ...projections.ports import Append, NewEvent
from ...projections.run_view import RunView
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


def wants_exclusive(events: Sequence[NewEvent]) -> bool:
    """Whether an exclusive key is claimed, which only the store can promise."""
    return any(isinstance(item.event, RunCreated) and item.event.exclusive for item in events)


def request_for(
    entry: Entry, events: tuple[NewEvent, ...], guard: Callable[[RunView], bool] | None = None
) -> Append:
    """What to ask of the store."""
    return Append(
        run_id=entry.run_id,
        expected_version=entry.stored.version,
        events=events,
        view=entry.view,
        correlation_id=correlation_id_of(entry, events),
        guard=guard,
    )
