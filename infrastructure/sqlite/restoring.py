"""Taking over the log of another store as it lies there, in one transaction."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from ...domain.errors import StoreUnavailable
from ...domain.values import from_micros, to_micros
from ...projections.ports import Copied, Lease
from ..mapper import EVENT_COLUMNS
from .datastore import ThreadDatastore

_PUT = f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))})"
_BEAT = """
INSERT INTO leases (owner, host, pid, renewed_at) VALUES (?, ?, ?, ?)
ON CONFLICT (owner) DO UPDATE SET renewed_at = max(renewed_at, excluded.renewed_at)
"""
_NO_ROWS = 0
"""In place of the version of the fold: the rows are computed before anybody reads them."""


def leases(datastore: ThreadDatastore) -> list[Lease]:
    """See `RunStore.leases`."""
    rows = datastore.fetch("SELECT owner, host, pid, renewed_at FROM leases ORDER BY owner")
    return [Lease(owner, host, pid, from_micros(beat)) for owner, host, pid, beat in rows]


def restore(datastore: ThreadDatastore, copied: Copied) -> int:
    """See `RunStore.restore`."""
    taken = 0
    transaction = datastore.transaction(commit=True)
    with transaction as cursor:
        raw = cursor.sqlite_cursor
        (newest,) = raw.execute("SELECT ifnull(max(position), 0) FROM events").fetchone()
        if newest != copied.after:
            raise StoreUnavailable(
                f"{datastore.url}: expected position {copied.after} as the newest, found {newest}: somebody has written"
                " meanwhile; nothing was copied: stop who writes there, and try again",
                transient=False,
            )
        for batch in copied.log:
            raw.executemany(_PUT, batch)
            taken += len(batch)
        raw.executemany(
            _BEAT, [(*lease[:3], to_micros(lease.renewed_at)) for lease in copied.leases]
        )
        raw.execute("REPLACE INTO meta VALUES ('store_id', ?)", (copied.store_id,))
        if taken:
            raw.execute("REPLACE INTO meta VALUES ('projection', ?)", (_NO_ROWS,))
    transaction.link.newest = -1
    datastore.bell.ring()
    return taken
