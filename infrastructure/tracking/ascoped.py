"""A run around a piece of asynchronous code. The event loop never waits for the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ...domain.errors import LastwordError
from ...domain.values import RunId
from ..logs import bound
from .handle import RunHandle, as_current
from .scoped import begin_run, end_run
from .threads import to_its_end

if TYPE_CHECKING:
    from .tracker import RunTracker


class LoopHandle(RunHandle):
    """The run inside ``async with tracker.run(...) as run``: the names of `RunHandle`, for code on an event loop.

    `progress` hands the report to a thread and returns at once; the block's end waits until it is stored. `cancelled` says what the last look
    into the store found, and has the next look made in a thread. With a strict tracker, a report that could not be stored is raised by
    the next one, or at the end of the block. In threads that the block starts, both work as in sync code.
    """

    def __init__(self, tracker: RunTracker, run_id: RunId) -> None:
        super().__init__(tracker, run_id)
        self._under_way: set[asyncio.Future[None]] = set()
        self._refused: LastwordError | None = None

    def progress(
        self,
        current: float,
        total: float | None = None,
        *,
        step: str | None = None,
        message: str | None = None,
    ) -> None:
        """Report how far the work is, in any unit. At most one report a second is stored, and always the last one."""
        if not _on_a_loop():
            super().progress(current, total, step=step, message=message)
            return
        self.raise_refused()
        with self._tolerant():
            command = self._tracker.report(self.run_id, current, total, step=step, message=message)
            if command is not None:
                self._later(lambda: self._store(command))

    @property
    def cancelled(self) -> bool:
        """Whether somebody, in any process, was found to have asked the run to stop. Looks into the store at most twice a second."""
        if not _on_a_loop():
            return super().cancelled
        if self._look_is_due():
            self._later(self._look)
        return self._cancel_seen

    async def settled(self) -> asyncio.CancelledError | None:
        """Wait for what was handed to threads; the task's cancellation, which the caller raises again."""
        return await to_its_end(*self._under_way)

    def raise_refused(self) -> None:
        """With a strict tracker: raise what kept a report from being stored."""
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def _store(self, command: Any) -> None:
        try:
            with self._tolerant():
                self._tracker.execute(self.run_id, command)
        except LastwordError as error:
            self._refused = error

    def _later(self, action: Any) -> None:
        done = self._tracker.threads.begin(action)
        self._under_way.add(done)
        done.add_done_callback(self._under_way.discard)


@asynccontextmanager
async def arun_scope(tracker: RunTracker, name: str, **create: Any) -> AsyncIterator[RunHandle]:
    """See `AsyncRunTracker.run`."""
    begun = tracker.threads.begin(begin_run, tracker, name, create, LoopHandle)
    cancelled = await to_its_end(begun)
    handle = begun.result()
    with bound(run_id=handle.run_id), as_current(handle), tracker.telemetry.current(handle.run_id):
        try:
            if cancelled is not None:
                raise cancelled  # noqa: TRY301  # as if it came out of the block
            yield handle
            handle.raise_refused()
        except BaseException as error:
            await handle.settled()
            ended = tracker.threads.begin(end_run, tracker, handle, error)
            await to_its_end(ended)
            ended.result()
            raise
        cancelled = await handle.settled()
        ended = tracker.threads.begin(end_run, tracker, handle, None)
        cancelled = await to_its_end(ended) or cancelled
        ended.result()
        if cancelled is not None:
            raise cancelled


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
