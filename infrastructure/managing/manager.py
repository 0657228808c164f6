"""RunManager: runs functions in the background, and always reports how they ended."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from queue import Queue
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ...domain.commands import RequestCancellation
from ...domain.errors import InvalidInput
from ...domain.status import ACTIVE, RunStatus
from ...domain.values import RunId, run_key
from ...projections.run_view import RunView
from ..forks import tell_child
from ..liveness.sweeper import BackgroundSweeper
from ..logs import get_logger
from ..tracking.receipts import Receipt
from ..workers import Workers
from .context import RunContext
from .endings import Message
from .executing import Execution, is_inside
from .notifier import Notifier
from .subscribers import QUEUE_SIZE, MessageStream

if TYPE_CHECKING:
    from ..tracking.tracker import RunTracker

__all__ = ["RunContext", "RunManager"]

log = get_logger("lastword.manager")

CREATE_ARGUMENTS = frozenset(
    {
        "run_id",
        "params",
        "tags",
        "actor",
        "correlation_id",
        "parent_id",
        "attempt",
        "retry_of",
        "exclusive",
        "deadline",
        "lease",
    }
)
"""Keyword arguments of `start_run` that go to `RunTracker.create`."""


class _Here:
    """The runs that this process executes or is about to; a forked child executes none of its parent's."""

    def __init__(self) -> None:
        self.forget_parent()
        tell_child(self)

    def forget_parent(self) -> None:
        self.changed = threading.Condition()
        self.runs: dict[str, Execution] = {}
        self.starting = 0


