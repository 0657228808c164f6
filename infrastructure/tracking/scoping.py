"""What a tracker puts around pieces of code."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from .handle import RunHandle
from .scoped import run_scope, tracked
from .threads import Threads

if TYPE_CHECKING:
    from .tracker import RunTracker
    from .watching import Watch

P = ParamSpec("P")
R = TypeVar("R")


class ScopingTracker:
    """The part of `RunTracker` that makes a run of a block or a function."""

    def run(self, name: str, **create: Any) -> AbstractContextManager[RunHandle]:
        """A run around a block: created and started before it, one outcome after it. Takes what `create` takes.

        An exception is recorded as failed and raised again; a keyboard interrupt or a cancellation as cancelled;
        ``SystemExit`` with the code 0 or None as completed, else as failed.

        >>> from lastword import RunTracker
        >>> with RunTracker("sqlite:///:memory:") as tracker:
        ...     with tracker.run("import", actor="cron") as run:
        ...         run.progress(3, 10, step="extract")
        ...     tracker.get(run.run_id).progress_current
        3
        """
        return run_scope(self._whole, name, **create)

    def arun(self, name: str, **create: Any) -> AbstractAsyncContextManager[RunHandle]:
        """`run` for ``async with``; the store is asked in a thread, never in the event loop. A cancelled task: cancelled.

        The same as `AsyncRunTracker.run`.
        """
        from .ascoped import arun_scope  # brings asyncio along

        return arun_scope(self._whole, name, **create)

    def tracked(self, name: str, **create: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """A decorator: every call, sync or async, is a run; what the function returns is the run's result.

        >>> from lastword import RunTracker
        >>> tracker = RunTracker("sqlite:///:memory:")
        >>> @tracker.tracked("double")
        ... def double(number):
        ...     return number * 2
        >>> double(4), tracker.latest("double").result
        (8, 8)
        >>> tracker.close()
        """
        return tracked(self._whole, name, create)

    @cached_property
    def threads(self) -> Threads:
        """Where the store is asked on behalf of event loops."""
        return Threads()

    @cached_property
    def watch(self) -> Watch:
        """Waits for new events on behalf of coroutines."""
        from .watching import Watch  # brings asyncio along

        return Watch(self._whole)

    @property
    def _whole(self) -> RunTracker:
        return cast("RunTracker", self)
