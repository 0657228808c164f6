"""The completion signal: what the store says, and whether the work was heard."""

from __future__ import annotations

import json

import pytest

from lastword.domain.events import (
    TERMINAL_EVENTS,
    CancellationRequested,
    OutcomeContradicted,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.projections.completion import (
    CompletionSignal,
    signal,
    signal_of,
    signal_of_event,
)
from lastword.testing import OWNER, recorded, view_of

CREATED = RunCreated(name="import")
STARTED = RunStarted(owner=OWNER)
FAILED = RunFailed(error=ErrorInfo(type="ValueError", message="no rows"))
LOST = RunLost(flag=FlagReason.SILENT)
CLAIM = OutcomeContradicted(claimed=RunStatus.COMPLETED)


def heard(status: str) -> CompletionSignal:
    return {"run_id": 1, "complete": True, "db_status": status}


def unheard(status: str) -> CompletionSignal:
    return {"run_id": 1, "complete": True, "db_status": status, "status_update_failed": True}


CASES: list[tuple[str, tuple[RunEvent, ...], CompletionSignal]] = [
    ("the success is in the store", (CREATED, STARTED, RunCompleted()), heard("completed")),
    ("the failure is in the store", (CREATED, STARTED, FAILED), heard("failed")),
    ("the cancellation is in the store", (CREATED, RunCancelled()), heard("cancelled")),
    ("the outcome did not get in", (CREATED, STARTED), unheard("running")),
    ("the failure to begin did not get in", (CREATED,), unheard("pending")),
    (
        "asked to stop, and the outcome did not get in",
        (CREATED, STARTED, CancellationRequested()),
        unheard("running"),
    ),
    ("the tracker gave the run up", (CREATED, STARTED, LOST), unheard("failed")),
    (
        "the verdict was replaced by a success",
        (CREATED, STARTED, LOST, RunCompleted()),
        heard("completed"),
    ),
    ("the verdict was replaced by a failure", (CREATED, STARTED, LOST, FAILED), heard("failed")),
    ("somebody cancelled first", (CREATED, STARTED, RunCancelled(), CLAIM), heard("cancelled")),
]


@pytest.mark.parametrize(
    ("sentence", "history", "expected"), CASES, ids=[case[0] for case in CASES]
)
def test_the_signal_says_what_the_store_says(
    sentence: str, history: tuple[RunEvent, ...], expected: CompletionSignal
):
    """Exactly these keys, in this order, ready for JSON; the flag is there exactly when nobody was heard."""
    found = signal_of(view_of(*history))
    assert json.dumps(expected) == json.dumps(found), sentence


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (CREATED, None),
        (STARTED, None),
        (RunProgressed(current=1), None),
        (CancellationRequested(), None),
        (RunCompleted(), heard("completed")),
        (FAILED, heard("failed")),
        (RunCancelled(), heard("cancelled")),
        (LOST, unheard("failed")),
        (CLAIM, None),
    ],
    ids=lambda value: value.TOPIC if isinstance(value, RunEvent) else "",
)
def test_an_event_of_the_feed_stands_for_its_signal(
    event: RunEvent, expected: CompletionSignal | None
):
    """Last words have one; other events have none."""
    (recorded_event,) = recorded(event)
    assert json.dumps(expected) == json.dumps(signal_of_event(recorded_event))
    assert (expected is not None) == (type(event) in TERMINAL_EVENTS)


@pytest.mark.parametrize("run_id", [17, "17", "import-2026"])
def test_the_signal_has_the_type_of_the_run_id(run_id: int | str):
    """As it was created."""
    created, outcome = recorded(CREATED, RunCancelled(), run_id=run_id)
    from_view = signal_of(view_of(CREATED, RunCancelled(), run_id=run_id))
    from_event = signal_of_event(outcome)
    assert created.run_id == run_id
    assert from_event is not None
    assert (run_id, run_id) == (from_view["run_id"], from_event["run_id"])
    assert type(run_id) is type(from_view["run_id"]) is type(from_event["run_id"])


@pytest.mark.parametrize("status", RunStatus)
def test_every_status_can_be_in_a_signal(status: RunStatus):
    """As a plain word, and the flag is absent rather than false."""
    assert heard(str(status)) == signal(1, status, update_failed=False)
    assert unheard(str(status)) == signal(1, status, update_failed=True)
    assert str is type(signal(1, status, update_failed=True)["db_status"])
