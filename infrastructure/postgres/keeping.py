"""What a store does with all of its runs at once: looking through them, carrying them, removing them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from ...domain.errors import StoreCorrupt
from ...domain.events import RecordedEvent
from ...domain.values import RunId, to_micros, utc
from ...projections.importing import ImportReport, Placed
from ...projections.ports import (
    Copied,
    Lease,
    NewEvent,
    Past,
    Removed,
    Rewrite,
    ScannedRun,
    SoundRuns,
    StoredRow,
)
from ...projections.problems import Problem
from ...projections.run_view import RunView
from ..clock import Clock
from . import archiving, erasing, restoring
from .connections import Connections
from .faults import translated
from .importing import import_runs
from .inspecting import inspect
from .outages import outages, record_outage
from .reading import past_reader
from .rebuilding import Rebuild
from .scanning import check, scan
from .scanning import log as read_log
from .waiting import Ringer

T = TypeVar("T")


class KeptStore:
    """The part of `PostgresStore` that is about the store as a whole; see `RunStore` for what each method promises."""

    def __init__(self, url: str, connections: Connections, clock: Clock | None) -> None:
        self._url = url
        self._connections = connections
        self._clock = clock
        self._ringer = Ringer(connections)

    @property
    def url(self) -> str:
        """``postgresql://HOST/DATABASE?schema=SCHEMA``, without credentials."""
        return self._url

    @translated
    def store_id(self) -> str:
        """See `RunStore.store_id`. Raises `StoreCorrupt` when it is gone."""
        rows = self._connections.fetch("SELECT value FROM meta WHERE key = 'store_id'")
        if not rows:
            raise StoreCorrupt(
                f"{self._url}: expected the id that the store was made with, found none; restore a backup"
            )
        return rows[0][0]

    # -- looking through it

    def scan(self) -> Generator[ScannedRun]:
        """See `RunStore.scan`."""
        return self._each(scan(self._connections))

    def check(self) -> Generator[ScannedRun | SoundRuns]:
        """See `RunStore.check`."""
        return self._each(check(self._connections))

    def log(
        self, after: int = 0, run_ids: Sequence[RunId] | None = None
    ) -> Generator[Sequence[StoredRow]]:
        """See `RunStore.log`."""
        return self._each(read_log(self._connections, after, run_ids))

    @translated
    def inspect(self, now: datetime) -> list[Problem]:
        """See `RunStore.inspect`."""
        return inspect(self._connections, utc(now))

    @translated
    def position_at(self, when: datetime) -> int:
        """See `RunStore.position_at`."""
        moment = to_micros(utc(when))
        with past_reader(self._connections) as reader:
            return reader.position_at(moment)

    @translated
    def past(self, when: datetime, *, occurred: bool = False) -> Past:
        """See `RunStore.past`."""
        moment = to_micros(utc(when))
        with past_reader(self._connections) as reader:
            return reader.past(moment, occurred=occurred)

    @translated
    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> int:
        """See `RunStore.rebuild`. Raises `StoreUnavailable` while another rebuild is at work."""
        return Rebuild(self._connections).run(progress)

    # -- outages

    @translated
    def record_outage(self, since: datetime, until: datetime) -> None:
        """See `RunStore.record_outage`."""
        record_outage(self._connections, since, until)

    @translated
    def outages(self, since: datetime) -> list[tuple[datetime, datetime]]:
        """See `RunStore.outages`."""
        return outages(self._connections, since)

    # -- carrying and removing

    @translated
    def import_runs(
        self, events: Iterable[Placed], progress: Callable[[int], None] | None = None
    ) -> ImportReport:
        """See `RunStore.import_runs`."""
        report = import_runs(
            self._connections, events, self._clock or self._connections.clock, progress
        )
        if report.added:
            self._ringer.ring()
        return report

    @translated
    def leases(self) -> list[Lease]:
        """See `RunStore.leases`."""
        return restoring.leases(self._connections)

    @translated
    def restore(self, copied: Copied) -> int:
        """See `RunStore.restore`."""
        taken = restoring.restore(self._connections, copied)
        self._ringer.ring()
        return taken

    @translated
    def finished(self, before: datetime) -> list[tuple[RunId, int]]:
        """See `RunStore.finished`."""
        return archiving.finished(self._connections, to_micros(utc(before)))

    def store_events(self, after: int = 0) -> Iterator[RecordedEvent]:
        """See `RunStore.store_events`."""
        return self._each(archiving.store_events(self._connections, after))

    @translated
    def remove_runs(
        self,
        runs: Sequence[tuple[RunId, int]],
        record: Callable[[Sequence[StoredRow]], NewEvent],
    ) -> Removed:
        """See `RunStore.remove_runs`. Other writers wait meanwhile."""
        removed = archiving.remove_runs(self._connections, runs, record, self._now())
        self._ringer.ring()
        return removed

    @translated
    def rewrite(self, rewrite: Rewrite) -> RunView:
        """See `RunStore.rewrite`."""
        view = erasing.rewrite(self._connections, rewrite, self._now())
        self._ringer.ring()
        return view

    @translated
    def compact(self, *, whole: bool) -> bool:
        """See `RunStore.compact`. Writing the tables anew keeps everybody waiting."""
        return erasing.compact(self._connections, whole=whole)

    # -- inside

    def _now(self) -> int | None:
        """The time by the clock that was given; None: the server's own."""
        return None if self._clock is None else to_micros(self._clock())

    def _each(self, found: Generator[T]) -> Generator[T]:
        try:
            while (item := self._next(found)) is not None:
                yield item
        finally:
            found.close()

    @translated
    def _next(self, found: Iterator[T]) -> T | None:
        return next(found, None)
