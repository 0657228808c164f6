"""What happens when something is asked of a run: every command in every state."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple, get_args

import pytest

from lastword.domain.commands import (
    CancelRun,
    Command,
    CompleteRun,
    CreateRun,
    DeclareLost,
    EraseRun,
    FailRun,
    RecordProgress,
    RequestCancellation,
    StartRun,
)
from lastword.domain.errors import InvalidTransition, RunNotFound
from lastword.domain.events import (
    EVENT_TYPES,
    CancellationRequested,
    Evidence,
    OutcomeContradicted,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunErased,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.leaves import Leaves
from lastword.domain.run import decide, fold
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.testing import OTHER_OWNER, OWNER, Then, given

ERROR = ErrorInfo(type="ValueError", message="no rows")
CREATED = RunCreated(name="import", params={"folder": "in"})
STARTED = RunStarted(owner=OWNER)
FAILED = RunFailed(error=ERROR)
LOST = RunLost(flag=FlagReason.SILENT, evidence=Evidence(detail="silent for 90 s"))

STATES: dict[str, tuple[RunEvent, ...]] = {
    "none": (),
    "pending": (CREATED,),
    "running": (CREATED, STARTED),
    "asked to stop": (CREATED, STARTED, CancellationRequested(reason="user")),
    "completed": (CREATED, STARTED, RunCompleted(result=1)),
    "failed": (CREATED, STARTED, FAILED),
    "cancelled": (CREATED, STARTED, RunCancelled(reason="user")),
    "lost": (CREATED, STARTED, LOST),
}

CREATE = CreateRun(name="import", params={"folder": "in"})
START = StartRun(owner=OWNER)
PROGRESS = RecordProgress(current=3, total=10, step="extract", message="halfway")
REQUEST = RequestCancellation(reason="deploy", actor="ann")
COMPLETE = CompleteRun(result={"rows": 1}, note="a note")
FAIL = FailRun(error=ERROR, exit_code=3, signal="SIGTERM", note="a note")
CANCEL = CancelRun(reason="deploy", actor="ann")
DECLARE = DeclareLost(flag=FlagReason.OVERDUE, evidence=Evidence(detail="late"))

LEAVES = Leaves.of([(1, bytes(32))])
ERASE = EraseRun(reason="a letter", actor="ann", store_id="id", leaves=LEAVES)

PROGRESSED = RunProgressed(current=3, total=10, step="extract", message="halfway")
REQUESTED = CancellationRequested(reason="deploy", actor="ann")
COMPLETES = RunCompleted(result={"rows": 1}, note="a note")
FAILS = RunFailed(error=ERROR, exit_code=3, signal="SIGTERM", note="a note")
CANCELS = RunCancelled(reason="deploy", actor="ann")
LOSES = RunLost(flag=FlagReason.OVERDUE, evidence=Evidence(detail="late"))

ERASES = RunErased(reason="a letter", actor="ann", store_id="id", leaves=LEAVES)

CLAIMS_COMPLETED = OutcomeContradicted(claimed=RunStatus.COMPLETED, detail="a note")
CLAIMS_FAILED = OutcomeContradicted(claimed=RunStatus.FAILED, detail="ValueError: no rows")
CLAIMS_CANCELLED = OutcomeContradicted(claimed=RunStatus.CANCELLED, detail="deploy")

Expectation = Callable[[Then], Then]


def gives(*events: RunEvent) -> Expectation:
    return lambda scenario: scenario.then(*events)


def not_found(scenario: Then) -> Then:
    return scenario.then_raises(RunNotFound, match="^run 1: expected to find it")


def refused(was: str, to: str, remedy: str) -> Expectation:
    message = f"^run 1: cannot go from {was} to {to}; {remedy}$"
    return lambda scenario: scenario.then_raises(InvalidTransition, match=message)


nothing = gives()

_ACTIVE = "only a finished run can be erased: wait for its last word, or cancel it"
_PENDING_STAYS = refused("pending", "erased", _ACTIVE)
_RUNNING_STAYS = refused("running", "erased", _ACTIVE)
_ONCE = "a run is started once: create a new run for another try"
_SAID = "it has had its last word"
_PROGRESS = r"running \(progress\)"
_WAS_LOST = r"failed \(declared lost\)"


class Row(NamedTuple):
    state: str
    command: Command
    sentence: str
    expect: Expectation


TABLE = [
    Row("none", CREATE, "a new run is pending", gives(CREATED)),
    Row("none", START, "a run that is not there cannot start", not_found),
    Row("none", PROGRESS, "a run that is not there has no progress", not_found),
    Row("none", REQUEST, "a run that is not there cannot be asked to stop", not_found),
    Row("none", COMPLETE, "a run that is not there cannot complete", not_found),
    Row("none", FAIL, "a run that is not there cannot fail", not_found),
    Row("none", CANCEL, "a run that is not there cannot be cancelled", not_found),
    Row("none", DECLARE, "a run that is not there cannot be lost", not_found),
    Row("none", ERASE, "a run that is not there cannot be erased", not_found),
    Row("pending", CREATE, "creating it again is harmless", nothing),
    Row("pending", START, "an owner begins the work", gives(STARTED)),
    Row(
        "pending",
        PROGRESS,
        "work that has not begun has no progress",
        refused("pending", _PROGRESS, "start it first"),
    ),
    Row(
        "pending", REQUEST, "nobody owns it, so it is cancelled at once", gives(REQUESTED, CANCELS)
    ),
    Row(
        "pending",
        COMPLETE,
        "work that never began cannot complete",
        refused(
            "pending",
            "completed",
            "work that never began cannot be completed: start it first",
        ),
    ),
    Row("pending", FAIL, "work that could not begin has failed", gives(FAILS)),
    Row("pending", CANCEL, "work that has not begun can be cancelled", gives(CANCELS)),
    Row("pending", DECLARE, "a run that never started can be given up", gives(LOSES)),
    Row("pending", ERASE, "a run that may still begin is not erased", _PENDING_STAYS),
    Row("running", CREATE, "creating it again is harmless while it runs", nothing),
    Row("running", START, "the same owner starting it again is harmless", nothing),
    Row("running", PROGRESS, "the work gets further", gives(PROGRESSED)),
    Row("running", REQUEST, "the work is asked to stop and decides when", gives(REQUESTED)),
    Row("running", COMPLETE, "the work succeeds", gives(COMPLETES)),
    Row("running", FAIL, "the work fails", gives(FAILS)),
    Row("running", CANCEL, "the work stops because somebody asked", gives(CANCELS)),
    Row("running", DECLARE, "a silent run is given up", gives(LOSES)),
    Row("running", ERASE, "a run that still writes is not erased", _RUNNING_STAYS),
    Row("asked to stop", CREATE, "creating it again is harmless after a request", nothing),
    Row("asked to stop", START, "its owner starting it again is harmless after a request", nothing),
    Row("asked to stop", PROGRESS, "work that did not notice yet gets further", gives(PROGRESSED)),
    Row("asked to stop", REQUEST, "asking twice is harmless", nothing),
    Row("asked to stop", COMPLETE, "work that ends before it notices wins", gives(COMPLETES)),
    Row("asked to stop", FAIL, "work that fails before it notices has failed", gives(FAILS)),
    Row("asked to stop", CANCEL, "the work noticed and stopped", gives(CANCELS)),
    Row("asked to stop", DECLARE, "a run that never answered is given up", gives(LOSES)),
    Row("asked to stop", ERASE, "a run that is about to stop is not erased", _RUNNING_STAYS),
    Row("completed", CREATE, "creating a completed run again is harmless", nothing),
    Row(
        "completed",
        START,
        "a completed run does not start again",
        refused("completed", "running", _ONCE),
    ),
    Row(
        "completed",
        PROGRESS,
        "a completed run gets no further",
        refused("completed", _PROGRESS, _SAID),
    ),
    Row("completed", REQUEST, "a completed run need not be asked to stop", nothing),
    Row("completed", COMPLETE, "completing twice is harmless", nothing),
    Row("completed", FAIL, "a failure after success is kept as evidence", gives(CLAIMS_FAILED)),
    Row("completed", CANCEL, "a cancellation after success is evidence", gives(CLAIMS_CANCELLED)),
    Row("completed", DECLARE, "a completed run is never lost", nothing),
    Row("completed", ERASE, "a completed run can be erased", gives(ERASES)),
    Row("failed", CREATE, "creating a failed run again is harmless", nothing),
    Row("failed", START, "a failed run does not start again", refused("failed", "running", _ONCE)),
    Row("failed", PROGRESS, "a failed run gets no further", refused("failed", _PROGRESS, _SAID)),
    Row("failed", REQUEST, "a failed run need not be asked to stop", nothing),
    Row("failed", COMPLETE, "a success after failure is evidence", gives(CLAIMS_COMPLETED)),
    Row("failed", FAIL, "failing twice is harmless", nothing),
    Row("failed", CANCEL, "a cancellation after failure is evidence", gives(CLAIMS_CANCELLED)),
    Row("failed", DECLARE, "a failed run is never lost", nothing),
    Row("failed", ERASE, "a failed run can be erased", gives(ERASES)),
    Row("cancelled", CREATE, "creating a cancelled run again is harmless", nothing),
    Row(
        "cancelled",
        START,
        "a cancelled run does not start again",
        refused("cancelled", "running", _ONCE),
    ),
    Row(
        "cancelled",
        PROGRESS,
        "a cancelled run gets no further",
        refused("cancelled", _PROGRESS, _SAID),
    ),
    Row("cancelled", REQUEST, "a cancelled run need not be asked to stop", nothing),
    Row("cancelled", COMPLETE, "a success after cancellation is evidence", gives(CLAIMS_COMPLETED)),
    Row("cancelled", FAIL, "a failure after cancellation is evidence", gives(CLAIMS_FAILED)),
    Row("cancelled", CANCEL, "cancelling twice is harmless", nothing),
    Row("cancelled", DECLARE, "a cancelled run is never lost", nothing),
    Row("cancelled", ERASE, "a cancelled run can be erased", gives(ERASES)),
    Row("lost", CREATE, "creating a lost run again is harmless", nothing),
    Row("lost", START, "a lost run does not start again", refused(_WAS_LOST, "running", _ONCE)),
    Row("lost", PROGRESS, "progress cannot undo a verdict", refused(_WAS_LOST, _PROGRESS, _SAID)),
    Row("lost", REQUEST, "a lost run need not be asked to stop", nothing),
    Row("lost", COMPLETE, "a real success replaces the verdict", gives(COMPLETES)),
    Row("lost", FAIL, "a real failure replaces the verdict", gives(FAILS)),
    Row("lost", CANCEL, "a real cancellation replaces the verdict", gives(CANCELS)),
    Row("lost", DECLARE, "a verdict is given once", nothing),
    Row("lost", ERASE, "a lost run can be erased", gives(ERASES)),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.sentence)
def test_every_command_in_every_state(row: Row):
    """The rule that the row's sentence states."""
    row.expect(given(*STATES[row.state]).when(row.command))


