"""One run on its way through a manager: begin, call the function, record what it did, tell."""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...domain.commands import CancelRun, CompleteRun, FailRun
from ...domain.errors import CancelledByRequest, InvalidTransition, StoreUnavailable
from ...domain.events import RunStarted
from ...domain.status import RunStatus
from ...domain.values import RunId
from ..logs import bind, get_logger
from ..tracking.handle import become_current
from ..tracking.outcomes import OutcomeCommand, error_info, task_was_cancelled
from ..tracking.receipts import Receipt
from .context import RunContext
from .endings import Claim
from .notifier import Notifier

if TYPE_CHECKING:
    from ..tracking.tracker import RunTracker

log = get_logger("lastword.executing")

_STATUS = {
    CompleteRun: RunStatus.COMPLETED,
    FailRun: RunStatus.FAILED,
    CancelRun: RunStatus.CANCELLED,
}

_inside: contextvars.ContextVar[Execution | None] = contextvars.ContextVar(
    "lastword_execution", default=None
)


def is_inside(execution: Execution) -> bool:
    """Whether the calling code is part of this run."""
    return _inside.get() is execution


def _nothing() -> None:
    """There is nothing to do, or nothing left."""


class Execution:
    """Brings one run to its end, whatever its function or the store do: exactly one outcome, and the signal after it."""

    def __init__(
        self,
        tracker: RunTracker,
        notifier: Notifier,
        context: RunContext,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.context = context
        self.job: Callable[[], None] = _nothing
        """What a worker is given to do; whoever hands it out sets it."""
        self._tracker = tracker
        self._notifier = notifier
        self._function: Callable[..., Any] = function
        self._args = args
        self._kwargs = kwargs
        self._variables = contextvars.copy_context()
        self._closing = threading.Lock()
        self._start_is_missing = False
        self._is_over = False

    @property
    def run_id(self) -> RunId:
        """The run's id, in the type it was created with."""
        return self.context.run_id

    def perform(self) -> None:
        """From the start to the signal. What it raises is a fault of ours, and the signal is out by then."""
        try:
            self._variables.run(self._perform)
        except BaseException as fault:
            if not self._is_over:
                try:
                    self._conclude(self._outcome_of(fault))
                finally:
                    why = error_info(fault).message
                    self._notifier.end(Claim(self.run_id, RunStatus.FAILED, why))  # once is enough
            raise

    def let_go(self) -> None:
        """It is over. Function, arguments and variables, which refer back to it, need not wait for the garbage collector."""
        self.job = self._function = _nothing
        self._args, self._kwargs = (), {}
        self._variables = contextvars.Context()

    def give_up(self, error: BaseException) -> None:
        """There is no thread for it."""
        self._conclude(self._outcome_of(error))

    def request_cancel(self, reason: str | None, actor: str | None) -> Receipt:
        """The function learns of it at once; in the history the request comes before the outcome all the same."""
        with self._closing:
            self.context.request_cancel(reason, actor)
            return self._tracker.request_cancel(self.run_id, reason=reason, actor=actor)

    # -- inside

    def _perform(self) -> None:
        # In a copy of the caller's variables, which ends with the run.
        _inside.set(self)
        bind(run_id=self.run_id)
        become_current(self.context)
        if self.context.asked is not None:
            self._finish(self._cancelled(), None)
            return
        try:
            is_ours = self._begin()
        except StoreUnavailable as error:  # the tracker is strict
            self._finish(self._outcome_of(error), error)
            return
        if is_ours:
            self._finish(*self._call())
        else:
            self._notifier.hand_over(self.run_id)
            self._is_over = True

    def _begin(self) -> bool:
        """Record the start; False when the run is not ours to execute: cancelled, ended, or begun by somebody else."""
        try:
            receipt = self._tracker.start(self.run_id)
        except InvalidTransition as error:
            log.info("lastword.run.not_begun", run_id=self.run_id, why=str(error))
            return False
        except Exception as error:
            if isinstance(error, StoreUnavailable) and self._tracker.settings.strict:
                raise
            # The work does not wait for us; the start is tried again together with the outcome.
            log.error("lastword.start.not_recorded", run_id=self.run_id, exc_info=True)
            self._start_is_missing = True
            return True
        if not any(isinstance(event, RunStarted) for event in receipt.events):
            log.info("lastword.run.not_begun", run_id=self.run_id, why="begun already")
            return False
        log.info("lastword.run.started", run_id=self.run_id)
        return True

    def _call(self) -> tuple[OutcomeCommand, BaseException | None]:
        try:
            with self._tracker.telemetry.current(self.run_id):
                result = self._function(self.context, *self._args, **self._kwargs)
                if inspect.isawaitable(result):
                    result = run_awaitable(result, self.context)
            given = self.context.result if result is None else result
            return self._tracker.outcome_of(None, given), None
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is how the work ended
            return self._outcome_of(error), error

    def _outcome_of(self, error: BaseException) -> OutcomeCommand:
        stopped = isinstance(error, CancelledByRequest) or task_was_cancelled(error)
        if stopped and self.context.asked is not None:
            return self._cancelled()
        return self._tracker.outcome_of(error)

    def _cancelled(self) -> CancelRun:
        reason, actor = self.context.asked or (None, None)
        return CancelRun(reason=reason, actor=actor, now=self._tracker.clock())

    def _finish(self, outcome: OutcomeCommand, error: BaseException | None) -> None:
        if self.context.is_left_to_parent:  # the function forked, and this is the child
            log.warning("lastword.run.left_to_parent", run_id=self.run_id, exc_info=error)
            self._is_over = True
            return
        self._conclude(outcome)
        status = _STATUS[type(outcome)].value
        if isinstance(outcome, FailRun):
            log.error("lastword.run.failed", run_id=self.run_id, status=status, exc_info=error)
        else:
            log.info("lastword.run.finished", run_id=self.run_id, status=status)

    def _conclude(self, outcome: OutcomeCommand) -> None:
        """Record the outcome and tell what the store says then."""
        trouble: BaseException | None
        view = None
        with self._closing:
            if self._start_is_missing:
                self._start_again()
            try:
                receipt = self._tracker.finish(self.run_id, outcome)
                trouble, view = receipt.error, receipt.view
            except Exception as error:
                log.error("lastword.outcome.not_recorded", run_id=self.run_id, exc_info=True)
                trouble = error
        why = None if trouble is None else error_info(trouble).message
        self._notifier.end(Claim(self.run_id, _STATUS[type(outcome)], why, view))
        self._is_over = True

    def _start_again(self) -> None:
        try:
            self._tracker.start(self.run_id)
        except Exception as error:  # noqa: BLE001  # what matters now is the outcome
            log.warning("lastword.start.not_recorded", run_id=self.run_id, error=str(error))


def run_awaitable(awaitable: Awaitable[Any], context: RunContext) -> Any:
    """Run it to its end on an event loop of its own; its task is cancelled when the run is asked to stop."""

    async def guarded() -> tuple[Any, BaseException | None]:
        import asyncio

        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def stop() -> None:
            with suppress(RuntimeError):  # the loop is closed: the task has ended
                loop.call_soon_threadsafe(task.cancel if task else loop.stop)

        context.when_asked(stop)
        try:
            return await awaitable, None
        except BaseException as error:  # noqa: BLE001  # handed on outside of the loop, which must not see SystemExit
            return None, error
        finally:
            context.when_asked(None)

    work = guarded()
    try:
        import asyncio  # slow to import, and not needed by functions that are not async

        with asyncio.Runner() as runner:
            result, error = runner.run(work)
    finally:
        work.close()  # without effect, unless there was no event loop to be had
        if inspect.iscoroutine(awaitable):
            awaitable.close()
    if error is not None:
        raise error
    return result
