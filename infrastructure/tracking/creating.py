"""From what a caller says of a new run to the command that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import uuid_utils
from pydantic import JsonValue

from ...domain.commands import CreateRun
from ...domain.errors import InvalidInput
from ...domain.values import RunId

if TYPE_CHECKING:
    from ..settings import Settings


def creation(
    settings: Settings,
    now: datetime,
    name: str,
    *,
    run_id: RunId | None = None,
    params: Mapping[str, JsonValue] | None = None,
    tags: Mapping[str, str] | None = None,
    actor: str | None = None,
    correlation_id: str | None = None,
    parent_id: RunId | None = None,
    attempt: int = 1,
    retry_of: RunId | None = None,
    exclusive: str | None = None,
    deadline: timedelta | None = None,
    lease: timedelta | None = None,
) -> tuple[RunId, CreateRun]:
    """The run's id, a fresh UUIDv7 when none is given, and the command; see `RunTracker.create`. Raises `InvalidInput`."""
    for what, span in (("deadline", deadline), ("lease", lease)):
        if span is not None and (not isinstance(span, timedelta) or span <= timedelta(0)):
            raise InvalidInput(f"{what}: expected a positive timedelta, found {span!r:.60}")
    try:
        deadline_at = None if deadline is None else now + deadline
    except OverflowError:
        raise InvalidInput(
            f"deadline: expected a time before the year 10000, found {deadline} from now; leave it out for none"
        ) from None
    command = CreateRun(
        name=name,
        params=_mapping(params, "params"),
        tags=_mapping(tags, "tags"),
        actor=actor,
        correlation_id=correlation_id,
        parent_id=parent_id,
        attempt=attempt,
        retry_of=retry_of,
        exclusive=exclusive,
        deadline_at=deadline_at,
        lease_seconds=settings.lease if lease is None else lease.total_seconds(),
        payload_limit=settings.payload_limit,
        now=now,
    )
    return str(uuid_utils.uuid7()) if run_id is None else run_id, command


def _mapping(value: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{what}: expected a mapping, found {type(value).__name__}")
    return dict(value)
