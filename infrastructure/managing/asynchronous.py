"""AsyncRunManager: the manager for a service on an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from ...domain.values import RunId
from ...projections.run_view import RunView
from ..tracking.ascoped import LoopHandle
from ..tracking.asynchronous import AsyncRunTracker
from ..tracking.journal import Receipt
from ..tracking.tracker import RunTracker
from .context import RunContext
from .endings import Message
from .manager import RunManager
from .notifier import Notifier


class LoopContext(RunContext, LoopHandle):
    """A context for functions on an event loop: `progress` and `cancelled` do not wait for the store."""


class _Manager(RunManager):
    context_type = LoopContext


class AsyncRunManager:
    """`RunManager` for a service on an asyncio event loop: the same names, awaited.

    Async functions run as tasks of the loop that started them, so that they share its connections and clients; other functions run in
    threads. Cancelling the run cancels the task. A thread waits for each function that runs: `max_workers` limits how many there are.

    >>> import asyncio
    >>> from lastword import AsyncRunManager, RunTracker
    >>> async def import_documents(context, folder):
    ...     context.progress(10, 10)
    ...     return {"folder": folder}
    >>> async def main():
    ...     with RunTracker("sqlite:///:memory:") as tracker:
    ...         async with await AsyncRunManager.over(tracker) as manager:
    ...             run_id = await manager.start_run("import", import_documents, "in", run_id=1)
    ...             return [message async for message in manager.messages(run_id)][-1]
    >>> asyncio.run(main())
    {'run_id': 1, 'complete': True, 'db_status': 'completed'}
    """

    def __init__(self, manager: RunManager) -> None:
        self._manager = manager
        self._threads = manager.tracker.threads

    @classmethod
    async def over(
        cls,
        tracker: RunTracker | AsyncRunTracker,
        max_workers: int | None = None,
        *,
        sweep_every: timedelta | None = None,
    ) -> Self:
        """A manager over the tracker, which stays the caller's to close. It sweeps first, in a thread; see `RunManager`."""
        own = tracker.tracker if isinstance(tracker, AsyncRunTracker) else tracker
        make = functools.partial(_Manager, own, max_workers, sweep_every=sweep_every)
        return cls(await own.threads.tell(make))

    @property
    def notifier(self) -> Notifier:
        """Who tells subscribers; for faces that pass messages on."""
        return self._manager.notifier

    async def start_run(
        self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> RunId:
        """Create a run and begin ``function(context, *args, **kwargs)``; see `RunManager.start_run`, which also says what is raised."""
        if inspect.iscoroutinefunction(inspect.unwrap(function)):
            function = _on(asyncio.get_running_loop(), function)
        start = functools.partial(self._manager.start_run, name, function, *args, **kwargs)
        return await self._threads.tell(start)

    async def cancel_run(
        self, run_id: RunId, reason: str | None = None, actor: str | None = None
    ) -> Receipt:
        """Ask the run to stop, wherever it runs. Raises `RunNotFound`, `InvalidInput`."""
        return await self._threads.tell(self._manager.cancel_run, run_id, reason, actor)

    async def get_run(self, run_id: RunId) -> RunView:
        """The run as the store has it now. Raises `RunNotFound`, `StoreUnavailable`."""
        return await self._threads.ask(self._manager.get_run, run_id)

    async def get_active_run(self) -> RunView | None:
        """The newest run of the store that has had no last word; None when there is none."""
        return await self._threads.ask(self._manager.get_active_run)

    def messages(self, run_id: RunId) -> AsyncGenerator[Message, None]:
        """The run's messages and at the end its signal, for ``async for``. Registered when the iteration begins; raises `RunNotFound` there."""
        return self._manager.amessages(run_id)

    async def shutdown(self, wait: bool = True) -> None:
        """Take no more runs; `wait` until those that were started have ended. A task that waits may be cancelled, the runs go on."""
        # In a thread of its own: it may take hours, and the tracker's few are for short calls.
        await asyncio.to_thread(self._manager.shutdown, wait)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()


def _on(loop: asyncio.AbstractEventLoop, function: Callable[..., Any]) -> Callable[..., Any]:
    """The async function as one for a thread, which waits while a task of the loop does the work."""

    async def work(
        context: LoopContext, *args: Any, **kwargs: Any
    ) -> tuple[Any, SystemExit | None]:
        try:
            result = await function(context, *args, **kwargs)
            context.raise_refused()
        except SystemExit as error:
            return None, error  # a loop that saw it would end, with all else that the service does
        else:
            return result, None
        finally:
            cancelled = await context.settled()
            if cancelled is not None:
                raise cancelled

    @functools.wraps(function)
    def wait(context: LoopContext, *args: Any, **kwargs: Any) -> Any:
        coroutine = work(context, *args, **kwargs)
        try:
            task = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError as error:  # the loop is closed
            coroutine.close()
            raise asyncio.CancelledError from error
        context.when_asked(task.cancel)
        try:
            result, exited = task.result()
        except concurrent.futures.CancelledError as error:
            raise asyncio.CancelledError from error
        finally:
            context.when_asked(None)
            del task  # it holds the error, which holds this frame with all that the run worked with
        if exited is not None:
            try:
                raise exited
            finally:
                del exited  # as above
        return result

    return wait
