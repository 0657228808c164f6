"""RunReader: the questions that services ask. It never writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ...domain.errors import InvalidInput, RunNotFound
from ...domain.events import TERMINAL_TOPICS, RecordedEvent
from ...domain.status import ACTIVE, RunStatus
from ...domain.values import RunId, position_of, utc
from ...projections.completion import CompletionSignal, signal_of_event
from ...projections.ports import RunStore
from ...projections.queries import Page, RunQuery, Tally, TallyQuery, statuses_of
from ...projections.run_view import RunView
from ..clock import Clock
from ..opening import sqlite_path
from ..telemetry.metrics import RUNS_FLAGGED, gauge
from .flagging import Flagger, Outages

if TYPE_CHECKING:
    from ...projections.history import By, StoreSnapshot
    from ...projections.verifying import VerifyReport
    from ..auditing.seal_files import Seal

_FEED_BATCH = 500
_FOLLOW_WAIT = 1.0
_OUTAGES_REMEMBERED = timedelta(days=7)

# Inside the class, `list` is the method that lists runs.
Views: TypeAlias = list[RunView]
Ids: TypeAlias = list[RunId]
History: TypeAlias = list[RecordedEvent]


class RunReader:
    """Answers questions about runs from one store. All methods may raise `StoreUnavailable`."""

    spool_folder: Path | None = None
    """Where events wait that this store did not take; None when nothing is known of such a place."""

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

    @property
    def closed(self) -> bool:
        """Whether it was closed, and answers no more."""
        return self._closed.is_set()

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
        if flagged is None:
            page = self._store.query(query)
            return Page(tuple(map(with_flag, page)), page.next_cursor)
        kept: Views = []

        def keep(view: RunView) -> bool:
            view = with_flag(view)
            if (view.flag is not None) is not flagged:
                return False
            kept.append(view)  # one by one in the order of the page
            return True

        page = self._store.query(query, keep, with_flag.suspicion if flagged else None)
        return Page(tuple(kept[: len(page)]), page.next_cursor)

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

    def tally(
        self,
        since: datetime,
        *,
        stretch: timedelta = timedelta(hours=1),
        stretches: int = 24,
        name: str | None = None,
        limit: int = 50_000,
    ) -> Tally:
        """How many runs were created in each stretch of time from `since` on, by the status that they have now, for a chart.

        Of each status the newest `limit` runs are counted at the most. Raises `InvalidInput`.

        >>> from datetime import UTC, datetime
        >>> from lastword import RunTracker
        >>> midnight = datetime(2026, 2, 5, tzinfo=UTC)
        >>> with RunTracker("sqlite:///:memory:", clock=lambda: midnight + timedelta(minutes=90)) as tracker:
        ...     _ = tracker.create("import")
        ...     tracker.tally(midnight, stretches=3).numbers
        ({}, {<RunStatus.PENDING: 'pending'>: 1}, {})
        """
        query = TallyQuery(
            since=since, stretch=stretch, stretches=stretches, name=name, limit=limit
        )
        return self._store.tally(query)

    def flagged(self, now: datetime | None = None) -> Views:
        """The active runs that look as if they will never end, oldest first, each with its `flag`.

        Raises `InvalidInput` for a naive time.
        """
        with_flag = self._flagger(self._clock() if now is None else utc(now, "now"))
        views = map(with_flag, self._store.active(with_flag.suspicion))
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

    def as_of(self, run_id: RunId, when: datetime, by: By = "recorded") -> RunView | None:
        """The run as it was at a moment, which is included; without a flag. None when it did not exist yet.

        By `recorded`: what the store knew then; by `occurred`: what was true then, as far as it is known now. The two differ for events
        that waited in a spool. Raises `RunNotFound`, and `InvalidInput` for a naive time.

        >>> from datetime import UTC, datetime, timedelta
        >>> from lastword import RunTracker
        >>> moment = datetime(2026, 2, 5, tzinfo=UTC)
        >>> with RunTracker("sqlite:///:memory:", clock=lambda: moment) as tracker:
        ...     run_id = tracker.create("import")
        ...     tracker.as_of(run_id, moment - timedelta(seconds=1)), tracker.as_of(run_id, moment).status
        (None, <RunStatus.PENDING: 'pending'>)
        """
        from ...projections.history import as_of, by_of

        return as_of(self.history(run_id), utc(when, "when"), by_of(by))

    def status_at(self, when: datetime, by: By = "recorded") -> StoreSnapshot:
        """All runs at a moment, which is included: how many had each status, and which were active. `by` as for `as_of`.

        Raises `InvalidInput` for a naive time.
        """
        from ...projections.history import by_of, snapshot_of

        moment, by = utc(when, "when"), by_of(by)
        return snapshot_of(self._store.past(moment, occurred=by == "occurred"), moment, by)

    def completions(self, after: int = 0) -> Iterator[tuple[int, CompletionSignal]]:
        """Every last word behind a position, in store order, as (position, signal); ends at the newest one.

        A run that was declared lost and reported later stands here twice: the correction is the later one.
        Raises `InvalidInput` for what is no position.
        """
        after = position_of(after, "after")
        while recorded := self._store.read(after, _FEED_BATCH, TERMINAL_TOPICS):
            for item in recorded:
                after = item.position
                message = signal_of_event(item)
                if message is not None:
                    yield item.position, message

    def follow(self, after: int = 0) -> Iterator[tuple[int, CompletionSignal]]:
        """The same, and then waits for new ones; ends when the tracker is closed."""
        position = seen = position_of(after, "after")
        while not self._closed.is_set():
            newest = self._store.last_position()
            for position, message in self.completions(position):  # noqa: B020  # it goes on from there
                yield position, message
            seen = max(seen, newest, position)
            while not self._closed.is_set() and not self._store.wait(seen, _FOLLOW_WAIT):
                continue

    def verify(
        self,
        progress: Callable[[int, int], None] | None = None,
        *,
        seal: str | Path | None = None,
    ) -> VerifyReport:
        """Compute every run from its events and compare with its row, field by field; and compare the log with a seal.

        Also finds gaps, events that cannot be read, wrong counters, broken leases, and what was left in the spool. `progress` gets
        (runs done, runs in all). Memory does not grow with the store. A report that is not `ok` says where and what to do.

        Raises `InvalidInput` when the seal is that of another store, or was cut off or edited.

        >>> from lastword import RunTracker
        >>> with RunTracker("sqlite:///:memory:") as tracker:
        ...     _ = tracker.create("import")
        ...     tracker.verify().ok
        True
        """
        from ..auditing.verifying import verified

        return verified(
            self._store,
            self._clock(),
            None if seal is None else self._elsewhere(seal),
            self.spool_folder,
            progress,
        )

    def seal(self, path: str | Path, after: str | Path | None = None) -> Seal:
        """Write a fingerprint of the log so far into a new file, to be kept elsewhere.

        `after` names an earlier seal of this store; then only what came since is read and written, and the new seal builds on it. With a
        seal, `verify` finds every change, removal, insertion and reordering in the part that it covers.

        Raises `InvalidInput` when the file exists, and for an earlier seal of another store or one that is newer than this store.

        >>> import tempfile
        >>> from lastword import RunTracker
        >>> with tempfile.TemporaryDirectory() as folder, RunTracker("sqlite:///:memory:") as tracker:
        ...     _ = tracker.create("import")
        ...     sealed = tracker.seal(f"{folder}/today.seal")
        ...     sealed.end.events, tracker.verify(seal=sealed.path).ok
        (1, True)
        """
        from ..auditing.verifying import sealed

        earlier = None if after is None else self._elsewhere(after)
        return sealed(self._store, self._clock(), self._elsewhere(path), earlier)

    def export(
        self,
        run_ids: Iterable[RunId] | None = None,
        *,
        format: str = "cloudevents",  # noqa: A002  # the word on the command line
        redact: bool = False,
        namespace: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[bytes]:
        """The events of all runs, or of these, as lines of JSON: one event a line in store order, as of one moment.

        ``cloudevents`` can be imported again; ``openlineage`` is for lineage tools, and `namespace` its job namespace. `redact` takes out
        params, results, tags, names of people and hosts, and every other text that people wrote, and keeps the shape. `progress` gets
        (position, last position). Memory does not grow with the store.

        Raises `InvalidInput` for another format; while reading `RunNotFound`, `StoreCorrupt`, `UnsupportedSchema`.

        >>> from lastword import RunTracker
        >>> with RunTracker("sqlite:///:memory:") as tracker:
        ...     run_id = tracker.create("import", params={"folder": "in"})
        ...     line, = tracker.export([run_id], redact=True)
        >>> b'"params":{"folder":"redacted"}' in line
        True
        """
        from ..exchange.exporting import export_lines, format_of, openlineage_export

        if format_of(format) == "openlineage":
            return openlineage_export(
                self._store, run_ids, namespace=namespace, redact=redact, progress=progress
            )
        return export_lines(self._store, run_ids, redact=redact, progress=progress)

    def _elsewhere(self, path: str | Path) -> Path:
        """The path, unless the store itself lies there: opening that as a file would drop SQLite's locks."""
        found, own = Path(path), sqlite_path(self._store.url)
        if own is not None and found.resolve() in {
            Path(own + suffix).resolve() for suffix in ("", "-wal", "-shm")
        }:
            raise InvalidInput(
                f"seal {found.name}: expected a file for the seal, found the store itself; name another file"
            )
        return found

    def known_outages(self, now: datetime) -> Outages:
        """When the store is known to have been away; that time does not count as anybody's silence."""
        return tuple(self._store.outages(now - _OUTAGES_REMEMBERED))

    def with_flag(self, view: RunView, now: datetime, outages: Outages) -> RunView:
        """The view, as read from the store, with the flag it deserves at this moment."""
        return self._flagger(now, outages)(view)

    def _flagger(self, now: datetime, outages: Outages | None = None) -> Flagger:
        known = (lambda: self.known_outages(now)) if outages is None else lambda: outages
        return Flagger(now, self._start_timeout, known)
