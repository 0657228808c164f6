"""Rows as they lie in a SQLite file."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from functools import lru_cache
from typing import Any

from ...projections.run_view import RunView
from ..storing.rows import (
    ROW_COLUMNS,
    SELECT_BARE_VIEW,
    SELECT_VIEW,
    VIEW_COLUMNS,
    OwnerId,
    RowFormat,
    id_of,
    key_of,
    owner_from,
    owner_text,
)

__all__ = [
    "ROW_COLUMNS",
    "SELECT_BARE_VIEW",
    "SELECT_VIEW",
    "VIEW_COLUMNS",
    "changes",
    "id_of",
    "insert_row",
    "new_row",
    "owner_from",
    "owner_text",
    "row_of",
    "view_of",
]

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


def insert_row(suffix: str = "") -> str:
    """The statement that takes what `row_of` gives."""
    return f"INSERT INTO runs{suffix} ({', '.join(ROW_COLUMNS)}) VALUES ({', '.join('?' * len(ROW_COLUMNS))})"


def new_row(view: RunView, number: int, owner_id: OwnerId) -> tuple[str, list[Any]]:
    """The statement that adds the row of a new run, and its values; columns that are NULL are left out."""
    columns, values = _FORMAT.filled(view, owner_id)
    return _insert(columns), [number, *key_of(view.run_id), *values]


def changes(old: RunView, new: RunView, owner_id: OwnerId) -> tuple[str, list[Any]]:
    """The statement that brings the row from one view to the next, and its values without the last two: run_key, version."""
    columns, values = _FORMAT.changed(old, new, owner_id)
    return _update(columns), values


@lru_cache(maxsize=256)
def _insert(columns: tuple[str, ...]) -> str:
    names = ("number", "run_key", "int_id", *columns)
    return f"INSERT INTO runs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


@lru_cache(maxsize=256)
def _update(columns: tuple[str, ...]) -> str:
    assignments = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE runs SET {assignments} WHERE run_key = ? AND version = ?"
