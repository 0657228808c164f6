"""A run's view to a row of the table `runs` and back."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from ...domain.errors import StoreCorrupt
from ...domain.status import RunStatus
from ...domain.values import Owner, RunId, from_micros, to_micros
from ...projections.run_view import RunView

VIEW_COLUMNS = (
    "name",
    "status",
    "status_update_failed",
    "created_at",
    "started_at",
    "finished_at",
    "actor",
    "error_type",
    "error_message",
    "exit_code",
    "progress_current",
    "progress_total",
    "current_step",
    "cancel_requested_at",
    "last_seen_at",
    "deadline_at",
    "owner",
    "parent_id",
    "attempt",
    "retry_of",
    "exclusive",
    "lease_seconds",
    "tags",
    "params",
    "result",
    "note",
    "correlation_id",
    "contradicted",
    "version",
    "position",
)
"""The columns that are named as the view's fields: all but `run_id`, which lies in `run_key` and `int_id`, and `flag`."""

ROW_COLUMNS = ("number", "run_key", "int_id", *VIEW_COLUMNS)

SELECT_VIEW = f"""
SELECT {", ".join("o.owner" if column == "owner" else f"r.{column}" for column in ROW_COLUMNS)},
    CASE r.status WHEN 'running' THEN l.renewed_at END
FROM runs r LEFT JOIN owners o ON o.id = r.owner LEFT JOIN leases l ON l.owner = o.key
"""
"""Rows for `view_of`; a WHERE or ORDER BY goes behind it. `r` is the run."""

SELECT_BARE_VIEW = f"""
SELECT {", ".join("o.owner" if column == "owner" else f"r.{column}" for column in ROW_COLUMNS)}, NULL
FROM runs r LEFT JOIN owners o ON o.id = r.owner
"""
"""The same without the lease."""

_TIMES = (
    "created_at",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "last_seen_at",
    "deadline_at",
)
_NUMBERS = ("progress_current", "progress_total", "parent_id", "retry_of")
_INT64 = 1 << 63

OwnerId = Callable[[Owner], int]
"""Gives the number of the owner's row."""


def _number(value: Any) -> Any:
    """Numbers that SQLite would change are kept as the bytes of their digits."""
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return str(value).encode()
    if isinstance(value, float) and value != value:  # noqa: PLR0124  # NaN, which SQLite turns into NULL
        return b"nan"
    return value


def _json(value: Any) -> str | None:
    return None if value is None else to_json(value, inf_nan_mode="constants").decode()


def _filled(value: Any) -> str | None:
    return _json(value) if value else None


def _flag(value: bool) -> int:
    return 1 if value else 0


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "status": lambda status: status.value,
    "status_update_failed": _flag,
    "contradicted": _flag,
    "tags": _filled,
    "params": _filled,
    "result": _json,
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(_TIMES, lambda moment: None if moment is None else to_micros(moment)),
}


_ENCODED = tuple((column, _ENCODERS.get(column)) for column in VIEW_COLUMNS)
_OWNER = VIEW_COLUMNS.index("owner")


def insert_row(suffix: str = "") -> str:
    """The statement that takes what `row_of` gives."""
    return f"INSERT INTO runs{suffix} ({', '.join(ROW_COLUMNS)}) VALUES ({', '.join('?' * len(ROW_COLUMNS))})"


_ALL = tuple((column, _ENCODERS.get(column)) for column in VIEW_COLUMNS)


def key_of(run_id: RunId) -> tuple[str, int | None]:
    """`run_key` and `int_id` of an id that has been checked.

    >>> key_of(17), key_of("17")
    (('17', 1), ('17', None))
    """
    return str(run_id), 1 if isinstance(run_id, int) else None


def id_of(run_key: str, int_id: int | None) -> RunId:
    """The id in the type it was created with."""
    return int(run_key) if int_id else run_key


def row_of(view: RunView, number: int, owner_id: OwnerId) -> list[Any]:
    """The view as the values of `ROW_COLUMNS`."""
    fields = view.__dict__
    run_key, int_id = key_of(view.run_id)
    values = [
        encoder(fields[column]) if encoder else fields[column] for column, encoder in _ENCODED
    ]
    if view.owner is not None:
        values[_OWNER] = owner_id(view.owner)
    return [number, run_key, int_id, *values]


