"""Histories that come from elsewhere: what they must be, and what an import did with them.

No rule of a run's life is asked here. What a history says has happened; it has to be whole and in order, no more.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from ..domain.errors import InvalidInput
from ..domain.events import RecordedEvent, RunCreated
from ..domain.values import RunId
from .run_view import RunView, apply


class Placed(NamedTuple):
    """An event, and where it was read."""

    where: str
    """E.g. ``runs.jsonl, line 3``."""
    recorded: RecordedEvent
    """With position and `recorded_at` of the store that it comes from."""


class ImportReport(BaseModel):
    """What an import did.

    >>> ImportReport(events=3, runs=1, added=3, new_runs=1).extended_runs
    0
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    events: int
    """Events that were read, repeats included."""
    runs: int
    """Runs that they belong to."""
    added: int = 0
    """Events that the store did not have; 0 for a repeated import."""
    new_runs: int = 0
    """Runs that the store did not have."""
    extended_runs: int = 0
    """Runs of which the store had the beginning."""


class Refusal(NamedTuple):
    """Why an event cannot be taken."""

    where: str
    field: str
    """As it is called in a line, e.g. ``runversion``."""
    why: str

    @property
    def error(self) -> InvalidInput:
        """To be raised.

        >>> str(Refusal("a.jsonl, line 2", "id", "expected a new one, found that of run 17").error)
        'a.jsonl, line 2, field id: expected a new one, found that of run 17; nothing was imported'
        """
        return InvalidInput(f"{self.where}, field {self.field}: {self.why}; nothing was imported")


class HistoryCheck:
    """Folds the events of one run, given in order of version, and says what is wrong with each.

    `order` is the event's number among all that were read: a history also stands in the right order there.
    """

    def __init__(self) -> None:
        self.view: RunView | None = None
        """The fold of the events so far."""
        self.last: Placed | None = None
        """The newest of them."""
        self._order = 0

    def add(self, placed: Placed, order: int) -> Refusal | None:
        """The next event, which is no repeat of the one before. None when it fits.

        >>> from ..domain.events import RunCancelled
        >>> from ..domain.values import EPOCH
        >>> event = RecordedEvent(run_id=17, version=1, position=1, event_id="0" * 32, event=RunCancelled(),
        ...     occurred_at=EPOCH, recorded_at=EPOCH)
        >>> HistoryCheck().add(Placed("line 1", event), 1).why
        'expected RunCreated as the first event of run 17, found RunCancelled'
        """
        where, recorded = placed
        found = self._wrong(recorded, order)
        if found is not None:
            return Refusal(where, *found)
        self.view = apply(self.view, recorded)
        self.last, self._order = placed, order
        return None

    def _wrong(self, recorded: RecordedEvent, order: int) -> tuple[str, str] | None:
        run, version = recorded.run_id, recorded.version
        if self.last is None:
            if version != 1:
                return "runversion", _gap(run, 1, version)
            if not isinstance(recorded.event, RunCreated):
                what = f"expected RunCreated as the first event of run {run}, found {recorded.type}"
                return "type", what
            return None
        before = self.last.recorded
        if version != before.version + 1:
            return "runversion", _gap(run, before.version + 1, version)
        if order < self._order:
            where = self.last.where
            what = f"expected version {version} of run {run} behind version {before.version}, which stands in {where}"
            return "runversion", f"{what}, found it before; put the lines in order"
        if type(recorded.run_id) is not type(before.run_id):
            kinds = _kind(before.run_id), _kind(recorded.run_id)
            return (
                "runidtype",
                f"expected {kinds[0]!r} as in the first event of run {run}, found {kinds[1]!r}",
            )
        return None


def other_content(known: RecordedEvent, found: RecordedEvent) -> str | None:
    """The fields in which two events with the same run and version differ, as they are called in a line; None when they are the same event.

    Position and `recorded_at` are not compared: each store has its own.

    >>> from ..domain.values import EPOCH
    >>> one = RecordedEvent(run_id=17, version=1, position=1, event_id="0" * 32, event=RunCreated(name="import"),
    ...     occurred_at=EPOCH, recorded_at=EPOCH)
    >>> other_content(one, one.model_copy(update={"position": 9, "actor": "api"}))
    'actor'
    """
    pairs = {
        "id": (known.event_id, found.event_id),
        "type": (known.type, found.type),
        "time": (known.occurred_at, found.occurred_at),
        "data": (_facts(known), _facts(found)),
        "runidtype": (_kind(known.run_id), _kind(found.run_id)),
        "actor": (known.actor, found.actor),
        "correlationid": (known.correlation_id, found.correlation_id),
    }
    return ", ".join(name for name, (one, two) in pairs.items() if one != two) or None


def _facts(recorded: RecordedEvent) -> str:
    """As JSON: Python alone holds True and 1 for the same."""
    return recorded.event.model_dump_json(exclude_none=True)


def _kind(run_id: RunId) -> str:
    return "int" if isinstance(run_id, int) else "str"


def _gap(run: RunId, expected: int, found: int) -> str:
    return (
        f"expected {expected} as the next version of run {run}, found {found}: the events between are missing;"
        " export the whole run again"
    )
