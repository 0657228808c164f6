"""What can be wrong in the tables beside runs and their rows; see `storing.inspecting`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from pydantic_core import from_json

from ...domain.values import RunId
from ...projections.problems import Problem
from ..storing.inspecting import Inspection
from ..storing.rows import id_of
from .connections import Connections
from .counters import kept_counts
from .links import Link
from .rows import text_in, text_out
from .scanning import streamed

# One pass over both: a look-up for each tag would be a round trip.
_TAGGED = """
SELECT r.run_key, r.int_id, r.tags, (
    SELECT array_agg(t.key || chr(1) || t.value) FROM run_tags t WHERE t.number = r.number AND t.created_at = r.created_at
) FROM runs r WHERE r.tags IS NOT NULL
"""


def inspect(connections: Connections, now: datetime) -> list[Problem]:
    """See `RunStore.inspect`."""
    with connections.snapshot() as link:
        return Inspection(
            lambda statement: map(_plain, streamed(link, connections.sql(statement))),
            lambda: kept_counts(link, connections),
            lambda: _unlisted(link, connections),
        ).problems(now)


def _plain(row: Sequence[object]) -> list[object]:
    """With its texts as they were before they were written."""
    return [text_out(value) if isinstance(value, str) else value for value in row]


def _unlisted(link: Link, connections: Connections) -> Iterator[tuple[RunId, str, str]]:
    for key, int_id, text, listed in streamed(link, connections.sql(_TAGGED)):
        try:
            tags = from_json(text)
            run_id = id_of(key, int_id)
        except (TypeError, ValueError):
            continue  # reported as a row that cannot be read
        known = set(listed or ())
        for name, value in tags.items():
            if f"{text_in(name)}\x01{text_in(value)}" not in known:
                yield run_id, name, value
