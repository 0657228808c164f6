"""What is said at the end: the decision alone, as a table."""

from __future__ import annotations

from typing import Any

import pytest

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
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.infrastructure.managing.endings import Claim, ending_of
from lastword.projections.run_view import RunView, fold_view
from lastword.testing import OWNER, recorded

CREATED = RunCreated(name="import")
STARTED = RunStarted(owner=OWNER)
FAILED = RunFailed(error=ErrorInfo(type="ValueError", message="no rows"))
LOST = RunLost(flag=FlagReason.SILENT)


def view(*events: RunEvent) -> RunView:
    folded = fold_view(recorded(CREATED, *events))
    assert folded is not None
    return folded


def told(status: str, *, failed: bool = False) -> dict[str, Any]:
    plain = {"run_id": 1, "complete": True, "db_status": status}
    return plain | ({"status_update_failed": True} if failed else {})


@pytest.mark.parametrize(
    ("what", "projection", "last_known", "expected"),
    [
        ("recorded: completed", view(STARTED, RunCompleted()), None, told("completed")),
        ("recorded: failed", view(STARTED, FAILED), None, told("failed")),
        ("recorded: cancelled", view(RunCancelled()), None, told("cancelled")),
        ("somebody else came first", view(STARTED, FAILED, OutcomeContradicted(claimed=RunStatus.COMPLETED)), None, told("failed")),
        ("lost, then recorded", view(STARTED, LOST, RunCompleted()), None, told("completed")),
        ("not recorded, running", view(STARTED), None, told("running", failed=True)),
        ("not recorded, pending", view(), None, told("pending", failed=True)),
        ("not recorded, declared lost", view(STARTED, LOST), None, told("failed", failed=True)),
        ("unreadable, recorded", None, view(STARTED, RunCompleted()), told("completed")),
        ("unreadable, was running", None, view(STARTED), told("running", failed=True)),
        ("unreadable, was pending", None, view(), told("pending", failed=True)),
        ("unreadable, was lost", None, view(STARTED, LOST), told("failed", failed=True)),
        ("unreadable, never held", None, None, told("pending", failed=True)),
        ("the projection counts, not memory", view(STARTED, RunCancelled()), view(STARTED), told("cancelled")),
        ("the store forgot it", view(STARTED), view(STARTED, RunCompleted()), told("running", failed=True)),
    ],
)  # fmt: skip
def test_signal(
    what: str, projection: RunView | None, last_known: RunView | None, expected: dict[str, Any]
) -> None:
    """The signal says what the store holds; the flag is there exactly when that is no outcome of the work."""
    claim = Claim(1, RunStatus.COMPLETED, "the store is locked", last_known)
    ending = ending_of(claim, projection)
    assert (what, expected) == (what, ending.signal)
    warned = None if ending.warning is None else ending.warning["outcome"]
    assert ("completed" if "status_update_failed" in expected else None) == warned


@pytest.mark.parametrize(
    ("claim", "projection", "expected"),
    [
        (Claim(1, RunStatus.FAILED, "disk full"), view(STARTED), ("Failed to record failed: disk full", "failed")),
        (Claim(1, RunStatus.COMPLETED, "cannot write /var/lib/runs.db"), None, ("Failed to record completed: cannot write <path>", "completed")),
        (Claim(1, RunStatus.COMPLETED), view(STARTED), ("Failed to record completed: the store took it and does not hold it any more", "completed")),
        (Claim(1), view(STARTED, LOST), ("No outcome was recorded: declared lost (silent)", None)),
        (Claim(1), None, ("No outcome was recorded: nothing was reported", None)),
    ],
)  # fmt: skip
def test_warning(
    claim: Claim, projection: RunView | None, expected: tuple[str, str | None]
) -> None:
    """The warning names what the work did and why it is not in the store, sanitised; None where nobody here knows."""
    text, outcome = expected
    warning = {"run_id": 1, "level": "warning", "message": text, "outcome": outcome}
    assert warning == ending_of(claim, projection).warning


def test_the_id_is_the_one_the_run_was_created_with() -> None:
    """A subscriber that asked for "1" is told of the run 1."""
    assert 1 == ending_of(Claim("1"), view(RunCancelled())).signal["run_id"]
