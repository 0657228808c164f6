"""What can be asked of a run.

A command carries `now`, the moment it was asked at; rules never read a clock. Commands check their own fields when
they are made (`InvalidInput`), so that `decide` only has to look at the run.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from math import isfinite
from types import UnionType
from typing import TypeAlias, cast

from pydantic import JsonValue

from .errors import InvalidInput
from .events import DEFAULT_LEASE_SECONDS, Evidence
from .leaves import Leaves
from .records import record
from .status import FlagReason
from .values import (
    MAX_PAYLOAD_BYTES,
    ErrorInfo,
    Owner,
    RunId,
    json_of,
    name_of,
    run_key,
    shown,
    tags_of,
    text_of,
    utc,
)


@record(kw_only=True)
class CreateRun:
    """Make a run exist. Asking again with the same name and params changes nothing.

    >>> CreateRun(name="import", params={"folder": "in"}).attempt
    1
    """

    name: str
    params: dict[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    actor: str | None = None
    correlation_id: str | None = None
    parent_id: RunId | None = None
    attempt: int = 1
    retry_of: RunId | None = None
    exclusive: str | None = None
    deadline_at: datetime | None = None
    lease_seconds: float = DEFAULT_LEASE_SECONDS
    payload_limit: int = MAX_PAYLOAD_BYTES
    now: datetime | None = None

    def __post_init__(self) -> None:
        name_of(self.name)
        params = self.params
        if not isinstance(params, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise InvalidInput(f"params: expected a dict, found {type(params).__name__}")
        object.__setattr__(self, "params", json_of(params, "params", self.payload_limit))
        object.__setattr__(self, "tags", tags_of(self.tags))
        if self.actor is not None:
            name_of(self.actor, "actor")
        if self.correlation_id is not None:
            name_of(self.correlation_id, "correlation_id")
        if self.exclusive is not None:
            name_of(self.exclusive, "exclusive")
        if self.parent_id is not None:
            run_key(self.parent_id)
        if self.retry_of is not None:
            run_key(self.retry_of)
        if not _is_number(self.attempt, int) or self.attempt < 1:
            raise InvalidInput(f"attempt: expected 1 or more, found {shown(self.attempt)}")
        if not _is_number(self.lease_seconds, int | float) or self.lease_seconds <= 0:
            raise InvalidInput(
                f"lease: expected a positive number of seconds, found {shown(self.lease_seconds)}"
            )
        if self.deadline_at is not None:
            object.__setattr__(self, "deadline_at", utc(self.deadline_at, "deadline"))


@record(kw_only=True)
class StartRun:
    """An owner begins the work."""

    owner: Owner
    now: datetime | None = None


@record(kw_only=True)
class RecordProgress:
    """The work got further."""

    current: float | int
    total: float | int | None = None
    step: str | None = None
    message: str | None = None
    now: datetime | None = None

    def __post_init__(self) -> None:
        for what, value in (("current", self.current), ("total", self.total)):
            if value is None and what == "total":
                continue
            if not _is_number(value, int | float):
                raise InvalidInput(
                    f"progress: expected a finite number for {what}, found {shown(value)}"
                )
        for what, text in (("step", self.step), ("message", self.message)):
            if text is not None:
                text_of(text, what)


@record(kw_only=True)
class RequestCancellation:
    """Ask the work to stop."""

    reason: str | None = None
    actor: str | None = None
    now: datetime | None = None

    def __post_init__(self) -> None:
        _check_reason(self.reason, self.actor)


@record(kw_only=True)
class CompleteRun:
    """The work succeeded. `result` has been through `json_of`; `note` says what had to be left out."""

    result: JsonValue = None
    note: str | None = None
    now: datetime | None = None


@record(kw_only=True)
class FailRun:
    """The work ended with an error, or could not begin."""

    error: ErrorInfo
    exit_code: int | None = None
    signal: str | None = None
    note: str | None = None
    now: datetime | None = None


@record(kw_only=True)
class CancelRun:
    """The work stopped because somebody asked for it."""

    reason: str | None = None
    actor: str | None = None
    now: datetime | None = None

    def __post_init__(self) -> None:
        _check_reason(self.reason, self.actor)


@record(kw_only=True)
class DeclareLost:
    """The tracker gives the run up; see `RunLost`."""

    flag: FlagReason
    evidence: Evidence = field(default_factory=Evidence)
    now: datetime | None = None


@record(kw_only=True)
class EraseRun:
    """What people wrote into the run's events is to be replaced; `leaves` are those of the events that this changes."""

    reason: str | None = None
    actor: str | None = None
    store_id: str | None = None
    leaves: Leaves = field(default_factory=Leaves)
    now: datetime | None = None

    def __post_init__(self) -> None:
        _check_reason(self.reason, self.actor)


Command: TypeAlias = (
    CreateRun
    | StartRun
    | RecordProgress
    | RequestCancellation
    | CompleteRun
    | FailRun
    | CancelRun
    | DeclareLost
    | EraseRun
)
"""Any command."""


def _is_number(value: object, kind: type[int] | UnionType) -> bool:
    """Whether it is a number that JSON and a float can hold: no bool, NaN, infinity, or 400 digits."""
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    try:
        return isfinite(cast("float", value))
    except OverflowError:
        return False


def _check_reason(reason: str | None, actor: str | None) -> None:
    if reason is not None:
        text_of(reason, "reason")
    if actor is not None:
        name_of(actor, "actor")
