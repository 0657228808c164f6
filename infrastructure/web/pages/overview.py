"""What every view of the list shows besides its runs: asked once for all who look at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from ....domain.errors import LastwordError
from ....domain.status import ACTIVE, RunStatus
from ....domain.values import run_key
from ....projections.queries import MAX_PAGE
from ....projections.run_view import RunView
from ...spooling.checking import waiting_runs
from ...spooling.spool import SpoolStatus
from ...tracking.tracker import RunTracker
from .strip import HOURS, Strip, first_hour, strip

T = TypeVar("T")

_KEPT_SECONDS = 1.0
"""So long an answer serves all who ask for it."""
_CHART_SECONDS = 15.0
_REST = 9
"""So many times as long as it took to fetch, an answer is kept at least."""
_NAMES_KEPT = 100


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the store as a whole."""

    counts: dict[RunStatus, int]
    flagged: int
    more_flagged: bool
    """True when there are more flagged runs than were counted."""
    spool: Spool
    strip: Strip

    @property
    def total(self) -> int:
        """All runs."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Spool:
    """What the store has not taken yet."""

    status: SpoolStatus
    runs: frozenset[str]
    """The keys of the runs that have events there."""
    readable: bool = True

    def holds(self, view: RunView) -> bool:
        """Whether something of this run waits."""
        return bool(self.runs) and run_key(view.run_id) in self.runs


class Shared:
    """Answers that are the same for everybody who looks at the same time, from one tracker."""

    def __init__(self, tracker: RunTracker) -> None:
        self._tracker = tracker
        self._counts = Kept(_KEPT_SECONDS, tracker.counts)
        self._flagged = Kept(_KEPT_SECONDS, self._count_flagged)
        self._spool = Kept(_KEPT_SECONDS, self._look_into_spool)
        self._charts: dict[str, Kept[Strip]] = {}
        self._lock = threading.Lock()

    def overview(self, name: str = "") -> Overview:
        """The store as a whole; the chart counts runs of this name only, if one is given. Raises `StoreUnavailable`."""
        flagged, more = self._flagged()
        return Overview(self._counts(), flagged, more, self._spool(), self._chart(name)())

    def spool(self) -> Spool:
        """What waits in the spool."""
        return self._spool()

    def _count_flagged(self) -> tuple[int, bool]:
        page = self._tracker.list(status=ACTIVE, flagged=True, limit=MAX_PAGE)
        return len(page), page.next_cursor is not None

    def _look_into_spool(self) -> Spool:
        status = self._tracker.spool_status()
        if not status.events:
            return Spool(status, frozenset())
        try:
            return Spool(status, frozenset(waiting_runs(self._tracker.spool_folder)))
        except LastwordError:  # the banner says that something waits, and cannot say whose
            return Spool(status, frozenset(), readable=False)

    def _chart(self, name: str) -> Kept[Strip]:
        with self._lock:
            if name not in self._charts:
                if len(self._charts) >= _NAMES_KEPT:
                    del self._charts[next(iter(self._charts))]
                self._charts[name] = Kept(_CHART_SECONDS, lambda: self._draw(name))
            return self._charts[name]

    def _draw(self, name: str) -> Strip:
        since = first_hour(self._tracker.clock())
        return strip(self._tracker.tally(since, stretches=HOURS, name=name or None))


class Kept(Generic[T]):
    """An answer that is kept for a while; of those who ask meanwhile one fetches it, and the others wait for that.

    One that took long is kept longer, so that fetching never takes more than a tenth of the time, however large the store is. An
    error is kept as well: those who wait for a store that is away must not try it one after the other.
    """

    def __init__(
        self, seconds: float, fetch: Callable[[], T], clock: Callable[[], float] = monotonic
    ) -> None:
        self._seconds = seconds
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._since = self._until = 0.0
        self._answer: Callable[[], T] | None = None

    def __call__(self) -> T:
        """The answer. Raises what fetching it raises."""
        with self._lock:
            if self._answer is None or not self._since <= self._clock() < self._until:
                begun = self._clock()
                self._answer = self._fetched()
                self._since = self._clock()
                self._until = self._since + max(self._seconds, _REST * (self._since - begun))
            return self._answer()

    def _fetched(self) -> Callable[[], T]:
        try:
            answer = self._fetch()
        except LastwordError as found:
            error = found
        else:
            return lambda: answer

        def fail() -> T:
            raise error.with_traceback(None)

        return fail