def test_the_table_has_each_command_in_each_state_once():
    """A new command or a forgotten state is missing here."""
    expected = sorted(product(STATES, (kind.__name__ for kind in get_args(Command))))
    assert expected == sorted((row.state, type(row.command).__name__) for row in TABLE)


def test_the_states_are_all_that_rules_can_tell_apart():
    """Every status, and each mark that a rule looks at, is the state of a row."""
    states = {name: fold(1, events) for name, events in STATES.items()}
    assert set(RunStatus) == {state.status for state in states.values()}
    assert ["none"] == [name for name, state in states.items() if not state.exists]
    assert ["lost"] == [name for name, state in states.items() if state.lost]
    assert ["asked to stop"] == [name for name, state in states.items() if state.cancel_requested]


def test_every_event_comes_out_of_a_rule():
    """An event that no command leads to would be dead."""
    produced: set[type[RunEvent]] = set()
    for row in TABLE:
        produced |= {type(event) for event in given(*STATES[row.state]).when(row.command).found}
    assert set(EVENT_TYPES) == produced


def test_every_sentence_is_said_once():
    """Two rows with one sentence would hide each other."""
    assert len(TABLE) == len({row.sentence for row in TABLE})


def test_another_owner_cannot_start_a_running_run():
    """The message names who has it, so that somebody can go and look."""
    scenario = given(CREATED, STARTED).when(StartRun(owner=OTHER_OWNER))
    scenario.then_raises(
        InvalidTransition,
        match="^run 1: cannot go from running to running; "
        "pid 100 on host-1 started it already: create a new run for a second try$",
    )


