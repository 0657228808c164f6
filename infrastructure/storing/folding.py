"""Folding many runs: the rows of their events straight into the fields of their views.

The fold is that of `projections.run_view`. What is left out is what a single event needs and a million do not: envelopes as objects, times as
`datetime`, and the same facts decoded again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from ...domain.errors import StoreCorrupt, UnsupportedSchema
from ...domain.events import RunEvent
from ...domain.values import Owner
from ...projections.run_view import Fields, advance, begin, fold_view
from ..mapper import decode_event, is_plain, recorded_event
from .rows import owner_text

Row = Sequence[Any]

_REMEMBERED = 2_000
_SHORT = 1_000
"""Bytes of facts that are worth remembering."""


class WrittenOwner(NamedTuple):
    """An owner, and the text under which it is stored."""

    owner: Owner
    text: str


class Folder:
    """Folds runs one after the other, and remembers facts that come again: most runs of a process have the same owner, many the same name."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, bytes], RunEvent] = {}
        self._owners: dict[int, WrittenOwner] = {}

    def quickly(self, events: Sequence[Row]) -> Fields | None:
        """The fields of the view after all events of a run, in order of version; times are microseconds.

        None unless every event is as it was written and where it must be: whole history, growing positions, readable facts. Then the
        long way, by `recorded_event` and `fold_view`, says what is wrong.
        """
        fields: Fields | None = None
        version = before = 0
        decoded = self._events
        int_id = events[0][10]
        try:
            for row in events:
                position, key, number, topic, state, _, at, _, _, _, kind = row
                version += 1
                if number != version or position <= before or kind != int_id or not is_plain(row):
                    return None
                before = position
                event = decoded.get((topic, state)) or self._decoded(topic, state)
                if fields is None:
                    fields = begin(event, int(key) if kind else key, version, position, at)
                else:
                    advance(fields, event, version, position, at)
        except (StoreCorrupt, UnsupportedSchema, TypeError, ValueError):
            return None
        return fields

    def owner_text(self, owner: Owner) -> str:
        """`rows.owner_text`; the same object, which is that of many runs, is put into text once."""
        return self.owner(owner).text

    def owner(self, owner: Owner) -> WrittenOwner:
        """The owner with its text."""
        known = self._owners.get(id(owner))
        if known is None:
            if len(self._owners) >= _REMEMBERED:
                self._owners.clear()
            known = self._owners[id(owner)] = WrittenOwner(owner, owner_text(owner))
        return known

    def _decoded(self, topic: str, state: bytes) -> RunEvent:
        event = decode_event(topic, state, "event")
        if len(state) <= _SHORT:
            if len(self._events) >= _REMEMBERED:
                self._events.clear()
            self._events[topic, state] = event
        return event


def folded(rows: Iterable[Row], folder: Folder) -> Iterator[tuple[int, Fields]]:
    """The number and the fields of each run, from rows in order of run and version. Raises `StoreCorrupt`, `UnsupportedSchema`."""
    for _, group in groupby(rows, key=itemgetter(1)):
        events = list(group)
        fields = folder.quickly(events)
        if fields is None:
            view = fold_view(map(recorded_event, events))
            assert view is not None  # noqa: S101  # there is at least one event
            fields = dict(view.__dict__)
        yield events[0][0], fields
