"""The store in a schema of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import psycopg

from ...domain.errors import InvalidInput, LastwordError, StoreUnavailable
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
from .appending import Lease, Step, execute, execute_all, refusal, step_of
from .connections import Connections, Link
from .faults import translated
from .keeping import KeptStore
from .reading import SELECT_EVENTS, event_of, run_events
from .rebuilding import rebuild_if_outdated
from .rows import text_in, view_of
from .schema import prepare
from .waiting import wait_for_event

log = get_logger("lastword.store")

T = TypeVar("T")

_TRIES = 100
"""After so many changes between a look and the write, something else is wrong."""


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
        self._settled = 0
        try:
            self._open()
        except BaseException:
            self._connections.close()
            raise

    @translated
    def _open(self) -> None:
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
        checked(append)
        if fresh:
            with self._connections.separate() as link:
                return self._append(append, link)
        return self._append(append)

    @translated
    def append_all(self, appends: Sequence[Append]) -> list[Appended | LastwordError | None]:
        """See `RunStore.append_all`."""
        answers: list[Appended | LastwordError | None] = [None] * len(appends)
        steps: dict[int, Step] = {}
        for place, append in enumerate(appends):
            try:
                checked(append)
                asked, lease = self._asked(append)
                if asked:
                    steps[place] = step_of(append, self._connections, lease, taken=True)
            except InvalidInput as error:
                answers[place] = error
        if not steps:
            return answers
        try:
            with self._connections.held(self._connections.patience) as link:
                written = execute_all(link, self._connections, [*steps.values()], self._now())
        except psycopg.errors.UniqueViolation:  # one of them meets events without a row
            written = [None] * len(steps)
        for place, appended in zip(steps, written, strict=True):
            answers[place] = appended or self._alone(appends[place])
        self._ringer.ring()
        self._fold_counters_after([answer for answer in answers if isinstance(answer, Appended)])
        return answers

    def _alone(self, append: Append) -> Appended | LastwordError | None:
        """The answer for one that wrote nothing beside others: why, or, if nothing stands in its way any more, what became of it."""
        try:
            return self._append(append)
        except StoreUnavailable:
            raise
        except LastwordError as error:
            return error

    def _append(self, append: Append, link: Link | None = None) -> Appended | None:
        for _ in range(_TRIES):
            asked, lease = self._asked(append)
            if not asked:
                return None
            step = step_of(append, self._connections, lease)
            if link is not None:
                appended = self._write(link, append, step)
            else:
                with self._connections.held(self._connections.patience) as usual:
                    appended = self._write(usual, append, step)
            if appended is not None:
                self._ringer.ring()
                self._fold_counters_after([appended])
                return appended
        raise StoreUnavailable(
            f"run {append.run_id}: expected to append, but lost {_TRIES} races against other writers; try again"
        )

    def _asked(self, append: Append) -> tuple[bool, Lease | None]:
        """Whether the guard lets it pass, and the lease that it saw, which has to be the same when the events are written."""
        if append.guard is None:
            return True, None
        found = self._connections.fetch(f"{SELECT_VIEW} WHERE r.run_key = ?", (str(append.run_id),))
        if not found:
            return True, None
        view = view_of(found[0])
        lease = None
        if view.status is RunStatus.RUNNING and view.owner is not None:
            lease = Lease(text_in(view.owner.key), found[0][-1])
        return append.guard(view), lease

    def _write(self, link: Link, append: Append, step: Step) -> Appended | None:
        """One try; None when it is worth another one. Raises what stands in the way."""
        try:
            appended = execute(link, self._connections, step, self._now())
        except psycopg.errors.UniqueViolation:  # events without a row
            appended = None
        if appended is None:
            refused = refusal(link, self._connections, append)
            if refused is not None:
                raise refused
        return appended

    def _fold_counters_after(self, appended: Sequence[Appended]) -> None:
        """Now and then; one who adds a few thousand events up costs less than many who count them."""
        positions = [event.position for item in appended for event in item.events]
        if any(position % counters.FOLDED == 0 for position in positions):
            self._fold_counters()

    def _fold_counters(self) -> None:
        try:
            counters.fold(self._connections)
        except (psycopg.Error, StoreUnavailable) as error:
            log.debug("lastword.store.counters_not_folded", error=str(error))

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


def checked(append: Append) -> None:
    """Refuse what no store may take. Raises `InvalidInput`."""
    run_id = append.run_id if append.view is None else append.view.run_id
    run_key(run_id)  # an id that cannot be is refused before anything is written
    version = 0 if append.view is None else append.view.version
    if not append.events or version != append.expected_version:
        raise InvalidInput(
            f"run {run_id}: expected events and the view of version {append.expected_version},"
            f" found {len(append.events)} events and a view of version {version}; read the run again"
        )


def readable(query: RunQuery) -> RunQuery:
    """The query with its texts as they lie in the store."""
    tags = {text_in(key): text_in(value) for key, value in query.tags.items()}
    return replace(query, tags=tags)
