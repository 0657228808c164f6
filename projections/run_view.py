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
    RunEvent,
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

    model_config = ConfigDict(frozen=True, defer_build=True)

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


Fields = dict[str, Any]
"""The fields of a view while it is being folded, by name."""

_BLANK: Fields = dict.fromkeys(RunView.model_fields)
blank_fields = _BLANK.copy
"""All fields, each of them None; quicker than to write them all down."""
_SET = set(_BLANK)
_new = object.__new__
_SLOTS = "__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"
# The model is frozen, so it is filled past its `__setattr__`; `object.__setattr__` would look each slot up by its name.
_put_fields, _put_set, _put_extra, _put_private = (
    BaseModel.__dict__[slot].__set__ for slot in _SLOTS
)


def apply(view: RunView | None, recorded: RecordedEvent) -> RunView:
    """The view after one more event. An event that the view has already seen changes nothing.

    Raises `StoreCorrupt` when the history does not begin with `RunCreated`.
    """
    event, version, position = recorded.event, recorded.version, recorded.position
    at = recorded.occurred_at
    if view is None:
        return view_from(begin(event, recorded.run_id, version, position, at))
    if version <= view.version:
        return view
    fields = view.__dict__.copy()
    advance(fields, event, version, position, at)
    return view_from(fields)


def begin(event: RunEvent, run_id: RunId, version: int, position: int, at: Any) -> Fields:
    """All fields of the view after the first event of a run.

    `at` is when it happened. It is put where the view has it, in whatever form the caller keeps times: whoever folds many runs need not make
    a `datetime` of each number. Raises `StoreCorrupt` when the event is not `RunCreated`.
    """
    if not isinstance(event, RunCreated):
        raise StoreCorrupt(
            f"run {run_id}: expected its history to begin with RunCreated, found {event.TOPIC}"
            f" at position {position}; run `lastword verify`"
        )
    fields = blank_fields()
    fields["run_id"] = run_id
    fields["name"] = event.name
    fields["status"] = RunStatus.PENDING
    fields["status_update_failed"] = False
    fields["created_at"] = at
    fields["actor"] = event.actor
    fields["deadline_at"] = event.deadline_at
    fields["parent_id"] = event.parent_id
    fields["attempt"] = event.attempt
    fields["retry_of"] = event.retry_of
    fields["exclusive"] = event.exclusive
    fields["lease_seconds"] = event.lease_seconds
    fields["tags"] = event.tags
    fields["params"] = event.params
    fields["correlation_id"] = event.correlation_id
    fields["contradicted"] = False
    fields["version"] = version
    fields["position"] = position
    return fields


def advance(fields: Fields, event: RunEvent, version: int, position: int, at: Any) -> None:
    """Bring the fields to what they are after one more event, the next of the run. `at` as for `begin`."""
    fields["version"] = version
    fields["position"] = position
    if event.LEADS_TO is not None:
        fields["status"] = event.LEADS_TO
    match event:
        case RunStarted():
            fields["started_at"] = fields["last_seen_at"] = at
            fields["owner"] = event.owner
        case RunProgressed():
            fields["progress_current"] = event.current
            if event.total is not None:
                fields["progress_total"] = event.total
            if event.step is not None:
                fields["current_step"] = event.step
            fields["last_seen_at"] = at
        case CancellationRequested():
            fields["cancel_requested_at"] = at
        case RunCompleted():
            _last_word(fields, at)
            fields["result"] = event.result
            fields["note"] = event.note
        case RunFailed():
            _last_word(fields, at)
            fields["error_type"] = event.error.type
            fields["error_message"] = event.error.message
            fields["exit_code"] = event.exit_code
            fields["note"] = event.note
        case RunCancelled():
            _last_word(fields, at)
        case RunLost():
            fields["finished_at"] = at
            fields["status_update_failed"] = True
            fields["error_type"] = "RunLost"
            detail = f"declared lost ({event.flag}): {event.evidence.detail}"
            fields["error_message"] = detail.rstrip(": ")
        case OutcomeContradicted():
            fields["contradicted"] = True
        case _:  # nothing else changes the view
            pass


def _last_word(fields: Fields, at: Any) -> None:
    """What every real outcome sets; it also takes back what a verdict said."""
    fields["finished_at"] = fields["last_seen_at"] = at
    fields["status_update_failed"] = False
    fields["error_type"] = fields["error_message"] = None


def view_from(fields: Fields) -> RunView:
    """The view with these fields: all of them, each known to be right; a tenth of the cost of validating them again.

    >>> view = RunView(run_id=1, name="a", status="pending", created_at="2026-02-05T00:00Z", lease_seconds=60, tags={}, params={},
    ...     version=1, position=1)
    >>> view_from(dict(view)) == view
    True
    """
    view = _new(RunView)
    _put_fields(view, fields)
    _put_set(view, _SET)
    _put_extra(view, None)
    _put_private(view, None)
    return view


def fold_view(events: Iterable[RecordedEvent]) -> RunView | None:
    """The view after all of a run's events, in order; None for a run without events."""
    view: RunView | None = None
    for recorded in events:
        view = apply(view, recorded)
    return view
