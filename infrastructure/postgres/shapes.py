"""The statements of a step: positions and time, the run's row, its events, its tags, in one.

There is one shape for each set of columns that change, so that a connection prepares it once. Each asks for as little as it can, as the
server's time goes into the parts of a plan more than into the rows: a step with one event needs no list of events, and the last part says
what happened.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..mapper import EVENT_COLUMNS

WRITTEN = tuple(column for column in EVENT_COLUMNS if column not in {"position", "recorded_at"})
"""The columns of an event that the caller knows."""

_TYPES = {
    "originator_id": "text",
    "originator_version": "bigint",
    "topic": "text",
    "state": "bytea",
    "event_id": "bytea",
    "occurred_at": "bigint",
    "actor": "text",
    "correlation_id": "text",
    "int_id": "smallint",
    "moved": "smallint",
}
_EVENT = (*WRITTEN, "moved")
_VALUES = ", ".join(f"?::{_TYPES[column]}" for column in _EVENT)
_INSERT = f"INSERT INTO events (position, {', '.join(_EVENT)}, recorded_at)"


class Shape(NamedTuple):
    """A statement that gives the first position and the time, or nothing when it wrote nothing."""

    alone: str
    """It takes its positions itself; two values say how many, and at what time."""
    grouped: str
    """The same transaction took them already; one value says how many of them are for this step and all behind it."""
    place: int
    """How many values come before those."""


_ALONE = "take(?::int, ?::bigint)"
_GROUPED = "(SELECT currval('positions') + 1 - ?::bigint AS base, currval('moments') AS recorded)"
"""Both are what this session got last; what others take meanwhile does not change them."""


@lru_cache(maxsize=256)
def creation(columns: tuple[str, ...], events: int, tags: int) -> Shape:
    """For a new run. Values: key, `int_id`, the columns, time and pairs of the tags, those of the events."""
    names = ", ".join(("number", "run_key", "int_id", *columns))
    values = ", ".join(
        f"taken.base + {events - 1}" if column == "position" else "?" for column in columns
    )
    tagging = ""
    if tags:
        pairs = ", ".join(["(?::text, ?::text)"] * tags)
        tagging = f""",
tagged AS (
    INSERT INTO run_tags (key, value, created_at, number)
    SELECT t.key, t.value, ?::bigint, taken.base FROM taken, kept, (VALUES {pairs}) AS t (key, value)
)"""
    head = f"""
WITH taken AS MATERIALIZED (SELECT base, recorded FROM {{source}} AS taken),
kept AS (
    INSERT INTO runs ({names}) SELECT taken.base, ?, ?::smallint, {values} FROM taken ON CONFLICT DO NOTHING RETURNING number
){tagging}"""
    return _shape(head, "taken, kept", "taken", events, 0)


@lru_cache(maxsize=256)
def change(columns: tuple[str, ...], events: int, *, leased: bool) -> Shape:
    """For a run that is there. Values: the columns, the new version, key, version, the lease as owner and time, those of the events."""
    changes = "".join(f"{column} = ?, " for column in (*columns, "version"))
    changes += f"position = taken.base + {events - 1}"
    unmoved = ""
    if leased:
        unmoved = " AND (SELECT l.renewed_at FROM leases l WHERE l.owner = ?::text) IS NOT DISTINCT FROM ?::bigint"
    head = f"""
WITH kept AS (
    UPDATE runs AS r SET {changes} FROM {{source}} AS taken WHERE r.run_key = ? AND r.version = ?{unmoved}
    RETURNING taken.base, taken.recorded
)"""
    return _shape(head, "kept", "kept", events, changes.count("?"))


def _shape(head: str, tables: str, taken: str, events: int, place: int) -> Shape:
    if events == 1:
        tail = f"""
{_INSERT}
SELECT {taken}.base, {_VALUES}, {taken}.recorded FROM {tables} RETURNING position, recorded_at"""
    else:
        rows = ", ".join([f"(?::int, {_VALUES})"] * events)
        tail = f""",
event AS (
    {_INSERT}
    SELECT {taken}.base + e.step, {", ".join(f"e.{column}" for column in _EVENT)}, {taken}.recorded
    FROM {tables}, (VALUES {rows}) AS e (step, {", ".join(_EVENT)})
)
SELECT {taken}.base, {taken}.recorded FROM {tables}"""
    text = head + tail
    return Shape(text.replace("{source}", _ALONE), text.replace("{source}", _GROUPED), place)
