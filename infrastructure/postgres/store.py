"""The store in a schema of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from ...domain.errors import LastwordError
from ...domain.events import RecordedEvent
from ...domain.status import RunStatus
from ...domain.values import Owner, RunId, run_key, to_micros, utc
from ...projections.flags import Suspicion
from ...projections.ports import Append, Appended
from ...projections.queries import Page, RunQuery
from ...projections.run_view import RunView
from ..clock import Clock
from ..logs import get_logger
from ..mapper import recorded_event
from ..storing import queries
from ..storing.asking import AskedStore
from ..storing.columns import SELECT_VIEW
from . import counters
from .address import parse
from .connections import UNPREPARED, Connections
from .faults import translated
from .grouping import GroupCommit
from .keeping import KeptStore
from .reading import SELECT_EVENTS, event_of, run_events
from .rebuilding import rebuild_if_outdated
from .rows import text_in, view_of
from .schema import prepare
from .waiting import wait_for_event

log = get_logger("lastword.store")

T = TypeVar("T")


class PostgresStore(KeptStore, AskedStore):
    """Runs in PostgreSQL; see `RunStore` for what each method promises.

    The URL is ``postgresql://...`` as PostgreSQL's own library takes it, with `schema`, `pool_size` and `prepare` as options of ours; the
    schema is made when it is missing. `clock` gives `recorded_at`; None: the server's own clock. `busy_timeout`, in seconds, is how long one
    statement, or the wait for a free connection, may take.

    Raises `InvalidInput` for a URL that cannot be used, `StoreUnavailable`, `StoreCorrupt`, `UnsupportedSchema`.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, busy_timeout: float = 5.0) -> None:
        address = parse(url)
        super().__init__(address.url, Connections(address, patience=busy_timeout), clock)
        self._commits = GroupCommit(self._connections, self._ringer, self._now)
        self._settled = 0
        try:
            self._open()
        except BaseException:
            self._connections.close()
            raise

    @translated
    def _open(self) -> None:
        try:
            self._make_ready()
        except UNPREPARED:  # a pooler is in between; from now on nothing is prepared
            self._make_ready()

    def _make_ready(self) -> None:
        prepare(self._connections)
        rebuild_if_outdated(self._connections)
        with self._connections.held() as link:
            self._connections.clock.set(link)

    @property
    def clock(self) -> Clock:
        """The one it was given, or the server's."""
        return self._clock or self._connections.clock

    @property
    def connections(self) -> Connections:
        """The way to the server."""
        return self._connections

    # -- writing

    @translated
    def append(self, append: Append, *, fresh: bool = False) -> Appended | None:
        """See `RunStore.append`."""
        return self._commits.append(append, fresh=fresh)

    @translated
    def append_all(self, appends: Sequence[Append]) -> list[Appended | LastwordError | None]:
        """See `RunStore.append_all`."""
        return self._commits.append_all(appends)

    # -- reading events

    @translated
    def read_run(self, run_id: RunId) -> list[RecordedEvent]:
        """See `RunStore.read_run`."""
        with self._connections.held() as link:
            rows = run_events(link, self._connections, run_key(run_id))
        return list(map(recorded_event, rows))

    @translated
    def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[RecordedEvent]:
        """See `RunStore.read`. What lies behind an event that is still on its way is not given yet."""
        if limit < 1:
            return []
        if after + limit > self._settled:
            self._settle()
        statement, values = queries.feed(SELECT_EVENTS, after, limit, topics)
        head, order, tail = statement.rpartition(" ORDER BY position")
        values.insert(-1, self._settled)
        rows = self._connections.fetch(f"{head} AND position <= ?{order}{tail}", values)
        return list(map(event_of, rows))

    @translated
    def last_position(self) -> int:
        """See `RunStore.last_position`."""
        return self._settle()

    @translated
    def wait(self, after: int, timeout: float) -> bool:
        """See `RunStore.wait`."""
        return wait_for_event(self._connections, self._settle, after, timeout)

    def _settle(self) -> int:
        """The newest position behind which nothing is missing; never goes back."""
        with self._connections.held() as link:
            found = counters.horizon(link, self._connections)
        self._settled = max(self._settled, found)
        return found

    # -- reading rows

    @translated
    def view(self, run_id: RunId) -> RunView | None:
        """See `RunStore.view`."""
        rows = self._connections.fetch(f"{SELECT_VIEW} WHERE r.run_key = ?", (run_key(run_id),))
        return view_of(rows[0]) if rows else None

    def query(
        self,
        query: RunQuery,
        keep: Callable[[RunView], bool] | None = None,
        suspicion: Suspicion | None = None,
    ) -> Page[RunView]:
        """See `RunStore.query`."""
        return super().query(readable(query), keep, suspicion)

    def find(self, fragment: str, limit: int = 10) -> list[RunId]:
        """See `RunStore.find`."""
        return [] if "\x00" in fragment else super().find(fragment, limit)

    @translated
    def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connections.fetch(statement, values)

    def _view(self, row: Sequence[Any]) -> RunView:
        return view_of(row)

    @translated
    def counts(self) -> dict[RunStatus, int]:
        """See `RunStore.counts`."""
        return counters.counts(self._connections)

    # -- leases

    @translated
    def renew_lease(self, owner: Owner, now: datetime) -> None:
        """See `RunStore.renew_lease`."""
        self._connections.run(
            "INSERT INTO leases (owner, host, pid, renewed_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (owner) DO UPDATE SET renewed_at = greatest(leases.renewed_at, excluded.renewed_at)",
            (text_in(owner.key), text_in(owner.host), owner.pid, to_micros(utc(now))),
        )

    @translated
    def forget_leases(self, before: datetime) -> int:
        """See `RunStore.forget_leases`."""
        return self._connections.run(
            "DELETE FROM leases WHERE renewed_at < ?", (to_micros(utc(before)),)
        )

    def close(self) -> None:
        """See `RunStore.close`."""
        if not self._connections.closed:
            self._ringer.flush()
        self._connections.close()
        self._ringer.stop()


def readable(query: RunQuery) -> RunQuery:
    """The query with its texts as they lie in the store."""
    tags = {text_in(key): text_in(value) for key, value in query.tags.items()}
    return replace(query, tags=tags)
