"""The current state of a run, derived from its events.

`apply` is the only place that says what each event means for the view. Stores keep the view in a row that is written in
the transaction of the event; rebuilding, verifying, time travel and the tests use the same fold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from ..domain.errors import StoreCorrupt
from ..domain.events import (
    CancellationRequested,
    OutcomeContradicted,
    RecordedEvent,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from ..domain.status import RunStatus
from ..domain.values import Owner, RunId, Utc
from .flags import Flag

PROJECTION_VERSION = 1
"""Grows whenever `apply` or the fields of the view change; a store with another number rebuilds its rows at open."""


class RunView(BaseModel):
    """What is known of a run now. Times are UTC; a field is None where nothing is known or nothing was said."""

    model_config = ConfigDict(frozen=True)

    run_id: RunId
    """In the type the run was created with."""
    name: str
    status: RunStatus
    flag: Flag | None = None
    """Why the run looks as if it will never end; worked out when asked, never stored."""
    status_update_failed: bool = False
    """True when the last word is the tracker's verdict, not an outcome that the work reported."""
    created_at: Utc
    started_at: Utc | None = None
    finished_at: Utc | None = None
    """When the run had its last word."""
    actor: str | None = None
    """Who or what asked for the run (``triggered_by`` in older trackers)."""
    error_type: str | None = None
    error_message: str | None = None
    exit_code: int | None = None
    """Exit code of a failed command."""
    progress_current: float | int | None = None
    progress_total: float | int | None = None
    current_step: str | None = None
    cancel_requested_at: Utc | None = None
    last_seen_at: Utc | None = None
    """The owner's last sign of life: an event of its own, or a renewal of its lease."""
    deadline_at: Utc | None = None
    owner: Owner | None = None
    parent_id: RunId | None = None
    attempt: int = 1
    retry_of: RunId | None = None
    exclusive: str | None = None
    """While the run is active, no other active run holds this key."""
    lease_seconds: float
    """How long the owner may be silent before the run is flagged."""
    tags: dict[str, str]
    params: dict[str, JsonValue]
    result: JsonValue = None
    note: str | None = None
    """What could not be recorded of the outcome."""
    correlation_id: str | None = None
    contradicted: bool = False
    """True when another outcome was reported after the last word; the history has it."""
    version: int
    """How many events the run has."""
    position: int
    """The store position of its newest event."""


def apply(view: RunView | None, recorded: RecordedEvent) -> RunView:
    """The view after one more event. An event that the view has already seen changes nothing.

    Raises `StoreCorrupt` when the history does not begin with `RunCreated`.
    """
    event = recorded.event
    if view is None:
        if not isinstance(event, RunCreated):
            raise StoreCorrupt(
                f"run {recorded.run_id}: expected its history to begin with RunCreated, found {recorded.type}"
                f" at position {recorded.position}; run `lastword verify`"
            )
        return _created(recorded, event)
    if recorded.version <= view.version:
        return view
    changes: dict[str, Any] = {"version": recorded.version, "position": recorded.position}
    if event.LEADS_TO is not None:
        changes["status"] = event.LEADS_TO
    at = recorded.occurred_at
    match event:
        case RunStarted():
            changes |= {"started_at": at, "owner": event.owner, "last_seen_at": at}
        case RunProgressed():
            changes |= {
                "progress_current": event.current,
                "progress_total": view.progress_total if event.total is None else event.total,
                "current_step": view.current_step if event.step is None else event.step,
                "last_seen_at": at,
            }
        case CancellationRequested():
            changes |= {"cancel_requested_at": at}
        case RunCompleted():
            changes |= _last_word(recorded) | {"result": event.result, "note": event.note}
        case RunFailed():
            changes |= _last_word(recorded) | {
                "error_type": event.error.type,
                "error_message": event.error.message,
                "exit_code": event.exit_code,
                "note": event.note,
            }
        case RunCancelled():
            changes |= _last_word(recorded)
        case RunLost():
            changes |= {
                "finished_at": at,
                "status_update_failed": True,
                "error_type": "RunLost",
                "error_message": f"declared lost ({event.flag}): {event.evidence.detail}".rstrip(
                    ": "
                ),
            }
        case OutcomeContradicted():
            changes |= {"contradicted": True}
        case _:  # nothing else changes the view
            pass
    return view.model_copy(update=changes)


def fold_view(events: Iterable[RecordedEvent]) -> RunView | None:
    """The view after all of a run's events, in order; None for a run without events."""
    view: RunView | None = None
    for recorded in events:
        view = apply(view, recorded)
    return view


def _created(recorded: RecordedEvent, event: RunCreated) -> RunView:
    return RunView(
        run_id=recorded.run_id,
        name=event.name,
        status=RunStatus.PENDING,
        created_at=recorded.occurred_at,
        actor=event.actor,
        deadline_at=event.deadline_at,
        parent_id=event.parent_id,
        attempt=event.attempt,
        retry_of=event.retry_of,
        exclusive=event.exclusive,
        lease_seconds=event.lease_seconds,
        tags=event.tags,
        params=event.params,
        correlation_id=event.correlation_id,
        version=recorded.version,
        position=recorded.position,
    )


def _last_word(recorded: RecordedEvent) -> dict[str, Any]:
    """What every real outcome sets; it also takes back what a verdict said."""
    return {
        "finished_at": recorded.occurred_at,
        "last_seen_at": recorded.occurred_at,
        "status_update_failed": False,
        "error_type": None,
        "error_message": None,
    }
