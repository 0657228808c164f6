"""Laws that hold for any run, whatever was asked of it in whatever order."""

from __future__ import annotations

import copy

from hypothesis import assume, given
from hypothesis import strategies as st

from lastword.domain.commands import Command, EraseRun, RecordProgress
from lastword.domain.errors import InvalidTransition, LastwordError, RunAlreadyExists, RunNotFound
from lastword.domain.events import (
    OutcomeContradicted,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunStarted,
)
from lastword.domain.run import RunState, decide, evolve, fold, reconcile
from strategies import commands, events, lives

REAL = (RunCompleted, RunFailed, RunCancelled)


def live(life: list[Command]) -> list[RunEvent]:
    """The history that comes of asking all this; refusals leave no trace."""
    history: list[RunEvent] = []
    for command in life:
        history += attempt(command, fold(1, history)) or ()
    return history


def attempt(command: Command, state: RunState) -> tuple[RunEvent, ...] | None:
    """What came of it; None when it was refused."""
    try:
        return decide(command, state)
    except (InvalidTransition, RunAlreadyExists, RunNotFound):
        return None


@given(lives)
def test_asking_twice_is_asking_once(life: list[Command]):
    """The second of two same commands does nothing or is refused. Progress is new each time it is told."""
    history: list[RunEvent] = []
    for command in life:
        history += attempt(command, fold(1, history)) or ()
        if isinstance(command, EraseRun):  # what is left to erase is looked up each time
            command = EraseRun(reason=command.reason)  # noqa: PLW2901  # then it is nothing
        if not isinstance(command, RecordProgress):
            assert not attempt(command, fold(1, history))


def test_erasing_what_is_erased_changes_nothing():
    """There are no events left to change; a repeat is harmless."""
    history = fold(1, [RunCreated(name="import"), RunCancelled()])
    assert () == decide(EraseRun(reason="again"), history)


@given(lives)
def test_deciding_is_the_same_every_time_and_changes_nothing(life: list[Command]):
    """A rule looks, and does not touch."""
    state = RunState(1)
    for command in life:
        before = copy.deepcopy((command, state))
        first, second = attempt(command, state), attempt(command, state)
        assert first == second
        assert before == (command, state)
        for event in first or ():
            state = evolve(state, event)


@given(lives)
def test_a_last_word_stays_unless_it_was_a_verdict(life: list[Command]):
    """Only `RunLost` can be replaced, and only by an outcome that the work reported."""
    state = RunState(1)
    for event in live(life):
        after = evolve(state, event)
        if state.exists and state.status.is_terminal and after.status is not state.status:
            assert state.lost
            assert isinstance(event, REAL)
        state = after


@given(lives)
def test_a_run_has_at_most_one_outcome_and_one_verdict(life: list[Command]):
    """Beyond the verdict there is one outcome; the rest is evidence."""
    history = live(life)
    assert sum(isinstance(event, REAL) for event in history) <= 1
    assert sum(isinstance(event, RunLost) for event in history) <= 1
    state = fold(1, history)
    said = any(isinstance(event, (*REAL, RunLost)) for event in history)
    assert said == (state.exists and state.status.is_terminal)


@given(lives)
def test_a_run_begins_once(life: list[Command]):
    """One creation at the head of the history, and at most one start."""
    history = live(life)
    assert [0] == [n for n, event in enumerate(history) if isinstance(event, RunCreated)]
    assert sum(isinstance(event, RunStarted) for event in history) <= 1


@given(lives)
def test_each_contradiction_is_another_outcome_than_the_last_word(life: list[Command]):
    """Kept once per claim, and never what the store says anyway."""
    state = fold(1, history := live(life))
    claims = [event.claimed for event in history if isinstance(event, OutcomeContradicted)]
    assert len(claims) == len(set(claims))
    assert state.claims == set(claims)
    assert state.status not in state.claims


@given(lives)
def test_the_state_counts_its_events(life: list[Command]):
    """Versions have no gaps."""
    history = live(life)
    assert [fold(1, history[:n]).version for n in range(len(history) + 1)] == list(
        range(len(history) + 1)
    )


@given(st.lists(events, max_size=8))
def test_evolve_believes_any_history(history: list[RunEvent]):
    """A history that today's rules would not write can still be loaded."""
    state = fold("a", history)
    assert ("a", len(history)) == (state.run_id, state.version)


@given(commands)
def test_a_run_that_does_not_exist_can_only_be_created(command: Command):
    """Everything else is an unknown run."""
    result = attempt(command, RunState(1))
    assert (result is None) == (type(command).__name__ != "CreateRun")


@given(lives, st.data())
def test_delivering_what_is_there_adds_nothing(life: list[Command], data: st.DataObject):
    """An event that is delivered twice says nothing new, except for progress, which is told apart by its id."""
    history = live(life)
    event = data.draw(st.sampled_from(history))
    state = fold(1, history)
    again = reconcile(event, state)
    if not state.lost or not isinstance(event, REAL):
        assert () == again or event.TOPIC == "RunProgressed"


@given(lives, events)
def test_a_delivered_event_never_breaks_the_laws(life: list[Command], event: RunEvent):
    """Whatever comes out of a spool: one outcome beyond the verdict, and a real outcome stays."""
    history = live(life)
    state = fold(1, history)
    try:
        taken = reconcile(event, state)
    except LastwordError as error:
        assume(not isinstance(error, RunAlreadyExists))
        raise
    after = history + list(taken)
    assert sum(isinstance(item, REAL) for item in after) <= 1
    assert sum(isinstance(item, RunLost) for item in after) <= 1
    if state.status.is_terminal and not state.lost:
        assert state.status is fold(1, after).status


@given(lives, st.integers(0, 12), events)
def test_delivering_to_the_same_state_is_deterministic(
    life: list[Command], cut: int, event: RunEvent
):
    """Two deliverers that race decide the same; the version decides who was first."""
    state = fold(1, live(life)[: cut + 1])
    assume(not isinstance(event, RunCreated))
    before = state._replace()
    assert reconcile(event, state) == reconcile(event, state)
    assert before == state
