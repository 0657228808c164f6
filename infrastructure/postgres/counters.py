"""How many runs have each status, without a row that all writers would wait for.

Each step notes with its last event how it moves the counters. `status_counts` holds their sums up to a position (`counted` in `meta`); what
came since is added when somebody asks, and is put into the table every few thousand events.
"""

from __future__ import annotations

from ...domain.status import RunStatus
from .connections import Connections
from .links import Link
from .rows import STATUSES

FOLDED = 4096
"""Positions after which the sums are brought up to date."""

_ASKED = """
SELECT status, runs, NULL FROM status_counts UNION ALL
SELECT NULL, count(*), moved FROM events
WHERE position > (SELECT value::bigint FROM meta WHERE key = 'counted') AND moved IS NOT NULL GROUP BY moved
"""
_MOVED = """
SELECT NULL, count(*), moved FROM events WHERE position > ? AND position <= ? AND moved IS NOT NULL GROUP BY moved
"""


def kept_counts(link: Link, connections: Connections) -> dict[str, int]:
    """The sums, by status; one that is not listed has no runs, or its row is gone."""
    rows = link.execute(connections.sql(_ASKED)).fetchall()
    counted = {status: runs for status, runs, moved in rows if moved is None}
    for status, runs in _moves([row for row in rows if row[2] is not None]).items():
        if status.value in counted:
            counted[status.value] += runs
    return counted


def counts(connections: Connections) -> dict[RunStatus, int]:
    """See `RunStore.counts`."""
    with connections.held() as link:
        counted = kept_counts(link, connections)
    return {status: counted.get(status.value, 0) for status in RunStatus}


def fold(connections: Connections) -> None:
    """Bring the sums up to date; nothing is done while somebody else is at it."""
    with connections.held() as link, link.transaction():
        row = link.execute(
            connections.sql(
                "SELECT value::bigint FROM meta WHERE key = 'counted' FOR UPDATE SKIP LOCKED"
            )
        ).fetchone()
        if row is not None:
            fold_up_to(link, connections, row[0], horizon(link, connections))


def horizon(link: Link, connections: Connections) -> int:
    """The position up to which everything that will ever be there can be seen."""
    row = link.execute(connections.sql("SELECT * FROM horizon()")).fetchone()
    return 0 if row is None else row[0]


def fold_up_to(link: Link, connections: Connections, counted: int, newest: int) -> None:
    """Add what was noted between two positions; the row `counted` is locked."""
    if newest <= counted:
        return
    rows = link.execute(connections.sql(_MOVED), (counted, newest)).fetchall()
    for status, runs in sorted(_moves(rows).items()):
        link.execute(
            connections.sql("UPDATE status_counts SET runs = runs + ? WHERE status = ?"),
            (runs, status.value),
        )
    link.execute(connections.sql("UPDATE meta SET value = ? WHERE key = 'counted'"), (str(newest),))


def _moves(rows: list[tuple[None, int, int]]) -> dict[RunStatus, int]:
    """From counted moves to what they change."""
    changed: dict[RunStatus, int] = {}
    for _, runs, moved in rows:
        old, new = divmod(moved, 10)
        if old:
            changed[STATUSES[old]] = changed.get(STATUSES[old], 0) - runs
        changed[STATUSES[new]] = changed.get(STATUSES[new], 0) + runs
    return changed
