"""One append on its way into the file: what can be worked out before the transaction, and what happens inside it.

While a step holds the write lock nobody else writes, so as much as possible is done before: the events' JSON, the fold, the
row's new values. Inside remain one statement an event and one for the row. Only the database knows the position; it is filled
in as soon as it does.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from ...domain.errors import (
    InvalidInput,
    LastwordError,
    RunAlreadyActive,
    StoreCorrupt,
    StoreUnavailable,
    VersionConflict,
)
from ...domain.values import Owner, run_key, to_micros
from ...projections.ports import Append, Appended
from ...projections.run_view import Fields, RunView, advance, begin, view_from
from ..mapper import encode_event
from ..storing.answering import answer
from .links import Link
from .rows import OF_RUN, SELECT_VIEW, changes, id_of, new_row, owner_text, view_of

_COLUMNS = "originator_id, originator_version, topic, state, event_id, occurred_at"
_NOW = "max(?, ifnull((SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1), 0))"
_INSERT = f"INSERT INTO events ({_COLUMNS}, recorded_at) VALUES (?, ?, ?, ?, ?, ?, {_NOW})"
_INSERT_MORE = f"""
INSERT INTO events ({_COLUMNS}, actor, correlation_id, int_id, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {_NOW})
"""
_PLAIN = 6
"""So many values has an event that nothing more is known of."""
_INSERT_TAG = "INSERT INTO run_tags (key, value, created_at, number) VALUES (?, ?, ?, ?)"

_UNKNOWN = -1
"""Stands for the position of an event that is not written yet, and for the row of an owner that may have none."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_OF_ITS_VALUES = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError)
"""What SQLite says of a step's own values; anything else is about the file."""


OwnerIds = dict[str, int]
"""Rows of `owners` by their JSON."""


class PartlyWrittenError(Exception):
    """A step failed after it had written something; the transaction has to be rolled back."""


