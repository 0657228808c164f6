"""Where the store is asked on behalf of event loops: in a few threads, and a command always to its end."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ..logs import get_logger
from ..workers import Job, Workers

if TYPE_CHECKING:
    from asyncio import CancelledError, Future

P = ParamSpec("P")
R = TypeVar("R")

log = get_logger("lastword.threads")

_THREADS = 8
"""Of each kind, at the most. Each has a connection of its own to the store while it lives."""


class Threads:
    """Questions and commands have threads of their own: commands that wait for a store that is away do not hold up questions.

    A thread ends by itself when there is nothing to do, so there is nothing to close. Not the loop's default executor: calls that wait for
    a locked store would hold up everything else that runs there, name resolution for one.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._asking = Workers(_THREADS, "lastword-ask")
        self._telling = Workers(_THREADS, "lastword-tell")

    async def ask(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A question. When the task is cancelled it ends at once, and the answer is dropped."""
        workers = self._own()._asking  # noqa: SLF001  # it is this object
        done, job = self._begin(workers, partial(function, *args, **kwargs))
        try:
            return await done
        finally:
            workers.withdraw(job)  # in vain, unless the task was cancelled

    async def tell(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A command. When the task is cancelled it comes to its end all the same; then the cancellation goes on."""
        done = self.begin(function, *args, **kwargs)
        cancelled = await to_its_end(done)
        if cancelled is not None:
            raise cancelled from done.exception()
        return done.result()

    def begin(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """A command that goes on while the task goes on; what it gave, when it is done."""
        return self._begin(self._own()._telling, partial(function, *args, **kwargs))[0]  # noqa: SLF001  # as above

    def _own(self) -> Threads:
        """After a fork, the threads are the parent's."""
        if self._pid != os.getpid():
            self._reset()
        return self

    def _begin(self, workers: Workers, action: Callable[[], R]) -> tuple[Future[R], Job]:
        import asyncio  # slow to import, and loaded anyway where there is a loop

        loop = asyncio.get_running_loop()
        done: Future[R] = loop.create_future()
        context = contextvars.copy_context()

        def job() -> None:
            try:
                settle = partial(_settle, done, context.run(action), None)
            except BaseException as error:  # noqa: BLE001  # raised where it is awaited
                settle = partial(_settle, done, None, error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle)

        try:
            workers.submit(job)
        except RuntimeError:
            log.warning("lastword.threads.none", exc_info=True)
            job()  # in the event loop: late is better than lost
        return done, job


def _settle(done: Future[Any], value: object, error: BaseException | None) -> None:
    if done.done():  # nobody waits any more
        return
    if error is None:
        done.set_result(value)
    else:
        done.set_exception(error)


async def to_its_end(*under_way: Future[Any]) -> CancelledError | None:
    """Wait until all are done, also when the task is cancelled meanwhile; the cancellation, which the caller raises again."""
    import asyncio

    cancelled: CancelledError | None = None
    while waiting := [it for it in under_way if not it.done()]:
        try:
            await asyncio.wait(waiting)
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
