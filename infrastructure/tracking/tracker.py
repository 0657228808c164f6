"""RunTracker: the one object that services hold on to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import uuid_utils
from pydantic import JsonValue

from ...domain.commands import (
    Command,
    RecordProgress,
    RequestCancellation,
    StartRun,
)
from ...domain.errors import LastwordError, StoreUnavailable
from ...domain.status import RunStatus
from ...domain.values import Owner, RunId, run_key, utc
from ...projections.ports import RunStore
from ...projections.run_view import RunView
from ..auditing.retaining import RetainingTracker
from ..clock import Clock
from ..liveness.holding import Holdings
from ..liveness.outages import OutageWatch
from ..liveness.owners import this_owner
from ..liveness.sweeper import sweep
from ..logs import get_logger, ready
from ..opening import open_store, spool_folder
from ..spooling.spool import Spool, SpoolStatus
from ..telemetry.metrics import SWEEPS, count
from ..telemetry.telling import RunTelemetry
from .alerts import Alerts, Failure
from .backlog import Backlog
from .batch_journal import BatchJournal
from .batching import BatchingTracker, BatchOfThread
from .creating import creation
from .outcomes import OutcomeCommand, cancelled, completed, failed, outcome_of
from .reading import RunReader, Views
from .receipts import Receipt
from .retrying import RetryPolicy
from .scoping import ScopingTracker
from .throttle import ProgressThrottle

if TYPE_CHECKING:
    from ..settings import Settings

log = get_logger("lastword.tracker")


def new_event_id() -> str:
    """A fresh UUIDv7 as 32 hexadecimal digits."""
    return uuid_utils.uuid7().hex


class RunTracker(BatchingTracker, ScopingTracker, RetainingTracker, RunReader):
    """Records what happens to runs, and answers questions about them.

    `url` is a path, ``sqlite:///path`` or ``sqlite:///:memory:``; None means ``$LASTWORD_URL``, else a file in the user's data
    directory. Other settings go by name, see `Settings`. One tracker serves many threads; after a fork the child may go on with it.

    Trouble with the store is logged, and told to the `on_alert` callbacks, but not raised into the work, unless ``strict=True``.
    Reading raises `StoreUnavailable`.

    >>> tracker = RunTracker("sqlite:///:memory:")
    >>> run_id = tracker.create("import", run_id=1, params={"folder": "in"})
    >>> _ = tracker.start(run_id)
    >>> _ = tracker.complete(run_id, result={"rows": 10})
    >>> tracker.get(1).status
    <RunStatus.COMPLETED: 'completed'>
    >>> tracker.close()
    """

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        clock: Clock | None = None,
        on_alert: Iterable[Callable[[Failure], None]] = (),
        settings: Settings | None = None,
        store: RunStore | None = None,
        **given: Any,
    ) -> None:
        from ..settings import load_settings  # pydantic-settings takes long to import

        ready()
        self.settings = settings or load_settings(url=None if url is None else str(url), **given)
        retry = RetryPolicy(
            self.settings.retry_attempts, self.settings.retry_base_delay, self.settings.retry_budget
        )
        store = store or open_store(
            self.settings.url, clock=clock, busy_timeout=self.settings.attempt_timeout
        )
        clock = clock or store.clock
        super().__init__(store, clock=clock, start_timeout=self.settings.start_timeout_delta)
        self.spool_folder = folder = spool_folder(self._store.url, self.settings.spool_dir)
        spool = None if folder is None else Spool(folder)
        self._outages = OutageWatch(
            self._store, window=timedelta(seconds=2 * self.settings.heartbeat)
        )
        self._batches = BatchOfThread()
        self._journal = BatchJournal(
            self._store,
            clock=clock,
            new_id=new_event_id,
            retry=retry,
            keeper=spool,
            alerts=Alerts(on_alert),
            outages=self._outages,
        )
        self._throttle = ProgressThrottle(timedelta(seconds=self.settings.progress_interval))
        self._holdings = Holdings(self._turn, self.settings.heartbeat)
        self.telemetry = RunTelemetry()
        """Hears of what happens."""
        self._backlog = Backlog(self._journal, spool)
        self._backlog.deliver_quietly()

    # -- the life of a run

    def create(
        self,
        name: str,
        *,
        run_id: RunId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        tags: Mapping[str, str] | None = None,
        actor: str | None = None,
        correlation_id: str | None = None,
        parent_id: RunId | None = None,
        attempt: int = 1,
        retry_of: RunId | None = None,
        exclusive: str | None = None,
        deadline: timedelta | None = None,
        lease: timedelta | None = None,
    ) -> RunId:
        """Make a run exist and return its id: the given one, or a fresh UUIDv7.

        `params` is JSON, `tags` are str to str; `exclusive` allows one active run per key over all processes; `deadline` counts
        from now; `lease` is how long the owner may be silent. Repeating a call with the same id, name and params is harmless.

        Raises `InvalidInput`, `RunAlreadyExists`, `RunAlreadyActive`; `StoreUnavailable` when strict or exclusive.

        >>> with RunTracker("sqlite:///:memory:") as tracker:
        ...     tracker.create("import", run_id=1), tracker.create("import", run_id="1")
        (1, 1)
        """
        run_id, command = creation(
            self.settings,
            self._clock(),
            name,
            run_id=run_id,
            params=params,
            tags=tags,
            actor=actor,
            correlation_id=correlation_id,
            parent_id=parent_id,
            attempt=attempt,
            retry_of=retry_of,
            exclusive=exclusive,
            deadline=deadline,
            lease=lease,
        )
        return self.execute(run_id, command).run_id

    def start(self, run_id: RunId, *, owner: Owner | None = None) -> Receipt:
        """The work begins: in this process, unless another `owner` is named.

        This process renews its lease in the background until the run's last word. Raises `RunNotFound`, `InvalidTransition`.
        """
        me = this_owner()
        receipt = self.execute(run_id, StartRun(owner=owner or me, now=self._clock()))
        if owner is None or owner == me:
            view = receipt.view or self._journal.last_known(run_id)
            self._holdings.hold(receipt.run_id, view.lease_seconds if view else None)
        return receipt

    def progress(
        self,
        run_id: RunId,
        current: float,
        total: float | None = None,
        *,
        step: str | None = None,
        message: str | None = None,
    ) -> Receipt | None:
        """Report how far the work is, in any unit.

        At most one report per `progress_interval` is stored; of those between, the newest is held and stored a little later, or
        with the last word. None when it was held. Raises `RunNotFound`, `InvalidTransition`, `InvalidInput`.
        """
        command = self.report(run_id, current, total, step=step, message=message)
        return None if command is None else self.execute(run_id, command)

    def request_cancel(
        self, run_id: RunId, *, reason: str | None = None, actor: str | None = None
    ) -> Receipt:
        """Ask the work to stop. A pending run is cancelled at once; a finished one stays as it is. Raises `RunNotFound`."""
        return self.execute(
            run_id, RequestCancellation(reason=reason, actor=actor, now=self._clock())
        )

    def complete(self, run_id: RunId, *, result: object = None) -> Receipt:
        """The last word: success. A result that is not JSON or too large is left out with a note; the outcome is recorded.

        Raises `RunNotFound`, `InvalidTransition`.
        """
        return self.finish(
            run_id, completed(result, now=self._clock(), limit=self.settings.payload_limit)
        )

    def fail(
        self, run_id: RunId, error: BaseException | str, *, with_traceback: bool = False
    ) -> Receipt:
        """The last word: an error. Its text is sanitised; the traceback is stored only when asked for. Raises `RunNotFound`."""
        return self.finish(run_id, failed(error, now=self._clock(), with_traceback=with_traceback))

    def cancel(
        self, run_id: RunId, *, reason: str | None = None, actor: str | None = None
    ) -> Receipt:
        """The last word: the work stopped because somebody asked for it. Raises `RunNotFound`."""
        return self.finish(run_id, cancelled(reason, actor=actor, now=self._clock()))

    def finish(self, run_id: RunId, outcome: OutcomeCommand) -> Receipt:
        """Record an outcome, with the progress that is still held in the same transaction. Raises `RunNotFound`."""
        key = run_key(run_id)
        held = self._throttle.take(key)
        commands: tuple[Command, ...] = (outcome,) if held is None else (held, outcome)
        try:
            return self.execute(run_id, *commands)
        except BaseException:
            self._holdings.hurry()  # an outcome may have been kept when waiting for the store was interrupted
            raise
        finally:
            self._throttle.forget(key)
            self._holdings.release(key)

    def execute(
        self, run_id: RunId, *commands: Command, guard: Callable[[RunView], bool] | None = None
    ) -> Receipt:
        """Take commands of the domain as they are, all or none: for faces that take them from elsewhere. Raises what `decide` raises.

        A `guard` is asked about the run as it is at the moment of writing; when it says no, nothing is written. What it let pass is not kept for
        later: `StoreUnavailable` is raised instead.
        """
        batch = self._batches.batch if guard is None else None
        strict = self.settings.strict or guard is not None
        receipt = self._journal.execute(
            run_id, *commands, guard=guard, strict=strict, later=batch is not None
        )
        if batch is not None and not receipt.stored and receipt.error is None:
            batch.add(receipt)
            return receipt
        if not receipt.stored:
            self._holdings.hurry()  # the beat tries again
        if receipt.events:
            self._tell(receipt)
        return receipt

    # -- keeping house

    def sweep(self, now: datetime | None = None) -> Views:
        """Give flagged runs up: record `RunLost` for each whose flag still holds inside the transaction that writes it.

        Returns the runs that this call declared lost; of two sweepers at once, one declares each. Raises `StoreUnavailable`, and
        `InvalidInput` for a naive time.
        """
        now = None if now is None else utc(now, "now")
        self._backlog.deliver_quietly()  # perhaps the outcome lies in the spool of the process that is gone
        self._outages.settle(self._clock())
        count(SWEEPS)
        return sweep(self, self._journal, now or self._clock(), self._tell)

    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Compute the row of every run anew from its events; returns how many. `progress` gets (events done, events in all).

        Raises `StoreUnavailable`, `StoreCorrupt`.
        """
        return self._store.rebuild(progress)

    def deliver_spool(self) -> int:
        """Bring what waits in the spool into the store, also what ended processes left behind; returns how many events got in.

        A process that is alive delivers its own. Raises `StoreUnavailable` when the store does not take them; nothing is lost then.
        """
        return self._backlog.deliver()

    @property
    def delivered(self) -> int:
        """How many events this tracker has brought from the spool into the store, since it was opened."""
        return self._backlog.delivered

    def spool_status(self) -> SpoolStatus:
        """What waits in the spool of this store, of all processes on this machine."""
        return self._backlog.status()

    def beat(self) -> None:
        """One beat: renew this process's lease while it owns runs, and store what waited long enough.

        The background thread calls it every `heartbeat` seconds. Raises `StoreUnavailable` when the lease cannot be renewed.
        """
        now = self._clock()
        if self._holdings.any:
            self._renew_lease(now)
        for key in self._throttle.due(now):
            self._flush(key)
        self.deliver_spool()

    def close(self) -> None:
        """Store what is held, stop the background thread, and let go of the store. Closing twice is harmless."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._holdings.stop()
        try:
            self.beat()
        except LastwordError as error:
            log.warning("lastword.close.incomplete", error=str(error))
        self._backlog.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- for those who tell others how a run ended

    def last_known(self, run_id: RunId) -> RunView | None:
        """The run as the store is last known to have held it, without asking the store; None when that is not known here."""
        return self._journal.last_known(run_id)

    def outcome_of(self, error: BaseException | None, result: object = None) -> OutcomeCommand:
        """What to record for work that returned `result` or raised `error`, by this tracker's clock and limits."""
        return outcome_of(error, result, now=self._clock(), limit=self.settings.payload_limit)

    # -- progress in two halves, for those who must not wait for the store

    def report(
        self,
        run_id: RunId,
        current: float,
        total: float | None = None,
        *,
        step: str | None = None,
        message: str | None = None,
    ) -> RecordProgress | None:
        """The first half of `progress`, without the store: what is to be stored now, by `execute`; None when it was held. Raises `InvalidInput`."""
        now = self._clock()
        command = RecordProgress(current=current, total=total, step=step, message=message, now=now)
        if self._throttle.offer(run_key(run_id), command, now):
            return command
        self._holdings.keep_beating()
        return None

    # -- inside

    def _told(self, receipt: Receipt) -> None:
        """What a batch has put off was stored, or kept."""
        view = receipt.view
        if view is not None and view.status is RunStatus.RUNNING and view.owner == this_owner():
            self._holdings.hold(view.run_id, view.lease_seconds)
        if not receipt.stored:
            self._holdings.hurry()
        if receipt.events:
            self._tell(receipt)

    def _tell(self, receipt: Receipt) -> None:
        view = receipt.view or self._journal.last_known(receipt.run_id)
        self.telemetry.told(receipt, view, self._clock)

    def _turn(self) -> bool:
        """A beat of the background thread; True when it should come again soon."""
        self.beat()
        return self._backlog.is_waiting

    def _renew_lease(self, now: datetime) -> None:
        try:
            self._store.renew_lease(this_owner(), now)
        except StoreUnavailable:
            self._outages.failed(now)
            raise
        self._outages.succeeded(self._clock())

    def _flush(self, key: str) -> None:
        held = self._throttle.take(key)
        if held is None:
            return
        try:
            self.execute(key, held)
        except LastwordError as error:
            log.debug("lastword.progress.dropped", run_id=key, error=str(error))
