"""The completion signal: what a run's end looks like to those who wait for it.

`db_status` is what the projection says, never what somebody meant to write. `status_update_failed` is there exactly when
the store holds no outcome that the work itself reported.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from ..domain.events import RecordedEvent, RunLost
from ..domain.status import RunStatus
from ..domain.values import RunId
from .run_view import RunView


class CompletionSignal(TypedDict):
    """Exactly these keys, JSON-ready."""

    run_id: RunId
    complete: Literal[True]
    db_status: str
    status_update_failed: NotRequired[Literal[True]]


def signal(run_id: RunId, db_status: RunStatus, *, update_failed: bool) -> CompletionSignal:
    """The signal for a run that ended.

    >>> signal(1, RunStatus.COMPLETED, update_failed=False)
    {'run_id': 1, 'complete': True, 'db_status': 'completed'}
    >>> signal(1, RunStatus.RUNNING, update_failed=True)
    {'run_id': 1, 'complete': True, 'db_status': 'running', 'status_update_failed': True}
    """
    message: CompletionSignal = {"run_id": run_id, "complete": True, "db_status": db_status.value}
    if update_failed:
        message["status_update_failed"] = True
    return message


def signal_of(view: RunView) -> CompletionSignal:
    """The signal for a run whose work has ended, from what the store says of it.

    The flag is set when the view is still active (the outcome did not get in) or holds the tracker's verdict.
    """
    failed = view.status_update_failed or not view.status.is_terminal
    return signal(view.run_id, view.status, update_failed=failed)


def signal_of_event(recorded: RecordedEvent) -> CompletionSignal | None:
    """The signal that one event of the feed stands for; None for an event that is not a last word."""
    status = recorded.event.LEADS_TO
    if status is None or not status.is_terminal:
        return None
    return signal(recorded.run_id, status, update_failed=isinstance(recorded.event, RunLost))
