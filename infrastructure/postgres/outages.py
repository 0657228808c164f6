"""When the store could not be reached: a small table without overlaps."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...domain.values import from_micros, to_micros, utc
from .connections import Connections

_KEPT = timedelta(days=30)


def record_outage(connections: Connections, since: datetime, until: datetime) -> None:
    """See `RunStore.record_outage`; those that ended a month ago are dropped."""
    begin, end = to_micros(utc(since)), to_micros(utc(until))
    if end <= begin:
        return
    with connections.held() as link, link.transaction():
        # One after the other: two hosts that come back at once report the same outage.
        link.execute(connections.sql("SELECT value FROM meta WHERE key = 'store_id' FOR UPDATE"))
        overlapping = link.execute(
            connections.sql(
                "DELETE FROM outages WHERE since <= ? AND until >= ? RETURNING since, until"
            ),
            (end, begin),
        ).fetchall()
        begin = min([begin, *(row[0] for row in overlapping)])
        end = max([end, *(row[1] for row in overlapping)])
        link.execute(
            connections.sql("INSERT INTO outages (since, until) VALUES (?, ?)"), (begin, end)
        )
        oldest = end - _KEPT // timedelta(microseconds=1)
        link.execute(connections.sql("DELETE FROM outages WHERE until < ?"), (oldest,))


def outages(connections: Connections, since: datetime) -> list[tuple[datetime, datetime]]:
    """See `RunStore.outages`."""
    rows = connections.fetch(
        "SELECT since, until FROM outages WHERE until > ? ORDER BY since", (to_micros(utc(since)),)
    )
    return [(from_micros(begin), from_micros(end)) for begin, end in rows]
