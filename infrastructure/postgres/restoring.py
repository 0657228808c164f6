"""Taking over the log of another store as it lies there, in one transaction."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from ...domain.errors import InvalidInput, StoreUnavailable
from ...domain.values import from_micros, to_micros
from ...projections.ports import Copied, Lease, StoredRow
from ..mapper import EVENT_COLUMNS
from .appending import take
from .connections import Connections
from .links import Link
from .rows import maybe_in, text_in, text_out

_BEAT = """
INSERT INTO leases (owner, host, pid, renewed_at) VALUES (?, ?, ?, ?)
ON CONFLICT (owner) DO UPDATE SET renewed_at = greatest(leases.renewed_at, excluded.renewed_at)
"""
_NO_ROWS = "0"
"""In place of the version of the fold: the rows are computed before anybody reads them."""
_PATIENCE_SECONDS = 24 * 3600.0
_TEXTS = tuple(EVENT_COLUMNS.index(column) for column in ("actor", "correlation_id"))


def leases(connections: Connections) -> list[Lease]:
    """See `RunStore.leases`."""
    rows = connections.fetch("SELECT owner, host, pid, renewed_at FROM leases ORDER BY owner")
    return [
        Lease(text_out(owner), text_out(host), pid, from_micros(beat))
        for owner, host, pid, beat in rows
    ]


def restore(connections: Connections, copied: Copied) -> int:
    """See `RunStore.restore`."""
    taken, newest, latest = 0, copied.after, 0
    schema = f'"{connections.address.schema}"'
    with connections.separate(patience=_PATIENCE_SECONDS) as link, link.transaction():
        take(link, connections, 1, 0)  # before anything is written, as everybody does
        link.execute(f"LOCK TABLE {schema}.runs, {schema}.events IN EXCLUSIVE MODE".encode())
        row = link.execute(
            connections.sql("SELECT coalesce(max(position), 0) FROM events")
        ).fetchone()
        found = row[0] if row else 0
        if found != copied.after:
            raise StoreUnavailable(
                f"{connections.url}: expected position {copied.after} as the newest, found {found}: somebody has written"
                " meanwhile; nothing was copied: stop who writes there, and try again",
                transient=False,
            )
        columns = ", ".join(EVENT_COLUMNS)
        statement = f"COPY {schema}.events ({columns}) FROM STDIN".encode()
        with link.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in copied.log:
                for event in batch:
                    copy.write_row(_checked(event))
                    newest, latest = event[0], max(latest, event[7] or 0)
                taken += len(batch)
        for lease in copied.leases:
            beat = (
                text_in(lease.owner),
                text_in(lease.host),
                lease.pid,
                to_micros(lease.renewed_at),
            )
            link.execute(connections.sql(_BEAT), beat)
        meta = connections.sql("UPDATE meta SET value = ? WHERE key = ?")
        link.execute(meta, (copied.store_id, "store_id"))
        if taken:
            link.execute(meta, (_NO_ROWS, "projection"))
            _go_on_behind(connections, link, newest, latest)
    return taken


def _go_on_behind(connections: Connections, link: Link, newest: int, latest: int) -> None:
    """Positions and times that are given out next lie behind what was taken over."""
    for name, value in (("positions", newest), ("moments", latest)):
        sequence = f'"{connections.address.schema}".{name}'
        row = link.execute(f"SELECT last_value FROM {sequence}".encode()).fetchone()
        if row is not None and row[0] < value:
            link.execute(b"SELECT setval(%s::regclass, %s)", (sequence, value))


def _checked(event: StoredRow) -> list[object]:
    """As it is written. Raises `InvalidInput` for what cannot be held as it is."""
    values = list(event)
    for column in _TEXTS:
        values[column] = maybe_in(values[column])
    for value in values:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidInput(
                    f"position {event[0]}: expected text in UTF-8, found {value!r:.60}; PostgreSQL cannot hold it as it is"
                ) from None
    if not isinstance(values[4], bytes):
        raise InvalidInput(
            f"position {event[0]}: expected the bytes of an event, found {values[4]!r:.60}; PostgreSQL cannot hold it as it is"
        )
    return values
