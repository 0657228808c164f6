"""What `lastword.testing` offers: a check that fails must say why."""

import pytest

from lastword.domain.commands import CompleteRun, DeclareLost, StartRun
from lastword.domain.errors import InvalidTransition, RunNotFound
from lastword.domain.events import RunCancelled, RunCompleted, RunCreated, RunLost, RunStarted
from lastword.domain.status import FlagReason
from lastword.testing import OTHER_OWNER, OWNER, START, STEP, given, recorded, view_of

CREATED = RunCreated(name="import", correlation_id="req-1", actor="api")
STARTED = RunStarted(owner=OWNER)


def test_a_met_expectation_passes_and_checks_can_be_put_in_a_row():
    """The sentence of the contract holds, and every check gives the scenario back."""
    lost = RunLost(flag="silent")  # pyright: ignore[reportArgumentType]  # plain words are fine
    scenario = given(CREATED, STARTED, lost).when(CompleteRun(result=1))
    assert scenario is scenario.then(RunCompleted(result=1)).then_view(
        status="completed", status_update_failed=False, result=1
    )


def test_a_failed_then_prints_both_event_lists():
    """What was given, asked, expected and found stand under each other."""
    with pytest.raises(AssertionError) as caught:
        given(CREATED, STARTED).when(CompleteRun(result=1)).then(RunCancelled(reason="user"))
    assert str(caught.value) == (
        "run 1\n"
        "given\n"
        "    RunCreated(name='import', actor='api', correlation_id='req-1')\n"
        f"    RunStarted(owner={OWNER!r})\n"
        "when\n"
        "    CompleteRun(result=1)\n"
        "expected\n"
        "    RunCancelled(reason='user')\n"
        "found\n"
        "    RunCompleted(result=1)"
    )


def test_then_nothing_fails_when_something_happened():
    """An event where none was expected is a failure."""
    with pytest.raises(AssertionError, match=r"expected\n    \(nothing\)\nfound\n    RunStarted"):
        given(CREATED).when(StartRun(owner=OWNER)).then_nothing()


def test_then_fails_when_nothing_happened():
    """No event where one was expected is a failure, and a flag is shown by its word."""
    lost = RunLost(flag=FlagReason.SILENT)
    with pytest.raises(AssertionError, match=r"RunLost\(flag='silent'\)\nfound\n    \(nothing\)"):
        given(CREATED, RunCancelled()).when(DeclareLost(flag=FlagReason.SILENT)).then(lost)


def test_then_nothing_fails_when_the_command_was_refused():
    """A refusal is not a harmless repeat; the error is kept as the cause."""
    with pytest.raises(AssertionError, match="found\n    InvalidTransition: run 1") as caught:
        given(CREATED).when(CompleteRun()).then_nothing()
    assert isinstance(caught.value.__cause__, InvalidTransition)


def test_then_raises_fails_when_nothing_was_raised():
    """An expected refusal that did not come is a failure."""
    with pytest.raises(AssertionError, match=r"expected\n    InvalidTransition\nfound\n    Run"):
        given(CREATED).when(StartRun(owner=OWNER)).then_raises(InvalidTransition)


def test_then_raises_fails_for_another_error():
    """The class of the error counts."""
    with pytest.raises(AssertionError, match="found\n    InvalidTransition: run 1: cannot"):
        given(CREATED).when(CompleteRun()).then_raises(RunNotFound)


def test_then_raises_fails_for_another_message():
    """The message counts when a match is given."""
    with pytest.raises(AssertionError, match="InvalidTransition matching 'no such words'"):
        given(CREATED).when(CompleteRun()).then_raises(InvalidTransition, match="no such words")


def test_then_view_fails_with_the_fields_that_differ():
    """Only the wrong fields are listed."""
    with pytest.raises(AssertionError) as caught:
        given(CREATED).when(StartRun(owner=OWNER)).then_view(name="import", status="failed")
    assert str(caught.value).endswith(
        "expected\n    view.status == 'failed'\n"
        f"found\n    RunStarted(owner={OWNER!r})\n    view.status == 'running'"
    )


def test_then_view_fails_when_the_command_was_refused():
    """After a refusal there is nothing new to look at."""
    with pytest.raises(AssertionError, match="a view with status='pending'"):
        given(CREATED).when(CompleteRun()).then_view(status="pending")


def test_then_view_fails_when_there_is_no_run():
    """A run that does not exist has no view."""
    with pytest.raises(AssertionError, match="a view with status='pending'"):
        given().when_delivered(STARTED).then_view(status="pending")


def test_then_view_refuses_a_field_that_views_do_not_have():
    """A misspelt field is a mistake in the test, and says so."""
    scenario = given(CREATED).when(StartRun(owner=OWNER))
    with pytest.raises(TypeError, match="RunView has no field statsu"):
        scenario.then_view(statsu="running")


def test_fields_that_a_newer_release_wrote_are_printed():
    """Unknown fields are facts as well."""
    newer = RunCancelled.model_validate({"shade": "blue"})
    with pytest.raises(AssertionError, match=r"RunCancelled\(shade='blue'\)"):
        given(CREATED).when(StartRun(owner=OTHER_OWNER)).then(newer)


def test_recorded_fills_in_the_envelope():
    """Versions and positions count from 1, times are a step apart, the correlation id is the run's."""
    first, second = recorded(CREATED, STARTED, run_id="a")
    assert ("a", 1, 1, START, "api") == (
        first.run_id,
        first.version,
        first.position,
        first.occurred_at,
        first.actor,
    )
    assert ("a", 2, 2, START + STEP, None) == (
        second.run_id,
        second.version,
        second.position,
        second.occurred_at,
        second.actor,
    )
    assert ["req-1", "req-1"] == [first.correlation_id, second.correlation_id]
    assert second.recorded_at == second.occurred_at
    assert first.event_id != second.event_id
    assert {32} == {len(first.event_id), len(second.event_id)}


def test_view_of_needs_a_history():
    """No events, no view."""
    assert view_of(CREATED).name == "import"
    with pytest.raises(ValueError, match="expected at least one event"):
        view_of()


def test_what_follows_an_envelope_goes_on_from_there():
    """The history of a real run can be given, and asked for the next step."""
    history = recorded(CREATED, STARTED, run_id="a", start=START + 5 * STEP)
    scenario = given(*history).when(CompleteRun(result=1)).then(RunCompleted(result=1))
    scenario.then_view(run_id="a", finished_at=START + 7 * STEP, version=3, correlation_id="req-1")
    third = recorded(*history, RunCancelled())[2]
    assert ("a", 3, 3, "req-1") == (
        third.run_id,
        third.version,
        third.position,
        third.correlation_id,
    )
    assert history == recorded(*history)
