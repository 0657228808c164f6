"""What each event means for the view of a run."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from lastword.domain.errors import StoreCorrupt
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
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.projections.run_view import PROJECTION_VERSION, RunView, apply, fold_view
from lastword.testing import OWNER, START, STEP, recorded, view_of

CREATED = RunCreated(
    name="import",
    params={"folder": "in"},
    tags={"team": "data"},
    actor="api",
    correlation_id="req-1",
    parent_id=7,
    attempt=2,
    retry_of="first",
    exclusive="import",
    deadline_at=START + timedelta(hours=1),
    lease_seconds=30,
)
STARTED = RunStarted(owner=OWNER)
ERROR = ErrorInfo(type="ValueError", message="no rows")
LOST = RunLost(flag=FlagReason.SILENT, evidence=Evidence(detail="silent for 90 s"))
FAILED = RunFailed(error=ERROR, exit_code=3, signal="SIGTERM", note="a note")


def at(number: int) -> Any:
    """When the event of that number in a history happened."""
    return START + STEP * (number - 1)


def changes(*events: RunEvent) -> dict[str, Any]:
    """What the last of the events changed in the view; version and position aside, which always grow."""
    *before, last = recorded(*events)
    old = fold_view(before)
    new = apply(old, last)
    assert old is not None
    assert (last.version, last.position) == (new.version, new.position)
    return {
        name: value
        for name, value in new
        if getattr(old, name) != value and name not in {"version", "position"}
    }


def test_a_created_run_is_pending_and_says_what_it_was_created_with():
    """Everything else is unknown yet."""
    assert view_of(CREATED, run_id="x") == RunView(
        run_id="x",
        name="import",
        status=RunStatus.PENDING,
        flag=None,
        status_update_failed=False,
        created_at=START,
        started_at=None,
        finished_at=None,
        actor="api",
        error_type=None,
        error_message=None,
        exit_code=None,
        progress_current=None,
        progress_total=None,
        current_step=None,
        cancel_requested_at=None,
        last_seen_at=None,
        deadline_at=START + timedelta(hours=1),
        owner=None,
        parent_id=7,
        attempt=2,
        retry_of="first",
        exclusive="import",
        lease_seconds=30,
        tags={"team": "data"},
        params={"folder": "in"},
        result=None,
        note=None,
        correlation_id="req-1",
        contradicted=False,
        version=1,
        position=1,
    )


def test_a_start_names_the_owner():
    """The start is the owner's first sign of life."""
    assert changes(CREATED, STARTED) == {
        "status": RunStatus.RUNNING,
        "started_at": at(2),
        "owner": OWNER,
        "last_seen_at": at(2),
    }


def test_progress_is_a_sign_of_life():
    """Numbers and step are the latest ones."""
    progress = RunProgressed(current=3, total=10, step="extract", message="halfway")
    assert changes(CREATED, STARTED, progress) == {
        "progress_current": 3,
        "progress_total": 10,
        "current_step": "extract",
        "last_seen_at": at(3),
    }


def test_progress_that_leaves_out_total_and_step_keeps_them():
    """None means: as before."""
    first = RunProgressed(current=3, total=10, step="extract")
    assert changes(CREATED, STARTED, first, RunProgressed(current=4)) == {
        "progress_current": 4,
        "last_seen_at": at(4),
    }


def test_progress_can_set_total_to_zero_and_step_to_nothing():
    """Zero and the empty text are values."""
    first = RunProgressed(current=3, total=10, step="extract")
    second = RunProgressed(current=3, total=0, step="")
    assert changes(CREATED, STARTED, first, second) == {
        "progress_total": 0,
        "current_step": "",
        "last_seen_at": at(4),
    }


def test_a_request_to_stop_changes_no_status():
    """And it is no sign of life: somebody else asked."""
    request = CancellationRequested(reason="user", actor="ann")
    assert changes(CREATED, STARTED, request) == {"cancel_requested_at": at(3)}


def test_a_success_has_a_result():
    """The run is over when the event happened."""
    assert changes(CREATED, STARTED, RunCompleted(result={"rows": 1}, note="a note")) == {
        "status": RunStatus.COMPLETED,
        "finished_at": at(3),
        "last_seen_at": at(3),
        "result": {"rows": 1},
        "note": "a note",
    }


