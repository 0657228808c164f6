"""A run around a piece of code: create and start before it, exactly one outcome after it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from ...domain.errors import InvalidInput
from ..logs import bound, get_logger
from .handle import RunHandle, as_current

if TYPE_CHECKING:
    import asyncio

    from .tracker import RunTracker

log = get_logger("lastword.scoped")

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@contextmanager
def run_scope(tracker: RunTracker, name: str, **create: Any) -> Iterator[RunHandle]:
    """See `RunTracker.run`."""
    handle = _begin(tracker, name, create)
    with bound(run_id=handle.run_id), as_current(handle):
        try:
            yield handle
        except BaseException as error:
            _end(tracker, handle, error)
            raise
        _end(tracker, handle, None)


@asynccontextmanager
async def arun_scope(tracker: RunTracker, name: str, **create: Any) -> AsyncIterator[RunHandle]:
    """See `RunTracker.arun`."""
    handle, cancelled = await _to_its_end(functools.partial(_begin, tracker, name, create))
    with bound(run_id=handle.run_id), as_current(handle):
        try:
            if cancelled is not None:
                raise cancelled  # noqa: TRY301  # as if it came out of the block
            yield handle
        except BaseException as error:
            await _to_its_end(functools.partial(_end, tracker, handle, error))
            raise
        _, cancelled = await _to_its_end(functools.partial(_end, tracker, handle, None))
        if cancelled is not None:
            raise cancelled


def tracked(
    tracker: RunTracker, name: str, create: dict[str, Any]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """See `RunTracker.tracked`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidInput(
                f"tracked: expected a function that runs to its end, found the generator {function.__qualname__};"
                " track the code that consumes it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def around_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with arun_scope(tracker, name, **create) as run:
                    result = await function(*args, **kwargs)
                    run.set_result(result)
                    return result

            return cast("Callable[P, R]", around_async)

        @functools.wraps(function)
        def around(*args: P.args, **kwargs: P.kwargs) -> R:
            with run_scope(tracker, name, **create) as run:
                result = function(*args, **kwargs)
                run.set_result(cast("Any", result))
                return result

        return around

    return decorate


def _begin(tracker: RunTracker, name: str, create: dict[str, Any]) -> RunHandle:
    run_id = tracker.create(name, **create)
    tracker.start(run_id)
    return RunHandle(tracker, run_id)


def _end(tracker: RunTracker, handle: RunHandle, error: BaseException | None) -> None:
    try:
        tracker.finish(handle.run_id, tracker.outcome_of(error, handle.result))
    except Exception:
        # The work's own result or exception matters more than ours.
        log.error("lastword.outcome.not_recorded", run_id=handle.run_id, exc_info=True)
        if tracker.settings.strict and error is None:
            raise


async def _to_its_end(action: Callable[[], T]) -> tuple[T, asyncio.CancelledError | None]:
    """What the action gives, run in a thread to its end also when the task is cancelled meanwhile; and that cancellation."""
    import asyncio  # slow to import, and loaded anyway where there is a task

    work = asyncio.ensure_future(asyncio.to_thread(action))
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    return work.result(), cancelled
