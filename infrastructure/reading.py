"""RunReader: the questions that services ask. It never writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

from ..domain.errors import RunNotFound
from ..domain.events import TERMINAL_TOPICS, RecordedEvent
from ..domain.status import ACTIVE, FlagReason, RunStatus
from ..domain.values import Owner, RunId
from ..projections.completion import CompletionSignal, signal_of_event
from ..projections.flags import Liveness, flag_of
from ..projections.ports import RunStore
from ..projections.queries import Page, RunQuery, statuses_of
from ..projections.run_view import RunView
from ..projections.verifying import VerifyReport, verify
from .clock import Clock
from .liveness import owner_alive
from .telemetry import RUNS_FLAGGED, gauge

_FEED_BATCH = 500
_FOLLOW_WAIT = 1.0
_OUTAGES_REMEMBERED = timedelta(days=7)

# Inside the class, `list` is the method that lists runs.
Views: TypeAlias = list[RunView]
Ids: TypeAlias = list[RunId]
History: TypeAlias = list[RecordedEvent]
Outages: TypeAlias = tuple[tuple[datetime, datetime], ...]


class RunReader:
    """Answers questions about runs from one store. All methods may raise `StoreUnavailable`."""

    def __init__(
        self, store: RunStore, *, clock: Clock, start_timeout: timedelta | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._start_timeout = start_timeout
        self._closed = threading.Event()

    @property
    def store(self) -> RunStore:
        """The store that answers."""
        return self._store

    @property
    def clock(self) -> Clock:
        """The clock by which flags are told."""
        return self._clock

    def get(self, run_id: RunId) -> RunView:
        """The run as the store has it now, with its flag. Raises `RunNotFound`."""
        view = self._store.view(run_id)
        if view is None:
            raise RunNotFound(run_id)
        return self._flagger(self._clock())(view)

    def list(
        self,
        status: RunStatus | str | Iterable[RunStatus | str] | None = None,
        name: str | None = None,
        flagged: bool | None = None,
        tags: Mapping[str, str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[RunView]:
        """Runs newest first, by time of creation. `limit` is 1 to 1,000; `cursor` is an earlier page's `next_cursor`.

        `flagged` keeps only runs that have a flag now (True), or have none (False); `since` is inclusive, `until` is not.
        Raises `InvalidInput`.
        """
        statuses = statuses_of(status)
        if flagged:
            statuses = ACTIVE if statuses is None else statuses & ACTIVE
        query = RunQuery(
            statuses=statuses,
            name=name,
            tags=dict(tags or {}),
            since=since,
            until=until,
            limit=limit,
            cursor=cursor,
        )
        with_flag = self._flagger(self._clock())
        keep = (
            None if flagged is None else lambda view: (with_flag(view).flag is not None) is flagged
        )
        page = self._store.query(query, keep)
        return Page(tuple(with_flag(view) for view in page), page.next_cursor)

    def active(self) -> Views:
        """All runs without a last word, oldest first."""
        return [*map(self._flagger(self._clock()), self._store.active())]

    def latest(self, name: str | None = None) -> RunView | None:
        """The run created last, of this name if one is given; None when there is none."""
        page = self.list(name=name, limit=1)
        return page[0] if page else None

    def counts(self) -> dict[RunStatus, int]:
        """How many runs have each status; every status has a number."""
        return self._store.counts()

    def flagged(self, now: datetime | None = None) -> Views:
        """The active runs that look as if they will never end, oldest first, each with its `flag`."""
        views = map(self._flagger(now or self._clock()), self._store.active())
        found = [view for view in views if view.flag is not None]
        gauge(RUNS_FLAGGED, len(found))
        return found

    def find(self, fragment: str) -> Ids:
        """Ids that begin or end with the fragment, at most ten; an exact match alone."""
        return self._store.find(fragment)

    def history(self, run_id: RunId) -> History:
        """Everything that happened to the run, in order. Raises `RunNotFound`."""
        recorded = self._store.read_run(run_id)
        if not recorded:
            raise RunNotFound(run_id)
        return recorded

    def completions(self, after: int = 0) -> Iterator[tuple[int, CompletionSignal]]:
        """Every last word behind a position, in store order, as (position, signal); ends at the newest one.

        A run that was declared lost and reported later stands here twice: the correction is the later one.
        """
        while recorded := self._store.read(after, _FEED_BATCH, TERMINAL_TOPICS):
            for item in recorded:
                after = item.position
                message = signal_of_event(item)
                if message is not None:
                    yield item.position, message

    def follow(self, after: int = 0) -> Iterator[tuple[int, CompletionSignal]]:
        """The same, and then waits for new ones; ends when the tracker is closed."""
        position = seen = after
        while not self._closed.is_set():
            newest = self._store.last_position()
            for position, message in self.completions(position):  # noqa: B020  # it goes on from there
                yield position, message
            seen = max(seen, newest, position)
            while not self._closed.is_set() and not self._store.wait(seen, _FOLLOW_WAIT):
                continue

    def verify(self, progress: Callable[[int], None] | None = None) -> VerifyReport:
        """Fold every run's events and compare with its row, field by field; `progress` gets the number of runs done."""
        return verify(self._store.scan(), progress)

    def known_outages(self, now: datetime) -> Outages:
        """When the store is known to have been away; that time does not count as anybody's silence."""
        return tuple(self._store.outages(now - _OUTAGES_REMEMBERED))

    def with_flag(self, view: RunView, now: datetime, outages: Outages) -> RunView:
        """The view, as read from the store, with the flag it deserves at this moment."""
        return self._flagger(now, outages)(view)

    def _flagger(
        self, now: datetime, outages: Outages | None = None
    ) -> Callable[[RunView], RunView]:
        """Puts the flag into views; looks each owner up once, and outages only when somebody seems silent."""
        owners: dict[Owner, bool | None] = {}
        known = outages

        def with_flag(view: RunView) -> RunView:
            nonlocal known
            if view.status.is_terminal:
                return view
            alive = None
            if view.owner is not None:
                if view.owner not in owners:
                    owners[view.owner] = owner_alive(view.owner)
                alive = owners[view.owner]
            flag = flag_of(view, now, Liveness(alive, self._start_timeout, known or ()))
            if flag is not None and flag.reason is FlagReason.SILENT and known is None:
                known = self.known_outages(now)
                flag = flag_of(view, now, Liveness(alive, self._start_timeout, known))
            return view if flag is None else view.model_copy(update={"flag": flag})

        return with_flag