def test_a_reused_pid_is_another_owner():
    """The same pid on the same host with another start time is another process."""
    reused = OWNER.model_copy(update={"started_at": OWNER.started_at.replace(year=2027)})
    given(CREATED, STARTED).when(StartRun(owner=reused)).then_raises(InvalidTransition)


@pytest.mark.parametrize("again", [COMPLETE, FAIL])
def test_a_claim_is_kept_once(again: Command):
    """A second report of the same late outcome adds nothing; a third outcome would."""
    history = (*STATES["cancelled"], CLAIMS_COMPLETED, CLAIMS_FAILED)
    given(*history).when(again).then_nothing()


def test_a_second_different_claim_is_kept_as_well():
    """Each claimed outcome is evidence of its own."""
    given(*STATES["cancelled"], CLAIMS_COMPLETED).when(FAIL).then(CLAIMS_FAILED)


def test_the_last_word_itself_is_no_contradiction_after_one():
    """What agrees with the last word is a repeat, also when something else was claimed between."""
    given(*STATES["cancelled"], CLAIMS_COMPLETED).when(CANCEL).then_nothing()


def test_after_a_replaced_verdict_the_first_real_outcome_stands():
    """A verdict is replaced once; then the usual rule holds."""
    given(*STATES["lost"], RunCompleted()).when(FAIL).then(CLAIMS_FAILED)
    given(*STATES["lost"], FAILED).when(FAIL).then_nothing()
    given(*STATES["lost"], FAILED).when(DECLARE).then_nothing()


