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
from ..storing.columns import NUMBERS
from .schema import LOCK

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
    """It takes its positions itself; one value says at what time."""
    grouped: str
    """The same transaction took them already; one value says how many of them are for this step and all behind it."""
    place: int
    """How many values come before that one."""


_LOCK = f"{LOCK}, ('positions'::regclass::oid::bigint % 2147483648)::int"
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_RECORDED = "currval('moments')"
"""As `currval('positions')`, it is what this session got last; what others take meanwhile does not change it."""


def _alone(events: int) -> str:
    """What the function `take` does, as one expression in the plan of the step: calling a function costs several times as much.

    `CASE` looks at one thing after the other. If something goes wrong before the lock is let go, the session ends with the error, and the lock
    with the session (see `spoils_connection`).
    """
    taken = "nextval('positions')"
    if events > 1:
        taken = f"setval('positions', {taken} + {events - 1})"
    return f"""(SELECT CASE
    WHEN pg_current_xact_id_if_assigned() IS NOT NULL THEN NULL
    WHEN pg_advisory_lock({_LOCK}) IS NULL THEN NULL
    WHEN pg_current_xact_id() IS NULL THEN NULL
    WHEN {taken} IS NULL THEN NULL
    WHEN setval('moments', greatest(1, pg_sequence_last_value('moments'), coalesce(?::bigint, {_NOW}))) IS NULL THEN NULL
    WHEN pg_advisory_unlock({_LOCK}) THEN currval('positions') - {events - 1}
END AS base)"""


_GROUPED = "(SELECT currval('positions') + 1 - ?::bigint AS base)"


@lru_cache(maxsize=256)
def creation(columns: tuple[str, ...], events: int, tags: int) -> Shape:
    """For a new run. Values: key, `int_id`, the columns, time and pairs of the tags, those of the events."""
    names = ", ".join(("number", "run_key", "int_id", *columns))
    values = ", ".join(
        f"taken.base + {events - 1}" if column == "position" else _value(column)
        for column in columns
    )
    tagging = ""
    if tags:
        pairs = ", ".join(["(?::text, ?::text)"] * tags)
        tagging = f""",
tagged AS (
    INSERT INTO run_tags (key, value, created_at, number)
    SELECT t.key, t.value, ?::bigint, kept.base FROM kept, (VALUES {pairs}) AS t (key, value)
)"""
    head = f"""
WITH kept AS (
    INSERT INTO runs ({names}) SELECT taken.base, ?, ?::smallint, {values} FROM {{source}} AS taken
    ON CONFLICT DO NOTHING RETURNING number AS base
){tagging}"""
    return _shape(head, events, 2 + values.count("?"))


@lru_cache(maxsize=256)
def change(columns: tuple[str, ...], events: int, *, leased: bool) -> Shape:
    """For a run that is there. Values: the columns, the new version, key, version, the lease as owner and time, those of the events."""
    changes = "".join(f"{column} = {_value(column)}, " for column in (*columns, "version"))
    changes += f"position = taken.base + {events - 1}"
    unmoved = ""
    if leased:
        unmoved = " AND (SELECT l.renewed_at FROM leases l WHERE l.owner = ?::text) IS NOT DISTINCT FROM ?::bigint"
    head = f"""
WITH kept AS (
    UPDATE runs AS r SET {changes} FROM {{source}} AS taken WHERE r.run_key = ? AND r.version = ?{unmoved}
    RETURNING taken.base
)"""
    return _shape(head, events, changes.count("?"))


def _value(column: str) -> str:
    """The place of a value of the table `runs`."""
    return "?::bytea" if column in NUMBERS else "?"


def _shape(head: str, events: int, place: int) -> Shape:
    if events == 1:
        tail = f"""
{_INSERT}
SELECT kept.base, {_VALUES}, {_RECORDED} FROM kept RETURNING position, recorded_at"""
    else:
        rows = ", ".join([f"(?::int, {_VALUES})"] * events)
        tail = f""",
event AS (
    {_INSERT}
    SELECT kept.base + e.step, {", ".join(f"e.{column}" for column in _EVENT)}, {_RECORDED}
    FROM kept, (VALUES {rows}) AS e (step, {", ".join(_EVENT)})
)
SELECT kept.base, {_RECORDED} FROM kept"""
    text = head + tail
    return Shape(
        text.replace("{source}", _alone(events)), text.replace("{source}", _GROUPED), place
    )
