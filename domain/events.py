"""The event catalogue: everything that can have happened to a run.

An event holds the facts and nothing around them. Which run, when, and in which place of the history is the
envelope's business (`RecordedEvent`). Every class has a stored name (`TOPIC`) that never changes, also when the class
moves, and a `SCHEMA_VERSION` that grows with every change of shape (older shapes are lifted in `versioning`).
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SerializeAsAny

from .leaves import Leaves
from .status import FlagReason, RunStatus
from .values import ErrorInfo, Owner, RunId, Utc

DEFAULT_LEASE_SECONDS = 60.0
"""How long an owner may be silent when nobody said otherwise."""


class RunEvent(BaseModel):
    """Base of all events. Fields that a newer release wrote are kept, so that they survive a read and an export."""

    model_config = ConfigDict(
        frozen=True, extra="allow", ser_json_inf_nan="constants", defer_build=True
    )

    TOPIC: ClassVar[str]
    """The stored name."""
    SCHEMA_VERSION: ClassVar[int] = 1
    """The version of this class's shape."""
    LEADS_TO: ClassVar[RunStatus | None] = None
    """The status of the run after this event; None where the status stays."""


E = TypeVar("E", bound=RunEvent)
_set = object.__setattr__  # the models are frozen


def event_from(kind: type[E], fields: dict[str, Any]) -> E:
    """The event with these fields: all of its class, each known to be right and of the very type; a fraction of the cost of validating them.

    >>> event_from(RunCancelled, {"reason": "user", "actor": None}) == RunCancelled(reason="user")
    True
    """
    event = kind.__new__(kind)
    _set(event, "__dict__", fields)
    _set(event, "__pydantic_fields_set__", set(fields))
    _set(event, "__pydantic_extra__", {})
    _set(event, "__pydantic_private__", None)
    return event


class RunCreated(RunEvent):
    """A run exists. From here on somebody expects a last word."""

    TOPIC: ClassVar[str] = "RunCreated"
    LEADS_TO: ClassVar[RunStatus | None] = RunStatus.PENDING

    name: str
    """What is run, e.g. ``import``; many runs share a name."""
    params: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """What the run was asked to do."""
    tags: dict[str, str] = Field(default_factory=dict[str, str])
    """Labels to find it by."""
    actor: str | None = None
    """Who or what asked for it; None when nobody said."""
    correlation_id: str | None = None
    """Ties the run to a request or a trace elsewhere."""
    parent_id: RunId | None = None
    """The run inside which this one was begun."""
    attempt: int = 1
    """1 for the first try."""
    retry_of: RunId | None = None
    """The run that this one tries again."""
    exclusive: str | None = None
    """At most one active run holds this key."""
    deadline_at: Utc | None = None
    """When the run should have had its last word; None: no such moment."""
    lease_seconds: float = DEFAULT_LEASE_SECONDS
    """How long its owner may be silent."""


class RunStarted(RunEvent):
    """An owner began the work."""

    TOPIC: ClassVar[str] = "RunStarted"
    LEADS_TO: ClassVar[RunStatus | None] = RunStatus.RUNNING

    owner: Owner
    """The process that does the work."""


class RunProgressed(RunEvent):
    """The work got further. Not every report is stored: at most one a second, and always the last."""

    TOPIC: ClassVar[str] = "RunProgressed"

    current: float | int
    """How much is done, in the caller's unit."""
    total: float | int | None = None
    """How much there is to do; None when nobody knows."""
    step: str | None = None
    """What is being done; None: the step before goes on."""
    message: str | None = None
    """A note for people."""


class CancellationRequested(RunEvent):
    """Somebody wants the run to stop. The work decides when it notices."""

    TOPIC: ClassVar[str] = "CancellationRequested"

    reason: str | None = None
    actor: str | None = None


class RunCompleted(RunEvent):
    """The last word: the work succeeded."""

    TOPIC: ClassVar[str] = "RunCompleted"
    LEADS_TO: ClassVar[RunStatus | None] = RunStatus.COMPLETED

    result: JsonValue = None
    """What the work gave back; None when nothing, or when `note` says it was left out."""
    note: str | None = None
    """What could not be recorded of the outcome, e.g. a result that is not JSON."""


class RunFailed(RunEvent):
    """The last word: the work ended with an error, or could not begin."""

    TOPIC: ClassVar[str] = "RunFailed"
    LEADS_TO: ClassVar[RunStatus | None] = RunStatus.FAILED

    error: ErrorInfo
    exit_code: int | None = None
    """Exit code of a command; None for a function, or when a signal ended it."""
    signal: str | None = None
    """Name of the signal that ended a command, e.g. ``SIGKILL``."""
    note: str | None = None
    """What could not be recorded of the outcome."""


class RunCancelled(RunEvent):
    """The last word: the work stopped because somebody asked for it."""

    TOPIC: ClassVar[str] = "RunCancelled"
    LEADS_TO: ClassVar[RunStatus | None] = RunStatus.CANCELLED

    reason: str | None = None
    actor: str | None = None


