"""Small questions about events that are on their way into the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...domain.events import TERMINAL_TOPICS, RunCreated, RunProgressed
from ...domain.run import RunState, evolve
from ...projections.ports import Append, NewEvent
from ...projections.run_view import RunView
from .run_cache import Entry


def on_top(state: RunState, events: Sequence[NewEvent]) -> RunState:
    """The state once these have happened, too."""
    for item in events:
        state = evolve(state, item.event)
    return state


def without_exclusive(item: NewEvent) -> NewEvent:
    """The same event, without a claim to an exclusive key."""
    if not isinstance(item.event, RunCreated):
        return item
    event = item.event.model_copy(update={"exclusive": None})
    return NewEvent(item.event_id, event, item.occurred_at, item.actor)


def is_progress(events: Sequence[NewEvent]) -> bool:
    """Whether all of them are progress, and there are any."""
    return bool(events) and all(isinstance(item.event, RunProgressed) for item in events)


def has_last_word(events: Sequence[NewEvent]) -> bool:
    """Whether one of them ends the run."""
    return any(item.event.TOPIC in TERMINAL_TOPICS for item in events)


def wants_exclusive(events: Sequence[NewEvent]) -> bool:
    """Whether an exclusive key is claimed, which only the store can promise."""
    return any(isinstance(item.event, RunCreated) and item.event.exclusive for item in events)


def request_for(
    entry: Entry,
    events: tuple[NewEvent, ...],
    state: RunState,
    guard: Callable[[RunView], bool] | None = None,
) -> Append:
    """What to ask of the store; `state` is the run with all of these events. Its correlation id lies on each of them."""
    return Append(
        entry.run_id, entry.stored.version, events, entry.view, state.correlation_id, guard
    )
