"""A run's view to a row of the table `runs` and back; what all stores share of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from ...domain.errors import StoreCorrupt
from ...domain.status import RunStatus
from ...domain.values import Owner, RunId, from_micros, to_micros
from ...projections.run_view import Fields, RunView, blank_fields, view_from
from .columns import NUMBERS, ROW_COLUMNS, TEXTS, TIMES, VIEW_COLUMNS, is_plain

OwnerId = Callable[[Owner], int]
"""Gives the number of the owner's row."""

Encoder = Callable[[Any], Any]


def _json(value: Any) -> str:
    return to_json(value, inf_nan_mode="constants").decode()


def _filled(value: Any) -> str | None:
    return _json(value) if value else None


def key_of(run_id: RunId) -> tuple[str, int | None]:
    """`run_key` and `int_id` of an id that has been checked.

    >>> key_of(17), key_of("17")
    (('17', 1), ('17', None))
    """
    return str(run_id), 1 if isinstance(run_id, int) else None


def id_of(run_key: str, int_id: int | None) -> RunId:
    """The id in the type it was created with."""
    return int(run_key) if int_id else run_key


_NUMBERING = frozenset({"version", "position"})
_picked = itemgetter(*VIEW_COLUMNS)
_FLAGS = {0: False, 1: True}
_STATUSES = {status.value: status for status in RunStatus}


def _object(text: str) -> dict[str, Any]:
    found = from_json(text)
    if type(found) is not dict:
        raise TypeError("JSON that is no object")
    return found


@lru_cache(maxsize=1024)
def _known_texts(text: str) -> dict[str, str]:
    """Runs of one kind have the same tags."""
    found = _object(text)
    if not all(type(value) is str for value in found.values()):
        raise TypeError("a tag that is no text")
    return found


