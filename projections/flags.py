"""Suspicion: does an active run look as if it will never reach a terminal event?

A flag is a question asked of a view, a lease and a clock; it is never stored. Only a sweep turns it into a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from ..domain.events import Evidence
from ..domain.records import record
from ..domain.status import FlagReason, RunStatus
from ..domain.values import Owner, Utc

if TYPE_CHECKING:
    from .run_view import RunView


_LONGEST_LEASE_SECONDS = 1e13
"""A timedelta holds little more; who asks for `timedelta.max` wants a lease that never ends."""


_END = datetime.max.replace(tzinfo=UTC)


class Flag(BaseModel):
    """Why a run is suspected, since when, and what speaks for it.

    >>> from datetime import UTC
    >>> Flag(reason=FlagReason.OVERDUE, since=datetime(2026, 1, 1, tzinfo=UTC), detail="past its deadline").reason
    <FlagReason.OVERDUE: 'overdue'>
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    reason: FlagReason
    since: Utc
    """From when on the reason held."""
    detail: str
    """The reason in words."""


@record()
class Liveness:
    """What is known of a run's owner at the moment of asking."""

    owner_alive: bool | None = None
    """Whether the owning process exists; None when it cannot be told from here (another host, no owner)."""
    start_timeout: timedelta | None = None
    """How long a run may be pending; None: as long as it likes."""
    outages: tuple[tuple[datetime, datetime], ...] = ()
    """When the store could not be reached, as (from, to), without overlaps: no owner could renew its lease then."""


@record()
class Suspicion:
    """What a store is told so that it need not give all active runs to `flag_of`.

    A run that it leaves out has no flag; a run that it gives may have none, either. What it does not know, outages, only makes flags fewer.
    """

    now: datetime
    gone: Callable[[Owner], bool]
    """Whether the owning process is known not to exist any more."""
    start_timeout: timedelta | None = None
    """As in `Liveness`."""


def flag_of(view: RunView, now: datetime, liveness: Liveness | None = None) -> Flag | None:
    """The gravest flag of the run at `now`; None for a run that is fine or has had its last word.

    `view.last_seen_at` counts as the last sign of life; a running run that never beat counts from its start.
    """
    liveness = liveness or Liveness()
    match view.status:
        case RunStatus.PENDING:
            return _overdue(view, now) or _never_started(view, now, liveness.start_timeout)
        case RunStatus.RUNNING:
            return (
                _owner_gone(view, liveness.owner_alive)
                or _silent(view, now, liveness.outages)
                or _overdue(view, now)
            )
        case RunStatus.COMPLETED | RunStatus.FAILED | RunStatus.CANCELLED:
            return None


def evidence_of(view: RunView, flag: Flag) -> Evidence:
    """What a verdict on this flag rests on."""
    return Evidence(
        detail=flag.detail,
        since=flag.since,
        last_seen_at=view.last_seen_at,
        lease_seconds=view.lease_seconds,
        deadline_at=view.deadline_at,
        owner=view.owner,
    )


def _owner_gone(view: RunView, owner_alive: bool | None) -> Flag | None:
    if owner_alive is not False or view.owner is None:
        return None
    return Flag(
        reason=FlagReason.OWNER_GONE,
        since=_last_sign(view),
        detail=f"its process, pid {view.owner.pid} on {view.owner.host}, does not exist any more",
    )


def _silent(
    view: RunView, now: datetime, outages: tuple[tuple[datetime, datetime], ...]
) -> Flag | None:
    seen, seconds = _last_sign(view), view.lease_seconds
    if now - seen <= _lease(seconds):  # most are; outages could only make it longer
        return None
    owner = view.owner
    who = "its owner" if owner is None else f"pid {owner.pid} on {owner.host}"
    return _silence(who, seen, seconds, now, outages)


@lru_cache(maxsize=64)
def _silence(
    who: str,
    seen: datetime,
    lease_seconds: float,
    now: datetime,
    outages: tuple[tuple[datetime, datetime], ...],
) -> Flag | None:
    """The flag of all runs whose owner was last heard of at one moment: they share its lease, and one question asks for many of them."""
    lease = _lease(lease_seconds)
    expires = _expiry(seen, lease, outages)
    if now <= expires:
        return None
    excused = expires - seen - lease
    away = f" (the store was away for {_seconds(excused)} of it)" if excused else ""
    return Flag(
        reason=FlagReason.SILENT,
        since=expires,
        detail=f"{who} was last heard of {_seconds(now - seen)} ago{away}; its lease is {_seconds(lease)}",
    )


@lru_cache(maxsize=64)
def _lease(seconds: float) -> timedelta:
    return timedelta(seconds=min(_LONGEST_LEASE_SECONDS, seconds))


def _expiry(
    seen: datetime, lease: timedelta, outages: tuple[tuple[datetime, datetime], ...]
) -> datetime:
    """When a lease that was renewed at `seen` runs out; the clock of the lease stands still in an outage."""
    expires = seen + lease  # it has passed, so it is never too late to be a moment
    for since, until in sorted(outages):
        if since > expires:
            break
        away = max(timedelta(0), until - max(since, seen))
        expires += min(away, _END - expires)
    return expires


def _overdue(view: RunView, now: datetime) -> Flag | None:
    if view.deadline_at is None or now <= view.deadline_at:
        return None
    return Flag(
        reason=FlagReason.OVERDUE,
        since=view.deadline_at,
        detail=f"its deadline passed {_seconds(now - view.deadline_at)} ago",
    )


def _never_started(view: RunView, now: datetime, timeout: timedelta | None) -> Flag | None:
    if timeout is None or now - view.created_at <= timeout:
        return None
    return Flag(
        reason=FlagReason.NEVER_STARTED,
        since=view.created_at + timeout,
        detail=f"created {_seconds(now - view.created_at)} ago and never started; the start timeout is {_seconds(timeout)}",
    )


def _last_sign(view: RunView) -> datetime:
    return view.last_seen_at or view.started_at or view.created_at


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():,.0f} s"