def test_a_real_failure_after_the_verdict_takes_back_the_flag():
    """The status stays failed; what changes is who says so."""
    scenario = given(*STATES["lost"]).when(FAIL)
    scenario.then_view(status="failed", status_update_failed=False, error_type="ValueError")


def test_a_run_lost_before_it_started_can_still_complete():
    """Somebody did the work after all: the real outcome wins, from pending as well."""
    never = RunLost(flag=FlagReason.NEVER_STARTED)
    given(CREATED, never).when(COMPLETE).then(COMPLETES).then_view(
        status="completed", status_update_failed=False
    )


def test_the_detail_of_a_contradicting_failure_is_short():
    """Type and message, cut at 1,024 characters."""
    long = FailRun(error=ErrorInfo(type="E", message="x" * 1024))
    detail = "E: " + "x" * 1021
    given(*STATES["completed"]).when(long).then(
        OutcomeContradicted(claimed=RunStatus.FAILED, detail=detail)
    )


def test_evolve_believes_a_history_that_no_rule_would_write():
    """An imported history may hold a second creation; what is recorded has happened."""
    state = fold(1, [*STATES["lost"], RunCreated(name="other")])
    assert (4, RunStatus.PENDING, "other", {}) == (
        state.version,
        state.status,
        state.name,
        state.params,
    )


def test_without_a_recorded_owner_a_second_start_is_refused_politely():
    """An old history without an owner is possible; the message then names nobody."""
    state = fold(1, [CREATED]).__class__(run_id=1, version=2, status=RunStatus.RUNNING)
    with pytest.raises(InvalidTransition, match="a run is started once"):
        decide(START, state)
