"""Overwriting events, and leaving nothing of what they were in the tables."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from time import monotonic

from ...domain.errors import StoreCorrupt, VersionConflict
from ...domain.values import Owner, run_key, to_micros
from ...projections.ports import Rewrite
from ...projections.run_view import RunView, fold_view
from ..mapper import EventMapper, encode_event, recorded_event
from ..storing.columns import ROW_COLUMNS, SELECT_BARE_VIEW
from .appending import owner_row, take
from .archiving import delete_row, put_event
from .connections import Connections
from .links import Link
from .reading import run_events
from .rows import maybe_in, row_of, text_in

_REPLACE = """
UPDATE events SET state = ?, actor = ?, correlation_id = ? WHERE originator_id = ? AND originator_version = ?
"""
_INSERT = (
    f"INSERT INTO runs ({', '.join(ROW_COLUMNS)}) VALUES ({', '.join('?' * len(ROW_COLUMNS))})"
)

_READERS_SECONDS = 10.0


def rewrite(connections: Connections, rewrite: Rewrite, at: int | None) -> RunView:
    """See `RunStore.rewrite`."""
    key, expected = run_key(rewrite.run_id), rewrite.expected_version
    with connections.separate() as link, link.transaction():
        taken = take(link, connections, 1, at)
        row = link.execute(
            connections.sql(f"{SELECT_BARE_VIEW} WHERE r.run_key = ? FOR UPDATE OF r"), (key,)
        ).fetchone()
        versions = link.execute(
            connections.sql(
                "SELECT coalesce(max(originator_version), 0) FROM events WHERE originator_id = ?"
            ),
            (key,),
        ).fetchone()
        version = versions[0] if versions else 0
        if version != expected:
            raise VersionConflict(rewrite.run_id, expected, version)
        for changed in rewrite.changed:
            state = encode_event(changed.event)
            envelope = (maybe_in(changed.actor), maybe_in(changed.correlation_id))
            link.execute(connections.sql(_REPLACE), (state, *envelope, key, changed.version))
        stored = EventMapper().stored(
            rewrite.record, rewrite.run_id, expected + 1, rewrite.correlation_id
        )
        put_event(link, connections, stored, taken)
        view = fold_view(map(recorded_event, run_events(link, connections, key)))
        if row is None or view is None:
            raise StoreCorrupt(
                f"run {key}: expected a row for its events, found none; `lastword rebuild` computes all rows anew"
            )
        delete_row(link, connections, row[0])
        put_row(link, connections, row[0], view)
    return view


def put_row(link: Link, connections: Connections, number: int, view: RunView) -> None:
    """Write the row and the tags of a view."""

    def owner_id(owner: Owner) -> int:
        return owner_row(connections, owner)

    link.execute(connections.sql(_INSERT), row_of(view.__dict__, number, owner_id))
    created_at = to_micros(view.created_at)
    for key, value in view.tags.items():
        link.execute(
            connections.sql(
                "INSERT INTO run_tags (key, value, created_at, number) VALUES (?, ?, ?, ?)"
            ),
            (text_in(key), text_in(value), created_at, number),
        )


_READERS = b"""
SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL)
    AND backend_xmin IS NOT NULL AND age(backend_xmin) >= age((%s::text)::xid)
"""
"""Sessions that may still see what was there before a transaction, standbys with feedback among them."""


def compact(connections: Connections, *, whole: bool) -> bool:
    """See `RunStore.compact`. Those who read an earlier state are waited for, ten seconds at the most.

    What was overwritten lies in the tables until it is vacuumed; a session that reads an earlier state keeps it. Whether the server's own
    log and its backups still hold it is beyond a store's reach.
    """
    kind = "FULL, ANALYZE" if whole else "ANALYZE"
    skipped: list[str | None] = []
    with connections.separate(patience=24 * 3600.0) as link:
        ours = link.execute(b"SELECT pg_current_xact_id()::xid::text").fetchone()
        until = monotonic() + _READERS_SECONDS
        while (readers := link.execute(_READERS, ours).fetchone()) != (0,):
            if monotonic() > until:
                break
            link.execute(b"SELECT pg_sleep(0.05)")
        # Who may not vacuum a table is warned, and the table is left as it is.
        link.add_notice_handler(lambda notice: skipped.append(notice.message_primary))
        for table in ("events", "runs", "run_tags"):
            link.execute(f'VACUUM ({kind}) "{connections.address.schema}".{table}'.encode())
    return readers == (0,) and not skipped
