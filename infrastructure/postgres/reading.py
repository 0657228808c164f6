"""Events of one run, and the store at an earlier moment."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ...domain.events import RecordedEvent
from ..mapper import EVENT_COLUMNS, recorded_event
from ..storing.past import PastReader
from .connections import Connections
from .counters import horizon
from .links import Link
from .rows import event_out, view_of

SELECT_EVENTS = f"SELECT {', '.join(EVENT_COLUMNS)} FROM events "
"""Rows for `event_of`."""


def event_of(row: Sequence[Any]) -> RecordedEvent:
    """The event in a row of `SELECT_EVENTS`. Raises `UnsupportedSchema`, `StoreCorrupt`."""
    return recorded_event(event_out(row))


def run_events(link: Link, connections: Connections, key: str) -> list[Sequence[Any]]:
    """A run's events in order of version, as they lie there."""
    statement = f"{SELECT_EVENTS} WHERE originator_id = ? ORDER BY originator_version"
    return list(map(event_out, link.execute(connections.sql(statement), (key,)).fetchall()))


@contextlib.contextmanager
def past_reader(connections: Connections) -> Iterator[PastReader]:
    """Looks at the past in one snapshot, up to where nothing is missing."""
    with connections.held() as link:
        newest = horizon(link, connections)
    with connections.snapshot() as link:

        def fetch(statement: str, values: Sequence[Any]) -> list[Any]:
            return link.execute(connections.sql(statement), values).fetchall()

        yield PastReader(fetch, view_of, event_of, newest)
