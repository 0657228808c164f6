"""Comparing rows with events: both in order of the key, run by run, and what cannot be read becomes a flaw of its run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from ...domain.errors import StoreCorrupt, UnsupportedSchema
from ...domain.events import STORE_KEY, RecordedEvent
from ...domain.values import Owner
from ...projections.ports import Flaw, ScannedRun, SoundRuns
from ...projections.problems import ProblemKind
from ...projections.run_view import Fields, RunView
from ..mapper import recorded_event
from .folding import Folder
from .rows import id_of

Row = Sequence[Any]

_SOUND_BATCH = 500
_NUMBER = 0
_KEY = 1
_INT_ID = 2
_EVENT_INT_ID = 10
_TEXTS = (1, 3, 8, 9)
"""Columns of an event that hold text: run, type, actor, correlation id."""


def side_by_side(
    rows: Iterator[Row], events: Iterable[Row], view_of: Callable[[Row], RunView]
) -> Generator[ScannedRun]:
    """Every run with its events and its row; also rows without events. Both come in order of the key, byte by byte.

    `view_of` decodes a row, and raises `StoreCorrupt`.
    """
    for own, row in _merged(rows, events):
        yield _scanned(own, row, view_of)


class SideBySide:
    """The same for a verification: rows are compared as they lie there, and only what differs is decoded and given.

    `row_of` and `view_of` are those of the store's `RowFormat`.
    """

    def __init__(
        self,
        row_of: Callable[[Fields, int, Callable[[Owner], str]], Sequence[Any]],
        view_of: Callable[[Row], RunView],
    ) -> None:
        self._row_of, self._view_of = row_of, view_of
        self._folder = Folder()
        self.key: Any = STORE_KEY
        """Of the last run that was looked at."""

    def check(
        self, rows: Iterator[Row], events: Iterable[Row], *, careful: bool = False
    ) -> Generator[ScannedRun | SoundRuns]:
        """See `RunStore.check`. `careful` gives every run: for text that is not known to be any."""
        runs = seen = 0
        try:
            for own, row in _merged(rows, events):
                if own and row is not None and not careful and self._is_sound(own, row):
                    runs += 1
                    seen += len(own)
                    if runs == _SOUND_BATCH:
                        yield SoundRuns(runs, seen)
                        runs = seen = 0
                else:
                    yield _scanned(own, row, self._view_of)
                self.key = own[0][_KEY] if own else row[_KEY] if row else self.key
        except Exception:
            if runs:
                yield SoundRuns(runs, seen)
            raise
        if runs:
            yield SoundRuns(runs, seen)

    def _is_sound(self, events: Sequence[Row], row: Row) -> bool:
        fields = self._folder.quickly(events)
        if fields is None:
            return False
        expected = self._row_of(fields, events[0][_NUMBER], self._folder.owner_text)
        return tuple(expected) == tuple(row[:-1])


def _merged(
    rows: Iterator[Row], events: Iterable[Row]
) -> Generator[tuple[Sequence[Row], Row | None]]:
    """The events and the row of each run; one of the two may be missing."""
    row = next(rows, None)
    for key, group in groupby(events, key=itemgetter(_KEY)):
        while row is not None and row[_KEY] != key and _before(row[_KEY], key):
            yield (), row
            row = next(rows, None)
        if row is not None and row[_KEY] == key:
            yield tuple(group), row
            row = next(rows, None)
        else:
            yield tuple(group), None
    while row is not None:
        yield (), row
        row = next(rows, None)


def _before(left: object, right: object) -> bool:
    """The order of keys; one that is no text can only come from elsewhere and sorts behind."""
    if isinstance(left, str) and isinstance(right, str):
        return left.encode("utf-8", "surrogateescape") < right.encode("utf-8", "surrogateescape")
    return isinstance(left, str) or (isinstance(left, int) and not isinstance(right, int))


def _scanned(
    events: Sequence[Row], row: Row | None, view_of: Callable[[Row], RunView]
) -> ScannedRun:
    flaws: list[Flaw] = []
    decoded: list[RecordedEvent] = []
    for event in events:
        try:
            decoded.append(recorded_event(event))
            _check_texts(event)
        except UnsupportedSchema as error:
            flaws.append(_flaw(ProblemKind.NEWER, error, event[_NUMBER]))
        except StoreCorrupt as error:
            flaws.append(_flaw(ProblemKind.UNDECODABLE, error, event[_NUMBER]))
    view: RunView | None = None
    if row is not None:
        try:
            view = view_of(row)
        except StoreCorrupt as error:
            flaws.append(_flaw(ProblemKind.ROW, error))
        if decoded and not flaws and row[_NUMBER] != decoded[0].position:
            what = f"row: number: expected {decoded[0].position}, the position of its first event, found {row[_NUMBER]}"
            flaws.append(Flaw(ProblemKind.ROW, what))
    key, int_id = "", None
    if events:
        key, int_id = events[0][_KEY], events[0][_EVENT_INT_ID]
    elif row is not None:
        key, int_id = row[_KEY], row[_INT_ID]
    try:
        run_id = id_of(key, int_id)
    except (TypeError, ValueError):
        run_id = _printable(str(key))
        kind = ProblemKind.UNDECODABLE if events else ProblemKind.ROW
        flaws.append(Flaw(kind, f"run {run_id}: expected an id of digits, found another text"))
    if isinstance(run_id, str):
        run_id = _printable(run_id)
    return ScannedRun(run_id, tuple(decoded), view, tuple(flaws))


def _check_texts(event: Row) -> None:
    """Refuse what is no UTF-8; the mapper takes envelopes as they are. Raises `StoreCorrupt`."""
    for column in _TEXTS:
        text = event[column]
        if text is not None and not (isinstance(text, str) and (text.isascii() or _whole(text))):
            raise StoreCorrupt(
                f"run {event[_KEY]}, version {event[2]}, position {event[_NUMBER]}: expected text in UTF-8,"
                f" found {text!r:.60}; restore the store from a backup"
            )


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flaw(kind: ProblemKind, error: Exception, position: object = None) -> Flaw:
    return Flaw(kind, _printable(str(error)), position if isinstance(position, int) else None)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
