"""A run around a piece of code: create and start before it, exactly one outcome after it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from ...domain.errors import InvalidInput, LastwordError
from ...domain.values import RunId
from ..liveness.owners import this_owner
from ..logs import bound, get_logger
from .handle import RunHandle, as_current

if TYPE_CHECKING:
    from .tracker import RunTracker

log = get_logger("lastword.scoped")

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=RunHandle)


@contextmanager
def run_scope(tracker: RunTracker, name: str, **create: Any) -> Iterator[RunHandle]:
    """See `RunTracker.run`."""
    handle = begin_run(tracker, name, create, RunHandle)
    with bound(run_id=handle.run_id), as_current(handle), tracker.telemetry.current(handle.run_id):
        try:
            yield handle
        except BaseException as error:
            end_run(tracker, handle, error)
            raise
        end_run(tracker, handle, None)


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
            from .ascoped import arun_scope  # brings asyncio along

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


def begin_run(
    tracker: RunTracker,
    name: str,
    create: dict[str, Any],
    handle: Callable[[RunTracker, RunId], H],
) -> H:
    """Create and start a run; its handle. Where the start is interrupted the run has ended, unless another process has begun it."""
    begun = handle(tracker, tracker.create(name, **create))
    try:
        tracker.start(begun.run_id)
    except LastwordError:
        raise
    except BaseException as error:
        me = this_owner()
        try:
            tracker.execute(
                begun.run_id,
                tracker.outcome_of(error),
                guard=lambda view: view.owner is None or view.owner == me,
            )
        except LastwordError:
            log.error("lastword.outcome.not_recorded", run_id=begun.run_id, exc_info=True)
        raise
    return begun


def end_run(tracker: RunTracker, handle: RunHandle, error: BaseException | None) -> None:
    """Record how the block ended. A fault of the store is raised only when the tracker is strict and the block raised nothing.

    A forked child that leaves the block has ended, not the run: its parent is still at work.
    """
    if handle.is_left_to_parent:
        log.warning("lastword.run.left_to_parent", run_id=handle.run_id, exc_info=error)
        return
    try:
        tracker.finish(handle.run_id, tracker.outcome_of(error, handle.result))
    except Exception:
        # The work's own result or exception matters more than ours.
        log.error("lastword.outcome.not_recorded", run_id=handle.run_id, exc_info=True)
        if tracker.settings.strict and error is None:
            raise
