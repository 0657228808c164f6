"""Rows as they lie in a SQLite file."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from ...projections.run_view import Fields, RunView
from ..storing.columns import ROW_COLUMNS, SELECT_BARE_VIEW, SELECT_VIEW, VIEW_COLUMNS
from ..storing.rows import OwnerId, RowFormat, id_of, key_of, owner_from, owner_text

__all__ = [
    "OF_RUN",
    "ROW_COLUMNS",
    "SELECT_BARE_VIEW",
    "SELECT_VIEW",
    "VIEW_COLUMNS",
    "changes",
    "id_of",
    "insert_all",
    "insert_rows",
    "new_row",
    "owner_from",
    "owner_text",
    "row_of",
    "view_of",
]

OF_RUN = "number = (SELECT position FROM events WHERE originator_id = ? AND originator_version = 1)"
"""A condition on rows: that of the run with this key. A row has the position of its run's first event for a number, so the index that keeps the
log free of repeats leads to it, and needs no other one beside it."""

_NONE = type(None)
_INT64 = 1 << 63


def _number(value: Any) -> Any:
    """Numbers that SQLite would change are kept as the bytes of their digits."""
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return str(value).encode()
    if isinstance(value, float) and value != value:  # noqa: PLR0124  # NaN, which SQLite turns into NULL
        return b"nan"
    return value


def _from_number(value: Any) -> Any:
    if isinstance(value, bytes):
        return float("nan") if value == b"nan" else int(value)
    return value


_FORMAT = RowFormat(_number, _from_number)

row_of = _FORMAT.row_of
view_of = _FORMAT.view_of


def insert_all(
    cursor: sqlite3.Cursor | sqlite3.Connection, table: str, rows: Iterable[Sequence[Any]]
) -> None:
    """Add rows of two values or more, in their order, to a table.

    NULL is said in the statement: the driver looks for an adapter for each None, which takes longer than all else that it does.
    """
    for kinds, alike in groupby(rows, key=lambda row: tuple(map(type, row))):
        values, filled = _filled(kinds)
        cursor.executemany(f"INSERT INTO {table} VALUES ({values})", map(filled, alike))


def insert_rows(cursor: sqlite3.Cursor, rows: Iterable[Sequence[Any]], suffix: str = "") -> None:
    """Add rows as `row_of` gives them to the table of runs whose name ends with the suffix."""
    insert_all(cursor, f"runs{suffix} ({', '.join(ROW_COLUMNS)})", rows)


@lru_cache(maxsize=1024)
def _filled(kinds: tuple[type, ...]) -> tuple[str, itemgetter[Any]]:
    """What stands behind VALUES for rows with values of these types, and what picks its values from them."""
    values = ", ".join("NULL" if kind is _NONE else "?" for kind in kinds)
    return values, itemgetter(*(place for place, kind in enumerate(kinds) if kind is not _NONE))


def new_row(view: RunView, number: int, owner_id: OwnerId) -> tuple[str, list[Any]]:
    """The statement that adds the row of a new run, and its values; columns that are NULL are left out."""
    columns, values = _FORMAT.filled(view, owner_id)
    return _insert(columns), [number, *key_of(view.run_id), *values]


def changes(
    told: Fields, before: Fields, at: datetime, micros: int, owner_id: OwnerId
) -> tuple[str, list[Any]]:
    """The statement that brings the row to the fields that new events have told, and its values without the last four: version and position,
    run_key, the version before. See `RowFormat.moved`.
    """
    columns, values = _FORMAT.moved(told, before, at, micros, owner_id)
    return _update(columns), values


@lru_cache(maxsize=256)
def _insert(columns: tuple[str, ...]) -> str:
    names = ("number", "run_key", "int_id", *columns)
    return f"INSERT INTO runs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


@lru_cache(maxsize=256)
def _update(columns: tuple[str, ...]) -> str:
    assignments = ", ".join(f"{column} = ?" for column in (*columns, "version", "position"))
    return f"UPDATE runs SET {assignments} WHERE {OF_RUN} AND version = ?"
