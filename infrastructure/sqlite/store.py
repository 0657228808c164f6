"""The store in a SQLite file, or in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ...domain.errors import LastwordError, StoreCorrupt
from ...domain.events import RecordedEvent
from ...domain.status import RunStatus
from ...domain.values import Owner, RunId, run_key, to_micros, utc
from ...projections.importing import ImportReport, Placed
from ...projections.ports import (
    Append,
    Appended,
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
from ..clock import Clock, now_utc
from ..logs import get_logger
from ..mapper import recorded_event
from ..storing import queries
from ..storing.asking import AskedStore
from . import archiving, erasing, restoring
from .datastore import ThreadDatastore
from .faults import translated
from .grouping import GroupCommit
from .importing import import_runs
from .inspecting import inspect
from .network import mounts, network_filesystem
from .outages import outages, record_outage
from .past import past, position_at
from .preparing import Preparation, prepare_memory
from .rebuilding import Rebuild, rebuild_if_outdated
from .recorder import SELECT_EVENTS, RunRecorder
from .rows import OF_RUN, SELECT_VIEW, view_of
from .scanning import check, scan
from .scanning import log as read_log
from .waiting import wait_for_event

log = get_logger("lastword.store")

T = TypeVar("T")

MEMORY = ":memory:"


class SQLiteStore(AskedStore):
    """Runs in a SQLite file; see `RunStore` for what each method promises.

    ``":memory:"`` keeps them in this process until `close`. The file is made when it is missing, its folder is not.
    `clock` gives `recorded_at`; `busy_timeout`, in seconds, is how long one attempt waits for a lock.

    Raises `StoreUnavailable`, `StoreCorrupt` when the file is something else, `UnsupportedSchema` when a newer release wrote it.

    >>> with_runs = SQLiteStore(":memory:")
    >>> with_runs.last_position()
    0
    >>> with_runs.close()
    """

    _looks_near = True

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock = now_utc,
        busy_timeout: float = 5.0,
    ) -> None:
        self._clock = clock
        if str(path) == MEMORY:
            self._url = f"sqlite:///{MEMORY}"
            self._datastore = ThreadDatastore(None, self._url, busy_timeout=busy_timeout)
        else:
            file = Path(os.path.abspath(path))  # noqa: PTH100  # Path.absolute keeps ".."
            self._url = f"sqlite:///{file}"
            Preparation(file, self._url, busy_timeout).run()
            self._datastore = ThreadDatastore(file, self._url, busy_timeout=busy_timeout)
        self._recorder = RunRecorder(self._datastore)
        self._commits = GroupCommit(self._datastore, clock)
        try:
            self._open()
        except BaseException:
            self._datastore.close()
            raise

    @translated
    def _open(self) -> None:
        path = self._datastore.path
        if path is None:
            prepare_memory(self._datastore.link().raw, self._url)
            return
        kind = network_filesystem(os.path.realpath(path), mounts())
        if kind is not None:
            log.warning("lastword.store.network_filesystem", url=self._url, filesystem=kind)
        rebuild_if_outdated(self._datastore)

    @property
    def url(self) -> str:
        """``sqlite:///`` and the absolute path."""
        return self._url

    @property
    def clock(self) -> Clock:
        """The one it was given."""
        return self._clock

    @property
    def recorder(self) -> RunRecorder:
        """The eventsourcing library's view of the log."""
        return self._recorder

    @translated
    def append(self, append: Append, *, fresh: bool = False) -> Appended | None:
        """See `RunStore.append`."""
        if fresh:
            return self._commits.append_fresh(append)
        return self._commits.append(append)

    @translated
    def append_all(self, appends: Sequence[Append]) -> list[Appended | LastwordError | None]:
        """See `RunStore.append_all`."""
        return self._commits.append_all(appends)

    @translated
    def read_run(self, run_id: RunId) -> list[RecordedEvent]:
        """See `RunStore.read_run`."""
        rows = self._datastore.fetch(
            f"{SELECT_EVENTS} WHERE originator_id = ? ORDER BY originator_version",
            (run_key(run_id),),
        )
        return [recorded_event(row) for row in rows]

    @translated
    def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[RecordedEvent]:
        """See `RunStore.read`."""
        if limit < 1:
            return []
        rows = self._datastore.fetch(*queries.feed(SELECT_EVENTS, after, limit, topics))
        return [recorded_event(row) for row in rows]

    @translated
    def last_position(self) -> int:
        """See `RunStore.last_position`."""
        return self._recorder.max_notification_id() or 0

    @translated
    def wait(self, after: int, timeout: float) -> bool:
        """See `RunStore.wait`. Appends of other processes are noticed within 40 ms."""
        return wait_for_event(self._recorder, after, timeout)

    @translated
    def view(self, run_id: RunId) -> RunView | None:
        """See `RunStore.view`."""
        rows = self._datastore.fetch(f"{SELECT_VIEW} WHERE r.{OF_RUN}", (run_key(run_id),))
        return view_of(rows[0]) if rows else None

    @translated
    def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._datastore.fetch(statement, values)

    def _view(self, row: Sequence[Any]) -> RunView:
        return view_of(row)

    @translated
    def counts(self) -> dict[RunStatus, int]:
        """See `RunStore.counts`."""
        counted = dict(self._datastore.fetch("SELECT status, runs FROM status_counts"))
        return {status: counted.get(status.value, 0) for status in RunStatus}

    @translated
    def renew_lease(self, owner: Owner, now: datetime) -> None:
        """See `RunStore.renew_lease`."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "INSERT INTO leases (owner, host, pid, renewed_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (owner) DO UPDATE SET renewed_at = max(renewed_at, excluded.renewed_at)",
                (owner.key, owner.host, owner.pid, to_micros(utc(now))),
            )

    @translated
    def forget_leases(self, before: datetime) -> int:
        """See `RunStore.forget_leases`."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute("DELETE FROM leases WHERE renewed_at < ?", (to_micros(utc(before)),))
            return cursor.sqlite_cursor.rowcount

    @translated
    def record_outage(self, since: datetime, until: datetime) -> None:
        """See `RunStore.record_outage`."""
        record_outage(self._datastore, since, until)

    @translated
    def outages(self, since: datetime) -> list[tuple[datetime, datetime]]:
        """See `RunStore.outages`."""
        return outages(self._datastore, since)

    @translated
    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> int:
        """See `RunStore.rebuild`. Raises `StoreUnavailable` while another rebuild is at work."""
        return Rebuild(self._datastore).run(progress)

    def scan(self) -> Generator[ScannedRun]:
        """See `RunStore.scan`."""
        return self._each(scan(self._datastore))

    def check(self) -> Generator[ScannedRun | SoundRuns]:
        """See `RunStore.check`."""
        return self._each(check(self._datastore))

    def log(
        self, after: int = 0, run_ids: Sequence[RunId] | None = None
    ) -> Generator[Sequence[StoredRow]]:
        """See `RunStore.log`."""
        return self._each(read_log(self._datastore, after, run_ids))

    @translated
    def import_runs(
        self, events: Iterable[Placed], progress: Callable[[int], None] | None = None
    ) -> ImportReport:
        """See `RunStore.import_runs`."""
        return import_runs(self._datastore, events, self._clock, progress)

    def _each(self, found: Generator[T]) -> Generator[T]:
        try:
            while (item := self._next(found)) is not None:
                yield item
        finally:
            found.close()

    @translated
    def _next(self, found: Iterator[T]) -> T | None:
        return next(found, None)

    @translated
    def inspect(self, now: datetime) -> list[Problem]:
        """See `RunStore.inspect`."""
        return inspect(self._datastore, utc(now))

    @translated
    def store_id(self) -> str:
        """See `RunStore.store_id`. Raises `StoreCorrupt` when it is gone."""
        rows = self._datastore.fetch("SELECT value FROM meta WHERE key = 'store_id'")
        if not rows:
            raise StoreCorrupt(
                f"{self._url}: expected the id that the store was made with, found none; restore a backup"
            )
        return rows[0][0]

    @translated
    def position_at(self, when: datetime) -> int:
        """See `RunStore.position_at`."""
        with self._datastore.transaction(commit=False) as cursor:
            return position_at(cursor.sqlite_cursor, to_micros(utc(when)))

    @translated
    def past(self, when: datetime, *, occurred: bool = False) -> Past:
        """See `RunStore.past`."""
        return past(self._datastore, to_micros(utc(when)), occurred=occurred)

    @translated
    def finished(self, before: datetime) -> list[tuple[RunId, int]]:
        """See `RunStore.finished`."""
        return archiving.finished(self._datastore, to_micros(utc(before)))

    def store_events(self, after: int = 0) -> Iterator[RecordedEvent]:
        """See `RunStore.store_events`."""
        return self._each(archiving.store_events(self._datastore, after))

    @translated
    def remove_runs(
        self,
        runs: Sequence[tuple[RunId, int]],
        record: Callable[[Sequence[StoredRow]], NewEvent],
    ) -> Removed:
        """See `RunStore.remove_runs`."""
        return archiving.remove_runs(self._datastore, runs, record, self._clock())

    @translated
    def rewrite(self, rewrite: Rewrite) -> RunView:
        """See `RunStore.rewrite`."""
        return erasing.rewrite(self._datastore, rewrite, self._clock())

    @translated
    def leases(self) -> list[Lease]:
        """See `RunStore.leases`."""
        return restoring.leases(self._datastore)

    @translated
    def restore(self, copied: Copied) -> int:
        """See `RunStore.restore`."""
        return restoring.restore(self._datastore, copied)

    @translated
    def compact(self, *, whole: bool) -> bool:
        """See `RunStore.compact`. Writing a large file anew keeps other writers waiting."""
        return erasing.compact(self._datastore, whole=whole)

    def close(self) -> None:
        """See `RunStore.close`."""
        self._datastore.close()
