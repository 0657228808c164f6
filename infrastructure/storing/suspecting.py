"""Which active runs could be flagged, as conditions on their rows: the others need not be read, and `flag_of` judges only these.

Who owns running runs is asked first. Owners are few and runs are many: an owner that beats, and has no run past its deadline, clears all of
its runs at once. What is left is told apart by what stands in the row itself. Every condition is wider than the rule, never narrower.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from ...domain.status import RunStatus
from ...domain.values import EPOCH, to_micros
from ...projections.flags import Suspicion
from ...projections.queries import Cursor
from .rows import owner_from

_MANY = 500
"""Owners that are named in a statement at the most. With more of them, no owner clears its runs."""
_SLACK = 1e-3
"""Seconds by which an end of a lease may be off here: it is computed in floating point."""

_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = -(1 << 63)

Condition = tuple[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Suspects:
    """The conditions, by status; a status that is not there has no run to suspect."""

    conditions: Mapping[RunStatus, Condition]

    @property
    def statuses(self) -> frozenset[RunStatus]:
        """Of runs that could be flagged."""
        return frozenset(self.conditions)


def at_work(
    suspicion: Suspicion, after: Cursor | None = None, down_to: Cursor | None = None
) -> Condition:
    """Rows for `suspects_of`: each owner of running runs with every lease of them, whether one is past its deadline, and the last beat.

    Between two places in the order of pages, and those that were created in the same microsecond as these.
    """
    bounds = (" AND created_at <= ?", after), (" AND created_at >= ?", down_to)
    given = [(condition, place) for condition, place in bounds if place is not None]
    statement = f"""
    SELECT w.owner, o.owner, w.lease_seconds, w.late, l.renewed_at
    FROM (SELECT DISTINCT owner, lease_seconds, deadline_at < ? AS late FROM runs
        WHERE status = 'running'{"".join(condition for condition, _ in given)}) AS w
    LEFT JOIN owners o ON o.id = w.owner LEFT JOIN leases l ON l.owner = o.key
    """  # values are bound
    return statement, [to_micros(suspicion.now), *(place.created_at for _, place in given)]


def suspects_of(suspicion: Suspicion, rows: Iterable[Sequence[Any]]) -> Suspects:
    """What to look at, by what `at_work` found."""
    seconds = _seconds(suspicion)
    gone: dict[int, bool] = {}
    doubtful: set[int] = set()
    late = nobody = False
    for number, text, lease, overdue, renewed_at in rows:
        late = late or bool(overdue)
        if number is None:
            nobody = True
            continue
        if number not in gone:
            gone[number] = text is not None and _gone(suspicion, text)
        if not _beats(renewed_at, lease, seconds):
            doubtful.add(number)
    conditions = {RunStatus.PENDING: _waiting(suspicion)}
    dead = {number for number, is_gone in gone.items() if is_gone}
    if dead or doubtful or late or nobody:
        conditions[RunStatus.RUNNING] = _running(suspicion, dead, doubtful - dead)
    return Suspects(conditions)


def _gone(suspicion: Suspicion, text: str) -> bool:
    """Whether the owner is; so is a text that is no owner: somebody has to read the row and say so."""
    try:
        return suspicion.gone(owner_from(text))
    except (ValidationError, TypeError, ValueError, OverflowError):
        return True


def _beats(renewed_at: Any, lease: Any, seconds: float) -> bool:
    """Whether the owner's last beat clears a run with such a lease. A value that is no number clears nothing."""
    try:
        return (renewed_at or 0) / 1e6 + lease >= seconds
    except (TypeError, OverflowError):
        return False


def _waiting(suspicion: Suspicion) -> Condition:
    """Of pending runs."""
    if suspicion.start_timeout is None:
        return "deadline_at < ?", [to_micros(suspicion.now)]
    waited = (suspicion.now - EPOCH - suspicion.start_timeout) // _MICROSECOND
    waited = max(waited, _EARLIEST)  # a store cannot hold more
    return "(deadline_at < ? OR created_at < ?)", [to_micros(suspicion.now), waited]


def _running(suspicion: Suspicion, gone: set[int], doubtful: set[int]) -> Condition:
    """Of running runs."""
    silent = "coalesce(last_seen_at, 0) / 1e6 + lease_seconds < ?"
    seconds = _seconds(suspicion)
    conditions: list[str] = ["deadline_at < ?"]
    values: list[Any] = [to_micros(suspicion.now)]
    if len(gone) + len(doubtful) > _MANY:
        if gone:
            return "1 = 1", []
        conditions.append(silent)
        values.append(seconds)
    else:
        if gone:
            conditions.append(f"owner IN ({_places(gone)})")
            values += sorted(gone)
        among = f"owner IN ({_places(doubtful)})" if doubtful else "1 = 0"
        conditions.append(f"(owner IS NULL OR {among}) AND {silent}")
        values += [*sorted(doubtful), seconds]
    return f"({' OR '.join(conditions)})", values


def _places(owners: set[int]) -> str:
    return ", ".join("?" * len(owners))


def _seconds(suspicion: Suspicion) -> float:
    """A lease that ends before this has run out."""
    return to_micros(suspicion.now) / 1e6 + _SLACK
