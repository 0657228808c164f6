"""Rows and events as they lie in PostgreSQL.

Its text cannot hold the character NUL. A text that does is written with escapes, and marked by its first character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json, to_json

from ...domain.status import RunStatus
from ..mapper import EVENT_COLUMNS
from ..storing.rows import RowFormat

_MARK = "\x1a"
_LETTERS = ((_MARK, f"{_MARK}1"), ("\x00", f"{_MARK}0"))
_ACTOR = EVENT_COLUMNS.index("actor")
_CORRELATION = EVENT_COLUMNS.index("correlation_id")


def text_in(text: str) -> str:
    """As PostgreSQL can hold it.

    >>> text_in("plain"), text_out(text_in("a\\0b"))
    ('plain', 'a\\x00b')
    """
    if "\x00" not in text and text[:1] != _MARK:
        return text
    for plain, escaped in _LETTERS:
        text = text.replace(plain, escaped)
    return _MARK + text


def text_out(text: str) -> str:
    """Back from what `text_in` gave."""
    if text[:1] != _MARK:
        return text
    text = text[1:]
    for plain, escaped in reversed(_LETTERS):
        text = text.replace(escaped, plain)
    return text


def maybe_in(text: str | None) -> str | None:
    """The same for what may be None."""
    return None if text is None else text_in(text)


def event_out(row: Sequence[Any]) -> Sequence[Any]:
    """A row of `EVENT_COLUMNS` as the mapper takes it."""
    actor, correlation = row[_ACTOR], row[_CORRELATION]
    if (actor is None or actor[:1] != _MARK) and (correlation is None or correlation[:1] != _MARK):
        return row
    values = list(row)
    for column in (_ACTOR, _CORRELATION):
        if values[column] is not None:
            values[column] = text_out(values[column])
    return tuple(values)


def _number(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="constants")


FORMAT = RowFormat(_number, from_json, text=text_in, from_text=text_out)

row_of = FORMAT.row_of
view_of = FORMAT.view_of

_STATUS_CODES = {
    RunStatus.PENDING: 1,
    RunStatus.RUNNING: 2,
    RunStatus.COMPLETED: 3,
    RunStatus.FAILED: 4,
    RunStatus.CANCELLED: 5,
}
"""Stored data; a new status gets a new number."""
STATUSES = {code: status for status, code in _STATUS_CODES.items()}


def move(old: RunStatus | None, new: RunStatus) -> int | None:
    """How a step moves the counters, as the column `moved` of its last event says it; None when it does not.

    >>> move(None, RunStatus.PENDING), move(RunStatus.PENDING, RunStatus.RUNNING), move(RunStatus.RUNNING, RunStatus.RUNNING)
    (1, 12, None)
    """
    if old is new:
        return None
    return (0 if old is None else 10 * _STATUS_CODES[old]) + _STATUS_CODES[new]