def new_row(view: RunView, number: int, owner_id: OwnerId) -> tuple[str, list[Any]]:
    """The statement that adds the row of a new run, and its values; columns that are NULL are left out."""
    fields = view.__dict__
    columns = tuple([column for column in VIEW_COLUMNS if fields[column] is not None])
    statement, encoders = _insert(columns)
    run_key, int_id = key_of(view.run_id)
    return statement, [number, run_key, int_id, *_values(fields, encoders, owner_id)]


def changes(old: RunView, new: RunView, owner_id: OwnerId) -> tuple[str, list[Any]]:
    """The statement that brings the row from one view to the next, and its values without the last two: run_key, version."""
    before, after = old.__dict__, new.__dict__
    columns = tuple([column for column in VIEW_COLUMNS if before[column] is not after[column]])
    statement, encoders = _update(columns)
    return statement, _values(after, encoders, owner_id)


Encoders = tuple[tuple[str, Callable[[Any], Any] | None], ...]


@lru_cache(maxsize=256)
def _insert(columns: tuple[str, ...]) -> tuple[str, Encoders]:
    names = ("number", "run_key", "int_id", *columns)
    statement = f"INSERT INTO runs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    return statement, _encoders(columns)


@lru_cache(maxsize=256)
def _update(columns: tuple[str, ...]) -> tuple[str, Encoders]:
    assignments = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE runs SET {assignments} WHERE run_key = ? AND version = ?", _encoders(columns)


def _encoders(columns: tuple[str, ...]) -> Encoders:
    return tuple((column, _ENCODERS.get(column)) for column in columns)


def _values(fields: Mapping[str, Any], encoders: Encoders, owner_id: OwnerId) -> list[Any]:
    return [
        (_owner(fields[column], owner_id) if column == "owner" else fields[column])
        if encoder is None
        else encoder(fields[column])
        for column, encoder in encoders
    ]


def _owner(owner: Owner | None, owner_id: OwnerId) -> int | None:
    return None if owner is None else owner_id(owner)


def view_of(row: Sequence[Any]) -> RunView:
    """The view in a row of `SELECT_VIEW`. Raises `StoreCorrupt` when it is not one that was written here."""
    values: dict[str, Any] = dict(zip(ROW_COLUMNS, row, strict=False))
    lease = row[-1]
    try:
        if lease is not None and lease > (values["last_seen_at"] or 0):
            values["last_seen_at"] = lease
        values["run_id"] = id_of(values["run_key"], values["int_id"])
        for column in _TIMES:
            micros = values[column]
            if micros is not None:
                values[column] = from_micros(micros)
        for column in _NUMBERS:
            number = values[column]
            if isinstance(number, bytes):
                values[column] = float("nan") if number == b"nan" else int(number)
        tags, params, result, owner = (
            values["tags"],
            values["params"],
            values["result"],
            values["owner"],
        )
        values["tags"] = {} if tags is None else from_json(tags)
        values["params"] = {} if params is None else from_json(params)
        if result is not None:
            values["result"] = from_json(result)
        if owner is not None:
            values["owner"] = owner_from(owner)
        values["status"] = RunStatus(values["status"])
        return RunView.model_validate(values)
    except (TypeError, ValueError, OverflowError) as error:
        found = (
            error.errors(include_url=False, include_input=False)[0]["msg"]
            if isinstance(error, ValidationError)
            else error
        )
        raise StoreCorrupt(
            f"run {values['run_key']}: expected its row as it was written, found something else: {found};"
            " `lastword rebuild` computes all rows anew"
        ) from error


def owner_text(owner: Owner) -> str:
    """The owner as the JSON under which it is stored."""
    return owner.model_dump_json(exclude_none=True)


@lru_cache(maxsize=1024)
def owner_from(text: str) -> Owner:
    """Back from JSON; runs of one process share the object."""
    return Owner.model_validate_json(text)