class RunManager:
    """Runs functions in background threads, each as a tracked run, and tells subscribers how they ended.

    The function gets a `RunContext` first. What it returns is the run's result (JSON, else it is left out with a note); what it raises
    is the run's error. Coroutine functions run on an event loop of their own. At most `max_workers` functions run at once, the
    others stay `pending`; None: no limit.

    A manager sweeps when it is made: runs that a former process left behind get their verdict. With `sweep_every` it goes on to do so.
    A process that exits normally waits for the functions that run, as with `concurrent.futures`.

    >>> from lastword import RunManager, RunTracker
    >>> def import_documents(context, folder):
    ...     context.log("info", "reading", folder=folder)
    ...     return {"rows": 10}
    >>> with RunTracker("sqlite:///:memory:") as tracker, RunManager(tracker) as manager:
    ...     run_id = manager.start_run("import", import_documents, "in", run_id=1, actor="api")
    ...     [*manager.messages(run_id)][-1]
    {'run_id': 1, 'complete': True, 'db_status': 'completed'}
    """

    context_type: ClassVar[type[RunContext]] = RunContext
    """What functions get first."""

    def __init__(
        self,
        tracker: RunTracker,
        max_workers: int | None = None,
        *,
        sweep_every: timedelta | None = None,
    ) -> None:
        whole = isinstance(max_workers, int) and not isinstance(max_workers, bool)
        if max_workers is not None and (not whole or max_workers < 1):
            raise InvalidInput(
                f"max_workers: expected 1 or more, or None for no limit, found {max_workers!r:.60}"
            )
        if sweep_every is not None and sweep_every <= timedelta(0):
            raise InvalidInput(f"sweep_every: expected a positive timedelta, found {sweep_every}")
        self._tracker = tracker
        self._sweeper = BackgroundSweeper(tracker.sweep, tracker.clock, sweep_every)
        self._workers = Workers(max_workers, "lastword-worker")
        self._notifier = Notifier(tracker)
        self._is_shut = False
        self._here = _Here()
        self._sweeper.start()

    @property
    def tracker(self) -> RunTracker:
        """Where the runs are recorded."""
        return self._tracker

    @property
    def notifier(self) -> Notifier:
        """Who tells subscribers; for faces that pass messages on."""
        return self._notifier

    def start_run(
        self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> RunId:
        """Create a run and begin ``function(context, *args, **kwargs)`` in the background; returns the run's id.

        Keyword arguments that `RunTracker.create` knows (run_id, params, tags, actor, correlation_id, parent_id, attempt, retry_of,
        exclusive, deadline, lease) are the run's, all others are the function's; use `functools.partial` where it needs one of these
        names. The function sees the caller's context variables.

        A run is executed once: starting it again with the same id, name and params returns its id and does nothing else, whether it
        is active, here or elsewhere, or has ended. A run that was only created is begun.

        Raises what `RunTracker.create` raises, before anything runs; `InvalidInput` for what cannot be called; `RuntimeError` after
        `shutdown`, and when no thread can be started: then the run is recorded as failed.
        """
        _check_function(function)
        create = {key: kwargs.pop(key) for key in [*kwargs] if key in CREATE_ARGUMENTS}
        with self._here.changed:
            if self._is_shut:
                raise RuntimeError(f"cannot start a run {name!r:.60}: the manager was shut down")
            self._here.starting += 1
        try:
            run_id = self._tracker.create(name, **create)
            known = self._tracker.last_known(run_id)
            if known is None or known.status is RunStatus.PENDING:
                context = self.context_type(self._tracker, run_id, self._notifier)
                self._submit(
                    Execution(self._tracker, self._notifier, context, function, args, kwargs)
                )
            return run_id
        finally:
            with self._here.changed:
                self._here.starting -= 1
                self._here.changed.notify_all()

    def cancel_run(
        self, run_id: RunId, reason: str | None = None, actor: str | None = None
    ) -> Receipt:
        """Ask the run to stop, wherever it runs. One that has not begun is cancelled at once; one that has ended stays as it is.

        The function sees it in `RunContext.cancelled`; a coroutine is cancelled. Raises `RunNotFound`, `InvalidInput`.
        """
        RequestCancellation(reason=reason, actor=actor)  # refuses what cannot be recorded
        with self._here.changed:
            execution = self._here.runs.get(run_key(run_id))
        if execution is None:
            return self._tracker.request_cancel(run_id, reason=reason, actor=actor)
        try:
            return execution.request_cancel(reason, actor)
        finally:
            self._withdraw(execution)

    def get_run(self, run_id: RunId) -> RunView:
        """The run as the store has it now. Raises `RunNotFound`, `StoreUnavailable`."""
        return self._tracker.get(run_id)

    def get_active_run(self) -> RunView | None:
        """The newest run of the store that has had no last word, whoever executes it; None when there is none."""
        page = self._tracker.list(status=ACTIVE, limit=1)
        return page[0] if page else None

    # -- subscribers

    def register_subscriber(self, run_id: RunId) -> Queue[Message]:
        """A queue that gets the run's messages and at the end exactly one completion signal.

        It holds 1,000 messages; when it is full the oldest are dropped, never the signal. A run that is over is signalled at once. Messages
        come from runs of this manager only; the signal of a run that another process executes comes when the store has its
        last word. Raises `RunNotFound`; `StoreUnavailable` when the store cannot be read and the run is not known here.
        """
        queue: Queue[Message] = Queue(QUEUE_SIZE)
        self._notifier.subscribe(run_id, queue)
        return queue

    def unregister_subscriber(self, run_id: RunId, queue: Queue[Message]) -> None:
        """Nothing more goes into the queue. An unknown queue, or one that has had its signal, is no error."""
        self._notifier.unsubscribe(run_id, queue)

    def messages(self, run_id: RunId) -> MessageStream:
        """The same as an iterator: messages, then the signal, then it ends. Leaving it early unregisters.

        Registered when this returns. Raises as `register_subscriber`; the iterator raises `StoreUnavailable` when the manager is shut down
        while the run goes on elsewhere.
        """
        return self._notifier.stream(run_id)

    def amessages(self, run_id: RunId) -> AsyncGenerator[Message, None]:
        """`messages` for ``async for``: the event loop is never blocked, and no thread waits. Registered when the iteration begins."""
        return self._notifier.astream(run_id)

    # -- the end

    def shutdown(self, wait: bool = True) -> None:
        """Take no more runs. Those that were started, pending ones too, go on to their end; `wait` until they are there.

        Subscribers get their signals all the same. Who waits for a run of another process gets a warning instead, for nobody watches it
        here any longer. Calling it twice is harmless; from inside a run it waits for the others.
        """
        with self._here.changed:
            self._is_shut = True
            if wait:
                own = sum(is_inside(execution) for execution in self._here.runs.values())
                self._here.changed.wait_for(
                    lambda: not self._here.starting and len(self._here.runs) <= own
                )
        self._sweeper.stop()
        self._workers.close()
        if wait:
            self._workers.join()
        self._notifier.shut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()

    # -- inside

    def _submit(self, execution: Execution) -> None:
        run_id = execution.run_id
        with self._here.changed:
            if self._here.runs.setdefault(run_key(run_id), execution) is not execution:
                return  # it is on its way already
        execution.job = lambda: self._execute(execution)

        def stop(reason: str | None, actor: str | None) -> None:
            execution.context.request_cancel(reason, actor)
            self._withdraw(execution)

        try:
            self._notifier.begin(run_id, stop)
            self._workers.submit(execution.job)
        except BaseException as error:
            execution.give_up(error)
            self._left(execution)
            log.error("lastword.run.no_thread", run_id=run_id, exc_info=True)
            raise

    def _execute(self, execution: Execution) -> None:
        try:
            execution.perform()
        finally:
            self._left(execution)

    def _withdraw(self, execution: Execution) -> None:
        """A run that has not begun need not wait for its turn to be told that it never will."""
        if self._workers.withdraw(execution.job):
            self._execute(execution)

    def _left(self, execution: Execution) -> None:
        with self._here.changed:
            self._here.runs.pop(run_key(execution.run_id), None)
            self._here.changed.notify_all()
        execution.let_go()


def _check_function(function: object) -> None:
    if not callable(function):
        raise InvalidInput(
            f"function: expected something to call with a context, found {type(function).__name__}"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidInput(
            "function: expected one that runs to its end, found a generator function;"
            " pass a function that consumes it"
        )
