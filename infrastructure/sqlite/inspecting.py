"""What can be wrong in a file beside runs and their rows; see `storing.inspecting`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime

from pydantic_core import from_json

from ...domain.values import RunId
from ...projections.problems import Problem
from ..storing.inspecting import Inspection
from .datastore import ThreadDatastore
from .rows import id_of


def inspect(datastore: ThreadDatastore, now: datetime) -> list[Problem]:
    """See `RunStore.inspect`."""
    with datastore.transaction(commit=False) as cursor:
        raw = cursor.sqlite_cursor.connection
        return Inspection(
            raw.execute,
            lambda: dict(raw.execute("SELECT status, runs FROM status_counts").fetchall()),
            lambda: _unlisted(raw),
        ).problems(now)


def _unlisted(raw: sqlite3.Connection) -> Iterator[tuple[RunId, str, str]]:
    lookup = raw.cursor()
    rows = raw.execute(
        "SELECT number, run_key, int_id, created_at, tags FROM runs WHERE tags IS NOT NULL"
    )
    for number, key, int_id, created_at, text in rows:
        try:
            tags = from_json(text)
            run_id = id_of(key, int_id)
        except (TypeError, ValueError):
            continue  # reported as a row that cannot be read
        for name, value in tags.items():
            found = lookup.execute(
                "SELECT 1 FROM run_tags WHERE key = ? AND value = ? AND created_at = ? AND number = ?",
                (name, value, created_at, number),
            ).fetchone()
            if found is None:
                yield run_id, name, value
