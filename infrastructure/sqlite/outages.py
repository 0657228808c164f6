"""When the store could not be reached: a small table without overlaps."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...domain.values import from_micros, to_micros, utc
from .datastore import ThreadDatastore

_KEPT = timedelta(days=30)


def record_outage(datastore: ThreadDatastore, since: datetime, until: datetime) -> None:
    """See `RunStore.record_outage`; those that ended a month ago are dropped."""
    begin, end = to_micros(utc(since)), to_micros(utc(until))
    if end <= begin:
        return
    with datastore.transaction(commit=True) as cursor:
        cursor.execute(
            "SELECT min(since), max(until) FROM outages WHERE since <= ? AND until >= ?",
            (end, begin),
        )
        earliest, latest = cursor.fetchone()
        if earliest is not None:
            cursor.execute("DELETE FROM outages WHERE since <= ? AND until >= ?", (end, begin))
            begin, end = min(begin, earliest), max(end, latest)
        cursor.execute("INSERT INTO outages (since, until) VALUES (?, ?)", (begin, end))
        cursor.execute(
            "DELETE FROM outages WHERE until < ?", (end - _KEPT // timedelta(microseconds=1),)
        )


def outages(datastore: ThreadDatastore, since: datetime) -> list[tuple[datetime, datetime]]:
    """See `RunStore.outages`."""
    rows = datastore.fetch(
        "SELECT since, until FROM outages WHERE until > ? ORDER BY since", (to_micros(utc(since)),)
    )
    return [(from_micros(begin), from_micros(end)) for begin, end in rows]
