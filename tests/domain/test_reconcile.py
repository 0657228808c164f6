"""What becomes of an event that waited in a spool: every event in every state of the store."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import pytest

from lastword.domain.errors import RunAlreadyExists, RunNotFound
from lastword.domain.events import (
    EVENT_TYPES,
    CancellationRequested,
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
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.testing import OTHER_OWNER, OWNER, given

CREATED = RunCreated(name="import", params={"folder": "in"})
STARTED = RunStarted(owner=OWNER)
PROGRESSED = RunProgressed(current=3)
REQUESTED = CancellationRequested(reason="user")
COMPLETED = RunCompleted(result=1, note="a note")
FAILED = RunFailed(error=ErrorInfo(type="ValueError", message="no rows"))
CANCELLED = RunCancelled(reason="user")
LOST = RunLost(flag=FlagReason.SILENT)
CONTRADICTED = OutcomeContradicted(claimed=RunStatus.CANCELLED, detail="user")
ERASED = RunErased(reason="a letter")

CLAIMS_COMPLETED = OutcomeContradicted(claimed=RunStatus.COMPLETED, detail="a note")
CLAIMS_FAILED = OutcomeContradicted(claimed=RunStatus.FAILED, detail="ValueError: no rows")
CLAIMS_CANCELLED = OutcomeContradicted(claimed=RunStatus.CANCELLED, detail="user")

STATES: dict[str, tuple[RunEvent, ...]] = {
    "none": (),
    "pending": (CREATED,),
    "running": (CREATED, STARTED),
    "asked to stop": (CREATED, STARTED, REQUESTED),
    "completed": (CREATED, STARTED, COMPLETED),
    "failed": (CREATED, STARTED, FAILED),
    "cancelled": (CREATED, STARTED, CANCELLED),
    "lost": (CREATED, STARTED, LOST),
}


class Row(NamedTuple):
    event: RunEvent
    sentence: str
    taken_in: tuple[str, ...]
    """The states in which the event is taken as it is; elsewhere it says nothing new and is dropped."""
    becomes: dict[str, RunEvent]
    """The states in which it turns into another event."""


TABLE = [
    Row(CREATED, "a creation is taken once", ("none",), {}),
    Row(STARTED, "a start fits a pending run only", ("pending",), {}),
    Row(PROGRESSED, "progress fits a running run only", ("running", "asked to stop"), {}),
    Row(REQUESTED, "a request fits an active run without one", ("pending", "running"), {}),
    Row(
        COMPLETED,
        "a success is taken unless another outcome came first",
        ("pending", "running", "asked to stop", "lost"),
        {"failed": CLAIMS_COMPLETED, "cancelled": CLAIMS_COMPLETED},
    ),
    Row(
        FAILED,
        "a failure is taken unless another outcome came first",
        ("pending", "running", "asked to stop", "lost"),
        {"completed": CLAIMS_FAILED, "cancelled": CLAIMS_FAILED},
    ),
    Row(
        CANCELLED,
        "a cancellation is taken unless another outcome came first",
        ("pending", "running", "asked to stop", "lost"),
        {"completed": CLAIMS_CANCELLED, "failed": CLAIMS_CANCELLED},
    ),
    Row(LOST, "a verdict fits an active run only", ("pending", "running", "asked to stop"), {}),
    Row(
        CONTRADICTED,
        "a contradiction is evidence after another last word only",
        ("completed", "failed", "lost"),
        {},
    ),
    Row(ERASED, "an erasure is done in the store and never delivered", (), {}),
]


@pytest.mark.parametrize(
    ("state", "row"),
    list(product(STATES, TABLE)),
    ids=lambda value: value.sentence if isinstance(value, Row) else value,
)
def test_every_event_in_every_state(state: str, row: Row):
    """The rule that the row's sentence states."""
    scenario = given(*STATES[state]).when_delivered(row.event)
    if state == "none" and row.event is not CREATED:
        scenario.then_raises(RunNotFound, match="^run 1: expected to find it")
    elif state in row.taken_in:
        scenario.then(row.event)
    elif state in row.becomes:
        scenario.then(row.becomes[state])
    else:
        scenario.then_nothing()


def test_the_table_has_each_event_once():
    """A new event is missing here."""
    assert list(EVENT_TYPES) == [type(row.event) for row in TABLE]


def test_the_rows_name_states_that_there_are():
    """A misspelt state would quietly mean: nowhere."""
    assert set(STATES) >= {name for row in TABLE for name in (*row.taken_in, *row.becomes)}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (RunCreated(name="export", params={"folder": "in"}), "the name 'import', not 'export'"),
        (RunCreated(name="import"), "other params"),
    ],
)
def test_an_id_that_was_taken_meanwhile_is_refused(event: RunEvent, message: str):
    """A spooled creation that meets a run with other content cannot be merged with it."""
    given(CREATED).when_delivered(event).then_raises(RunAlreadyExists, match=message)


def test_a_start_by_somebody_else_is_dropped():
    """The run has an owner; the late one comes to nothing."""
    given(CREATED, STARTED).when_delivered(RunStarted(owner=OTHER_OWNER)).then_nothing()


def test_a_claim_that_is_on_record_is_dropped():
    """Delivering the same evidence twice adds nothing, whether it comes as claim or as outcome."""
    history = (*STATES["completed"], CONTRADICTED)
    given(*history).when_delivered(CONTRADICTED).then_nothing()
    given(*history).when_delivered(CANCELLED).then_nothing()


def test_a_claim_that_agrees_with_the_last_word_is_dropped():
    """It was a contradiction where it was decided; here it is what the store says."""
    given(*STATES["completed"]).when_delivered(CLAIMS_COMPLETED).then_nothing()


def test_a_second_claim_is_kept_beside_the_first():
    """Each claimed outcome is evidence of its own."""
    given(*STATES["completed"], CONTRADICTED).when_delivered(CLAIMS_FAILED).then(CLAIMS_FAILED)


def test_a_late_success_takes_back_the_verdict():
    """The outcome that the store did not take in time is the last word in the end."""
    given(*STATES["lost"]).when_delivered(COMPLETED).then(COMPLETED).then_view(
        status="completed", status_update_failed=False, error_type=None, error_message=None
    )