class Evidence(BaseModel):
    """What the verdict of a lost run rests on.

    >>> Evidence(detail="silent for 300 s", lease_seconds=60).lease_seconds
    60.0
    """

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    detail: str = ""
    """The flag's reason in words."""
    since: Utc | None = None
    """From when on the flag held."""
    last_seen_at: Utc | None = None
    """When the owner was last heard of."""
    lease_seconds: float | None = None
    deadline_at: Utc | None = None
    owner: Owner | None = None


class RunLost(RunEvent):
    """The tracker's own verdict: this run will not report. The real outcome, should it come, takes its place."""

    TOPIC: ClassVar[str] = "RunLost"
    LEADS_TO: ClassVar[RunStatus | None] = RunStatus.FAILED

    flag: FlagReason
    evidence: Evidence = Evidence.model_construct()


class OutcomeContradicted(RunEvent):
    """Somebody reported another outcome after the last word. Kept as evidence; it overwrites nothing."""

    TOPIC: ClassVar[str] = "OutcomeContradicted"

    claimed: RunStatus
    """The outcome that was reported too late."""
    detail: str | None = None


class RunErased(RunEvent):
    """What people wrote into the events of a finished run was replaced by placeholders; everything else is as it was."""

    TOPIC: ClassVar[str] = "RunErased"

    reason: str | None = None
    """Why; it stays readable, as the erasure itself is on record."""
    actor: str | None = None
    """Who did it; None when nobody said."""
    store_id: str | None = None
    """The store in which it was done; in any other the leaves below say nothing."""
    leaves: Leaves = Leaves.model_construct()
    """Of the events that were changed, as they were before; for seals."""


class RunsArchived(RunEvent):
    """Finished runs were written into a file and removed. Belongs to the store, not to a run."""

    TOPIC: ClassVar[str] = "RunsArchived"

    runs: int
    """How many."""
    file: str
    """Name of the file, without its folder."""
    fingerprint: str
    """SHA-256 of the lines of these runs in the file, in their order there; hexadecimal."""
    actor: str | None = None
    """Who did it; None when nobody said."""
    leaves: Leaves
    """Of the events that were removed; for seals."""


EVENT_TYPES: tuple[type[RunEvent], ...] = (
    RunCreated,
    RunStarted,
    RunProgressed,
    CancellationRequested,
    RunCompleted,
    RunFailed,
    RunCancelled,
    RunLost,
    OutcomeContradicted,
    RunErased,
)
"""Every class of events of a run, in the order of a life."""

STORE_EVENT_TYPES: tuple[type[RunEvent], ...] = (RunsArchived,)
"""Events of the store itself: they lie in the same log, under `STORE_KEY`."""

STORE_KEY = ""
"""Stands where other events have their run's id; no run can have it."""

TERMINAL_EVENTS = (RunCompleted, RunFailed, RunCancelled, RunLost)
"""The events that are a last word."""

TERMINAL_TOPICS: tuple[str, ...] = tuple(event.TOPIC for event in TERMINAL_EVENTS)

BY_TOPIC: dict[str, type[RunEvent]] = {
    event.TOPIC: event for event in (*EVENT_TYPES, *STORE_EVENT_TYPES)
}


class RecordedEvent(BaseModel):
    """An event with its envelope: where it stands in the history and in the store, and when it came there."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    run_id: RunId
    """In the type the run was created with; empty for an event of the store itself."""
    version: int
    """Its number in the run's history: 1, 2, 3, ... without gaps."""
    position: int
    """Its number in the order of the whole store; grows, and may have gaps."""
    event_id: str
    """Unique over all stores (32 hexadecimal digits); the same when an event is delivered twice."""
    event: SerializeAsAny[RunEvent]
    occurred_at: Utc
    """When it happened, by the clock of the process that reported it."""
    recorded_at: Utc
    """When the store took it; later than `occurred_at` for events that waited in a spool."""
    actor: str | None = None
    """Who caused it; None when nobody said."""
    correlation_id: str | None = None
    """The run's, on each of its events."""

    @property
    def type(self) -> str:
        """The stored name of the event, e.g. ``RunCompleted``."""
        return self.event.TOPIC

    @property
    def is_of_store(self) -> bool:
        """True for an event that belongs to the store itself and to no run."""
        return self.run_id == STORE_KEY

    def as_json(self) -> dict[str, Any]:
        """JSON-ready: the envelope's fields, with the event's name under ``type`` and its facts under ``event``."""
        return {
            "run_id": self.run_id,
            "version": self.version,
            "position": self.position,
            "event_id": self.event_id,
            "type": self.type,
            "schema_version": self.event.SCHEMA_VERSION,
            "event": self.event.model_dump(mode="json", exclude_none=True),
            "occurred_at": self.occurred_at.isoformat(),
            "recorded_at": self.recorded_at.isoformat(),
            "actor": self.actor,
            "correlation_id": self.correlation_id,
        }