def test_a_failure_has_an_error():
    """Type, message, and the exit code of a command."""
    assert changes(CREATED, STARTED, FAILED) == {
        "status": RunStatus.FAILED,
        "finished_at": at(3),
        "last_seen_at": at(3),
        "error_type": "ValueError",
        "error_message": "no rows",
        "exit_code": 3,
        "note": "a note",
    }


def test_a_cancellation_has_neither():
    """The reason stands in the history."""
    assert changes(CREATED, STARTED, RunCancelled(reason="user")) == {
        "status": RunStatus.CANCELLED,
        "finished_at": at(3),
        "last_seen_at": at(3),
    }


def test_a_verdict_is_a_failure_that_nobody_reported():
    """It is marked as such, says why, and is no sign of life."""
    assert changes(CREATED, STARTED, LOST) == {
        "status": RunStatus.FAILED,
        "finished_at": at(3),
        "status_update_failed": True,
        "error_type": "RunLost",
        "error_message": "declared lost (silent): silent for 90 s",
    }


def test_a_verdict_without_words_ends_with_the_flag():
    """No colon in the air."""
    view = view_of(CREATED, RunLost(flag=FlagReason.OWNER_GONE))
    assert "declared lost (owner_gone)" == view.error_message


def test_the_words_of_a_verdict_stay_as_they_are():
    """Whatever they end with, but for a colon in the air."""
    for detail, expected in (("pid 7 on X", "pid 7 on X"), ("silent: ", "silent")):
        view = view_of(CREATED, RunLost(flag=FlagReason.SILENT, evidence=Evidence(detail=detail)))
        assert f"declared lost (silent): {expected}" == view.error_message


def test_a_success_after_the_verdict_takes_back_all_of_it():
    """Nothing of the verdict is left in the view."""
    assert changes(CREATED, STARTED, LOST, RunCompleted(result=1)) == {
        "status": RunStatus.COMPLETED,
        "finished_at": at(4),
        "last_seen_at": at(4),
        "status_update_failed": False,
        "error_type": None,
        "error_message": None,
        "result": 1,
    }


def test_a_failure_after_the_verdict_has_its_own_words():
    """Same status, other error, no mark."""
    assert changes(CREATED, STARTED, LOST, FAILED) == {
        "finished_at": at(4),
        "last_seen_at": at(4),
        "status_update_failed": False,
        "error_type": "ValueError",
        "error_message": "no rows",
        "exit_code": 3,
        "note": "a note",
    }


def test_a_cancellation_after_the_verdict_leaves_no_error():
    """The error was the verdict's."""
    assert changes(CREATED, STARTED, LOST, RunCancelled()) == {
        "status": RunStatus.CANCELLED,
        "finished_at": at(4),
        "last_seen_at": at(4),
        "status_update_failed": False,
        "error_type": None,
        "error_message": None,
    }


def test_a_contradiction_leaves_a_mark_and_nothing_else():
    """Evidence never overwrites."""
    claim = OutcomeContradicted(claimed=RunStatus.FAILED, detail="E: m")
    assert changes(CREATED, STARTED, RunCompleted(result=1), claim) == {"contradicted": True}


def test_an_erasure_is_on_record_and_changes_nothing():
    """What it changed are the events themselves."""
    assert changes(CREATED, STARTED, FAILED, RunErased(reason="a letter")) == {}


HISTORIES: dict[type[RunEvent], tuple[RunEvent, ...]] = {
    RunCreated: (CREATED,),
    RunStarted: (CREATED, STARTED),
    RunProgressed: (CREATED, STARTED, RunProgressed(current=1, total=2, step="s")),
    CancellationRequested: (CREATED, STARTED, CancellationRequested()),
    RunCompleted: (CREATED, STARTED, RunCompleted(result=1)),
    RunFailed: (CREATED, STARTED, FAILED),
    RunCancelled: (CREATED, STARTED, RunCancelled()),
    RunLost: (CREATED, STARTED, LOST),
    OutcomeContradicted: (
        CREATED,
        RunCancelled(),
        OutcomeContradicted(claimed=RunStatus.COMPLETED),
    ),
    RunErased: (CREATED, RunCancelled(), RunErased(reason="a letter")),
}


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
def test_an_event_that_is_applied_twice_changes_nothing(kind: type[RunEvent]):
    """The second time the view gives itself back. A new event is missing in the table above."""
    *_, last = envelopes = recorded(*HISTORIES[kind])
    assert kind is type(last.event)
    view = fold_view(envelopes)
    assert view is apply(view, last)


