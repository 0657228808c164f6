"""The view agrees with the rules, for any life of a run and at every moment of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lastword.domain.commands import Command
from lastword.domain.errors import InvalidTransition, RunAlreadyExists, RunNotFound
from lastword.domain.events import (
    TERMINAL_EVENTS,
    CancellationRequested,
    OutcomeContradicted,
    RecordedEvent,
    RunEvent,
    RunLost,
)
from lastword.domain.run import decide, fold
from lastword.projections.completion import signal_of, signal_of_event
from lastword.projections.flags import flag_of
from lastword.projections.run_view import RunView, apply, fold_view
from lastword.testing import START, recorded
from strategies import lives


def live(life: list[Command]) -> list[RecordedEvent]:
    """The recorded history that comes of asking all this; refusals leave no trace."""
    history: list[RunEvent] = []
    for command in life:
        try:
            history += decide(command, fold(1, history))
        except (InvalidTransition, RunAlreadyExists, RunNotFound):
            continue
    return recorded(*history)


def folded(history: list[RecordedEvent]) -> RunView:
    view = fold_view(history)
    assert view is not None
    return view


@given(lives)
def test_view_and_rules_agree_after_every_event(life: list[Command]):
    """Status, version and content are the same in both folds."""
    history = live(life)
    for length in range(1, len(history) + 1):
        view = folded(history[:length])
        state = fold(1, (item.event for item in history[:length]))
        assert (state.status, state.version, state.name, state.params) == (
            view.status,
            view.version,
            view.name,
            view.params,
        )
        assert (state.owner, state.lost, state.correlation_id) == (
            view.owner,
            view.status_update_failed,
            view.correlation_id,
        )
        assert state.cancel_requested == (view.cancel_requested_at is not None)
        assert bool(state.claims) == view.contradicted


@given(lives)
def test_the_view_at_a_moment_is_the_fold_of_what_was_there(life: list[Command]):
    """Step by step or all at once, the answer is the same: this is what makes rebuilding and time travel right."""
    history = live(life)
    view = apply(None, history[0])
    for length, item in enumerate(history, start=1):
        view = apply(view, item)
        assert view == folded(history[:length])
        assert length == view.version


@given(lives, st.data())
def test_events_that_come_twice_change_nothing(life: list[Command], data: st.DataObject):
    """Any event again, at any time after it came."""
    history = live(life)
    length = data.draw(st.integers(1, len(history)))
    again = data.draw(st.sampled_from(history[:length]))
    view = folded(history[:length])
    assert view == apply(view, again)


@given(lives)
def test_the_view_is_marked_exactly_while_the_last_word_is_a_verdict(life: list[Command]):
    """`status_update_failed` says that nobody was heard."""
    history = live(life)
    words = [item.event for item in history if isinstance(item.event, TERMINAL_EVENTS)]
    view = folded(history)
    assert view.status_update_failed == (bool(words) and isinstance(words[-1], RunLost))
    assert (view.finished_at is not None) == bool(words) == view.status.is_terminal


@given(lives)
def test_the_view_knows_when_things_happened(life: list[Command]):
    """Requests and contradictions are in it, and the end is the time of the last word."""
    history = live(life)
    view = folded(history)
    requests = [i.occurred_at for i in history if isinstance(i.event, CancellationRequested)]
    words = [i.occurred_at for i in history if isinstance(i.event, TERMINAL_EVENTS)]
    assert START == view.created_at
    assert (requests or [None])[-1] == view.cancel_requested_at
    assert (words or [None])[-1] == view.finished_at
    assert view.contradicted == any(isinstance(i.event, OutcomeContradicted) for i in history)


@given(lives)
def test_the_feed_ends_with_the_signal_of_the_view(life: list[Command]):
    """Who follows events and who reads the projection hear the same."""
    history = live(life)
    signals = [signal for item in history if (signal := signal_of_event(item)) is not None]
    view = folded(history)
    if signals:
        assert signals[-1] == signal_of(view)
    else:
        assert signal_of(view).get("status_update_failed") is True


@given(lives)
def test_only_active_runs_are_suspected(life: list[Command]):
    """A last word ends all suspicion."""
    view = folded(live(life))
    assert not view.status.is_terminal or flag_of(view, view.created_at.replace(year=9000)) is None
