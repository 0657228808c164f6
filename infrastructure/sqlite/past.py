"""The store at an earlier moment; see `storing.past`."""

from __future__ import annotations

import sqlite3

from ...projections.ports import Past
from ..mapper import recorded_event
from ..storing.past import PastReader
from .datastore import ThreadDatastore
from .rows import view_of


def position_at(raw: sqlite3.Cursor, moment: int) -> int:
    """The newest position that was recorded at or before the moment, in microseconds; 0 when there is none."""
    return _reader(raw).position_at(moment)


def past(datastore: ThreadDatastore, moment: int, *, occurred: bool) -> Past:
    """See `RunStore.past`. The moment is in microseconds since 1970."""
    with datastore.transaction(commit=False) as cursor:
        return _reader(cursor.sqlite_cursor).past(moment, occurred=occurred)


def _reader(raw: sqlite3.Cursor) -> PastReader:
    return PastReader(
        lambda statement, values: raw.execute(statement, values).fetchall(),
        view_of,
        recorded_event,
    )