class RowFormat:
    """How one kind of store writes rows.

    `number` and `from_number` are the ways of a value that is an int, a float or a str, and not None, into a column and back; `text` and
    `from_text` those of any other text, when the store cannot hold all of them as they are.
    """

    def __init__(
        self,
        number: Encoder,
        from_number: Encoder,
        *,
        text: Encoder | None = None,
        from_text: Encoder | None = None,
    ) -> None:
        self._encoders: dict[str, Encoder] = {
            "status": str,  # exactly one, not the enumeration's member
            "status_update_failed": int,
            "contradicted": int,
            "tags": _filled,
            "params": _filled,
            "result": _json,
            **dict.fromkeys(NUMBERS, number),
            **dict.fromkeys(TIMES, to_micros),
        }  # of values that are not None
        if text is not None:
            self._encoders |= dict.fromkeys(TEXTS, text)
        self._number, self._text = number, text
        self._from_number = from_number
        self._from_text = from_text
        self._chosen: dict[tuple[str, ...], Encoders] = {}

    def row_of(
        self, fields: Mapping[str, Any], number: int, owner_id: Callable[[Owner], Any]
    ) -> list[Any]:
        """The fields of a view, times as `datetime` or microseconds, as the values of `ROW_COLUMNS`."""
        if self._text is not None:
            fields = {**fields}
            _convert(fields, TEXTS, self._text)
        (
            name, status, failed, created, started, finished, actor, error_type, error_message, exit_code, current, total,
            step, cancel, seen, deadline, owner, parent, attempt, retry_of, exclusive, lease_seconds, tags, params, result,
            note, correlation_id, contradicted, version, position,
        ) = _picked(fields)  # fmt: skip
        numbered = self._number
        run_id = fields["run_id"]
        return [
            number,
            str(run_id),
            1 if isinstance(run_id, int) else None,
            name,
            str(status),
            int(failed),
            created if type(created) is int else to_micros(created),
            started if started is None or type(started) is int else to_micros(started),
            finished if finished is None or type(finished) is int else to_micros(finished),
            actor,
            error_type,
            error_message,
            exit_code,
            None if current is None else numbered(current),
            None if total is None else numbered(total),
            step,
            cancel if cancel is None or type(cancel) is int else to_micros(cancel),
            seen if seen is None or type(seen) is int else to_micros(seen),
            deadline if deadline is None or type(deadline) is int else to_micros(deadline),
            None if owner is None else owner_id(owner),
            None if parent is None else numbered(parent),
            attempt,
            None if retry_of is None else numbered(retry_of),
            exclusive,
            lease_seconds,
            _json(tags) if tags else None,
            _json(params) if params else None,
            None if result is None else _json(result),
            note,
            correlation_id,
            int(contradicted),
            version,
            position,
        ]

    def filled(self, view: RunView, owner_id: OwnerId) -> tuple[tuple[str, ...], list[Any]]:
        """The columns of the view that are not NULL, and their values."""
        fields = view.__dict__
        columns = tuple([column for column in VIEW_COLUMNS if fields[column] is not None])
        return columns, _values(fields, self._encoded(columns), owner_id)

    def changed(
        self, old: RunView, new: RunView, owner_id: OwnerId
    ) -> tuple[tuple[str, ...], list[Any]]:
        """The columns in which the views differ, and their new values."""
        before, after = old.__dict__, new.__dict__
        columns = tuple([column for column in VIEW_COLUMNS if before[column] is not after[column]])
        return columns, _values(after, self._encoded(columns), owner_id)

    def moved(
        self, told: Fields, before: Fields, at: datetime, micros: int, owner_id: OwnerId
    ) -> tuple[tuple[str, ...], list[Any]]:
        """The columns of `told`, some fields of a later view, that are not as `before`, and their new values; `micros` is the moment `at`.

        Not among them are `version` and `position`, which change with every event.
        """
        encoders = self._encoders
        columns: list[str] = []
        values: list[Any] = []
        for column, value in told.items():
            if before[column] is value or column in _NUMBERING:
                continue
            columns.append(column)
            if value is at:
                values.append(micros)
            elif value is None:
                values.append(None)
            elif column in encoders:
                values.append(encoders[column](value))
            else:
                values.append(owner_id(value) if column == "owner" else value)
        return tuple(columns), values

    def view_of(self, row: Sequence[Any]) -> RunView:
        """The view in a row of `SELECT_VIEW`. Raises `StoreCorrupt` when it is not one that was written here."""
        if is_plain(tuple(map(type, row))):
            try:
                return view_from(self._fields(row))
            except (KeyError, TypeError, ValueError, OverflowError):
                pass  # the long way says what is wrong
        return self._validated(row)

    def _fields(self, row: Sequence[Any]) -> Fields:
        """The fields of the view in a row that is plain, in a third of the time. Raises what conversions raise.

        Spelled out, as `ROW_COLUMNS` has them: a loop over columns costs as much as what is done with them.
        """
        (
            _number, run_key, int_id, name, status, failed, created, started, finished, actor, error_type, error_message,
            exit_code, current, total, step, cancel, seen, deadline, owner, parent, attempt, retry_of, exclusive,
            lease_seconds, tags, params, result, note, correlation_id, contradicted, version, position, lease,
        ) = row  # fmt: skip
        if lease is not None and lease > (seen or 0):
            seen = lease
        number = self._from_number
        fields = blank_fields()
        fields["run_id"] = int(run_key) if int_id else run_key
        fields["name"] = name
        fields["status"] = _STATUSES[status]
        fields["status_update_failed"] = _FLAGS[failed]
        fields["created_at"] = from_micros(created)
        if started is not None:
            fields["started_at"] = from_micros(started)
        if finished is not None:
            fields["finished_at"] = from_micros(finished)
        fields["actor"] = actor
        fields["error_type"] = error_type
        fields["error_message"] = error_message
        fields["exit_code"] = exit_code
        if current is not None:
            fields["progress_current"] = number(current)
        if total is not None:
            fields["progress_total"] = number(total)
        fields["current_step"] = step
        if cancel is not None:
            fields["cancel_requested_at"] = from_micros(cancel)
        if seen is not None:  # with its last word, as a rule
            fields["last_seen_at"] = (
                fields["finished_at"] if seen == finished else from_micros(seen)
            )
        if deadline is not None:
            fields["deadline_at"] = from_micros(deadline)
        if owner is not None:
            fields["owner"] = owner_from(owner)
        if parent is not None:
            fields["parent_id"] = number(parent)
        fields["attempt"] = attempt
        if retry_of is not None:
            fields["retry_of"] = number(retry_of)
        fields["exclusive"] = exclusive
        fields["lease_seconds"] = lease_seconds
        fields["tags"] = {} if tags is None else _known_texts(tags).copy()
        fields["params"] = {} if params is None else _object(params)
        if result is not None:
            fields["result"] = from_json(result)
        fields["note"] = note
        fields["correlation_id"] = correlation_id
        fields["contradicted"] = _FLAGS[contradicted]
        fields["version"] = version
        fields["position"] = position
        if self._from_text is not None:
            _convert(fields, TEXTS, self._from_text)
        return fields

    def _validated(self, row: Sequence[Any]) -> RunView:
        """The view, with every value looked at. Raises `StoreCorrupt`."""
        values: dict[str, Any] = dict(zip(ROW_COLUMNS, row, strict=False))
        lease = row[-1]
        try:
            if lease is not None and lease > (values["last_seen_at"] or 0):
                values["last_seen_at"] = lease
            values["run_id"] = id_of(values["run_key"], values["int_id"])
            _convert(values, TIMES, from_micros)
            _convert(values, NUMBERS, self._from_number)
            if self._from_text is not None:
                _convert(values, TEXTS, self._from_text)
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

    def _encoded(self, columns: tuple[str, ...]) -> Encoders:
        found = self._chosen.get(columns)
        if found is None:
            found = tuple((column, self._encoders.get(column)) for column in columns)
            self._chosen[columns] = found
        return found


Encoders = tuple[tuple[str, Encoder | None], ...]


def _convert(values: dict[str, Any], columns: tuple[str, ...], conversion: Encoder) -> None:
    """Replace those of the values in these columns that are not None."""
    for column in columns:
        value = values[column]
        if value is not None:
            values[column] = conversion(value)


def _values(fields: Mapping[str, Any], encoders: Encoders, owner_id: OwnerId) -> list[Any]:
    values: list[Any] = []
    for column, encoder in encoders:
        value = fields[column]
        if value is not None:
            if encoder is not None:
                value = encoder(value)
            elif column == "owner":
                value = owner_id(value)
        values.append(value)
    return values


_last_owner: tuple[Owner | None, str] = (None, "")
"""Nearly always the same object: this process."""


def owner_text(owner: Owner) -> str:
    """The owner as the JSON under which it is stored."""
    global _last_owner  # noqa: PLW0603  # both parts are replaced at once
    last, text = _last_owner
    if last is not owner:
        text = owner.model_dump_json(exclude_none=True)
        _last_owner = (owner, text)
    return text


@lru_cache(maxsize=1024)
def owner_from(text: str) -> Owner:
    """Back from JSON; runs of one process share the object."""
    return Owner.model_validate_json(text)