class Step:
    """An append, ready to be written. Raises `InvalidInput` when it can never be.

    `known` are owners whose rows are committed in the file as it is now.
    """

    __slots__ = ("_known", "_moments", "_row", "_rows", "_told", "_unknown_owner", "append", "key", "outcome", "positions", "run_id", "view")  # fmt: skip

    def __init__(self, append: Append, known: OwnerIds) -> None:
        run_id, expected, new, old, correlation_id, _ = append
        if old is None:
            key = run_key(run_id)  # an id that cannot be is refused before anything is written
            version = 0
        else:
            before = old.__dict__
            run_id = before["run_id"]
            key = run_id if type(run_id) is str else run_key(run_id)
            version = before["version"]
        if not new or version != expected:
            raise InvalidInput(
                f"run {run_id}: expected events and the view of version {expected},"
                f" found {len(new)} events and a view of version {version}; read the run again"
            )
        int_id = 1 if isinstance(run_id, int) else None
        rows: list[tuple[Any, ...]] = []
        told: Fields = {}
        moment, micros = _LONG_AGO, 0
        for event_id, event, occurred_at, actor in new:
            version += 1
            moment = occurred_at if occurred_at.tzinfo is UTC else occurred_at.astimezone(UTC)
            micros = to_micros(moment)
            state = encode_event(event)
            # The driver looks for an adapter of each None and of bytes, not of a bytearray.
            values = (
                key,
                version,
                event.TOPIC,
                bytearray(state),
                bytearray.fromhex(event_id),
                micros,
            )
            if actor is not None or correlation_id is not None or int_id is not None:
                values = (*values, actor, correlation_id, int_id)
            rows.append(values)
            if version == 1:
                told = begin(event, run_id, version, _UNKNOWN, moment)
            else:
                advance(told, event, version, _UNKNOWN, moment)
        self.append = append
        self.run_id = run_id
        self.key = key
        self.positions: list[tuple[int, int]] = []
        """Of the events that were written, and when they were taken."""
        self.view = view_from(told if old is None else {**old.__dict__, "flag": None, **told})
        """The fold with the new events, whose flag is never stored; its position is that of the newest once they are written."""
        self.outcome: Appended | Exception | None = None
        """What became of it, once it is written; None when the guard said no."""
        self._rows = rows
        self._told = told
        self._moments = moment, micros
        self._known = known
        self._unknown_owner = False
        self._row = self._fill(self._known_owner)

    def _fill(self, owner_id: Callable[[Owner], int]) -> tuple[str, list[Any]]:
        """The statement for the run's row, and its values."""
        old = self.append.view
        if old is None:
            return new_row(self.view, _UNKNOWN, owner_id)
        moment, micros = self._moments
        return changes(self._told, vars(old), moment, micros, owner_id)

    def _known_owner(self, owner: Owner) -> int:
        number = self._known.get(owner_text(owner))
        if number is None:
            self._unknown_owner = True
            return _UNKNOWN
        return number

    def write(
        self, cursor: sqlite3.Cursor, link: Link, now: int, known: OwnerIds, met: OwnerIds
    ) -> None:
        """Write it, inside a transaction that has the write lock; `outcome` says what became of it.

        `now` is in microseconds. `known` are owners that are committed, `met` those that this transaction has come across. Raises what the
        guard raises, the driver's errors, and `PartlyWrittenError` when it was refused after it had written something.
        """
        guard = self.append.guard
        if guard is not None and not _allows(guard, cursor, self.key):
            self.outcome = None
            return
        positions = self.positions = []
        try:
            for values in self._rows:
                positions.append(_insert(cursor, values, now, link))  # noqa: PERF401  # it may fail on the way
            self._write_row(cursor, known, met)
        except (LastwordError, *_OF_ITS_VALUES) as error:
            refused = error
            if isinstance(error, sqlite3.IntegrityError):
                refused = self._refused(cursor, error)
                refused.__cause__ = error
        else:
            self.outcome = answer(self.append, self.run_id, self.view, positions)
            return
        self.outcome = refused
        if positions:
            raise PartlyWrittenError from refused

    def _write_row(self, cursor: sqlite3.Cursor, known: OwnerIds, met: OwnerIds) -> None:
        if self._unknown_owner or self._known is not known:
            self._row = self._fill(lambda owner: owner_row(cursor, owner, met))
        statement, values = self._row
        view, append = self.view, self.append
        fields = vars(view)  # nobody else has seen it yet
        position = fields["position"] = self.positions[-1][0]
        if append.view is None:
            values[-1] = position  # the last one of the view's columns
            number = values[0] = self.positions[0][0]
            cursor.execute(statement, values)
            tags = fields["tags"]
            if tags:
                created_at = to_micros(view.created_at)
                cursor.executemany(
                    _INSERT_TAG, [(key, value, created_at, number) for key, value in tags.items()]
                )
            return
        expected = append.expected_version
        version = fields["version"]
        cursor.execute(statement, (*values, version, position, self.key, expected))
        if cursor.rowcount != 1:
            raise self._out_of_step(cursor)

    def _version_before(self, cursor: sqlite3.Cursor) -> int:
        """How many events the run had before this transaction."""
        first = self.positions[0][0] if self.positions else 1 << 62
        (version,) = cursor.execute(
            "SELECT max(originator_version) FROM events WHERE originator_id = ? AND position < ?",
            (self.key, first),
        ).fetchone()
        return version or 0

    def _out_of_step(self, cursor: sqlite3.Cursor) -> LastwordError:
        """The row did not have the expected version: either the run has not, or the row is not that of its events."""
        append = self.append
        (older,) = cursor.execute(
            "SELECT count(*) FROM events WHERE originator_id = ? AND originator_version <= ?",
            (self.key, append.expected_version),
        ).fetchone()
        if older < append.expected_version:
            return VersionConflict(append.run_id, append.expected_version, older)
        row = cursor.execute(f"SELECT version FROM runs WHERE {OF_RUN}", (self.key,)).fetchone()
        found = "no row" if row is None else f"a row of version {row[0]}"
        return StoreCorrupt(
            f"run {append.run_id}: expected a row of version {append.expected_version}, found {found},"
            " which is not what its events say; `lastword rebuild` computes all rows anew"
        )

    def _refused(self, cursor: sqlite3.Cursor, error: sqlite3.IntegrityError) -> LastwordError:
        """What a constraint that was hurt means to the caller."""
        append = self.append
        message = str(error)
        if "events.originator_id" in message:
            found = self._version_before(cursor)
            return VersionConflict(append.run_id, append.expected_version, found)
        if "runs.exclusive" in message:
            exclusive = append.exclusive or ""
            active = cursor.execute(
                "SELECT run_key, int_id FROM runs WHERE exclusive = ? AND status IN ('pending', 'running')",
                (exclusive,),
            ).fetchone()
            if active is not None:
                return RunAlreadyActive(append.run_id, exclusive, id_of(*active))
        if "runs.number" in message:
            return StoreCorrupt(
                f"run {append.run_id}: expected no row for a run without events, found one;"
                " `lastword rebuild` computes all rows anew"
            )
        return StoreUnavailable(
            f"run {append.run_id}: expected to append, found that the store refused it ({message}); try again",
            transient=False,
        )


def _insert(
    cursor: sqlite3.Cursor, values: tuple[Any, ...], now: int, link: Link
) -> tuple[int, int]:
    """The event's position, and when it was taken: now, unless an earlier event was taken later than that."""
    cursor.execute(_INSERT if len(values) == _PLAIN else _INSERT_MORE, (*values, now))
    position = cursor.lastrowid or 0
    if link.newest != position - 1 or link.newest_at > now:
        # Others have written since this connection did, or the clock was set back.
        cursor.execute("SELECT recorded_at FROM events WHERE position = ?", (position,))
        (now,) = cursor.fetchone()
    link.newest, link.newest_at = position, now
    return position, now


def _allows(guard: Callable[[RunView], bool], cursor: sqlite3.Cursor, key: str) -> bool:
    cursor.execute(f"{SELECT_VIEW} WHERE r.{OF_RUN}", (key,))
    row = cursor.fetchone()
    return row is None or guard(view_of(row))


def owner_row(cursor: sqlite3.Cursor, owner: Owner, met: OwnerIds) -> int:
    """The number of the owner's row, which is made when it is missing; `met` gets it."""
    text = owner_text(owner)
    number = met.get(text)
    if number is None:
        found = cursor.execute("SELECT id FROM owners WHERE owner = ?", (text,)).fetchone()
        if found is None:
            cursor.execute(
                "INSERT INTO owners (key, owner) VALUES (?, ?) RETURNING id", (owner.key, text)
            )
            found = cursor.fetchone()
        number = met[text] = cast("int", found[0])
    return number