def test_an_event_that_the_view_has_left_behind_changes_nothing():
    """Older versions are known as well."""
    first, second, third = recorded(CREATED, STARTED, RunCompleted(result=1))
    view = fold_view([first, second, third])
    assert view is apply(view, second)
    assert view is apply(view, first)


@pytest.mark.parametrize("kind", EVENT_TYPES[1:], ids=lambda kind: kind.__name__)
def test_a_history_begins_with_its_creation(kind: type[RunEvent]):
    """Anything else at the head means that the store has lost something, and the message says where."""
    event = recorded(*HISTORIES[kind], run_id="x")[-1]
    with pytest.raises(StoreCorrupt) as caught:
        apply(None, event)
    assert str(caught.value) == (
        f"run x: expected its history to begin with RunCreated, found {kind.__name__}"
        f" at position {event.position}; run `lastword verify`"
    )


def test_no_history_no_view():
    """A run without events is unknown."""
    assert fold_view([]) is None


def test_a_late_outcome_is_dated_when_it_happened():
    """An event that waited in a spool is older than the moment it was recorded at."""
    *history, outcome = recorded(CREATED, STARTED, RunCompleted())
    late = outcome.model_copy(update={"recorded_at": START + timedelta(days=1)})
    view = fold_view([*history, late])
    assert view is not None
    assert at(3) == view.finished_at


def test_the_view_has_every_field_of_the_contract():
    """These names are public; others may join them."""
    promised = (
        "run_id name status flag status_update_failed created_at started_at finished_at actor"
        " error_type error_message progress_current progress_total current_step"
        " cancel_requested_at last_seen_at deadline_at owner parent_id attempt tags params result"
        " correlation_id contradicted version position"
    )
    assert set(promised.split()) <= set(RunView.model_fields)


def test_a_row_of_an_older_release_is_a_first_attempt():
    """Fields that it did not know have their defaults."""
    facts = view_of(CREATED).model_dump(exclude={"attempt", "contradicted", "status_update_failed"})
    view = RunView.model_validate(facts)
    assert (1, False, False) == (view.attempt, view.contradicted, view.status_update_failed)


def test_a_view_survives_json_and_does_not_change():
    """Stores and the web write it as JSON; nobody edits it."""
    view = view_of(CREATED, STARTED, FAILED)
    assert view == RunView.model_validate_json(view.model_dump_json())
    with pytest.raises(ValidationError, match="frozen"):
        view.status = RunStatus.COMPLETED  # pyright: ignore[reportAttributeAccessIssue]  # that is the point


@pytest.mark.parametrize(
    "travel", [lambda v: pickle.loads(pickle.dumps(v)), copy.copy, copy.deepcopy]
)
def test_a_view_survives_pickle_and_copy(travel: Callable[[RunView], RunView]):
    """A folded one is a model like any other: it goes to another process, and is copied with a change."""
    view = view_of(CREATED, STARTED, FAILED)
    again = travel(view)
    assert view == again
    assert RunView(**dict(view)) == again
    assert "other" == again.model_copy(update={"name": "other"}).name


def test_an_older_view_is_not_touched():
    """Each step gives a new view."""
    first, second = recorded(CREATED, STARTED)
    before = apply(None, first)
    apply(before, second)
    assert RunStatus.PENDING is before.status


def test_the_version_of_the_projection_goes_with_its_fields():
    """A field more or less, without a new version, would leave old rows as they are."""
    fields = {1: 32}
    assert {PROJECTION_VERSION: len(RunView.model_fields)} == {
        PROJECTION_VERSION: fields[PROJECTION_VERSION]
    }
