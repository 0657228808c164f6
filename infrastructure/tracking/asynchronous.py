"""AsyncRunTracker: the tracker for code on an event loop."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from ...domain.errors import InvalidInput
from ...domain.values import RunId
from ...projections.completion import CompletionSignal
from ...projections.run_view import RunView
from ..clock import Clock
from ..settings import Settings
from .ascoped import arun_scope
from .handle import RunHandle
from .outcomes import OutcomeCommand
from .threads import Threads, to_its_end
from .tracker import RunTracker

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_CHUNK = 500
"""So many items of a long answer are fetched in one go."""


def asks(
    method: Callable[Concatenate[RunTracker, P], R],
) -> Callable[Concatenate[AsyncRunTracker, P], Coroutine[Any, Any, R]]:
    """The method, awaited: a question, which a cancelled task leaves at once."""

    async def asked(self: AsyncRunTracker, *args: P.args, **kwargs: P.kwargs) -> R:
        bound = getattr(self.tracker, method.__name__)
        return await self.tracker.threads.ask(bound, *args, **kwargs)

    return _named(asked, method)


def tells(
    method: Callable[Concatenate[RunTracker, P], R],
) -> Callable[Concatenate[AsyncRunTracker, P], Coroutine[Any, Any, R]]:
    """The method, awaited: a command, which comes to its end also when the task is cancelled."""

    async def told(self: AsyncRunTracker, *args: P.args, **kwargs: P.kwargs) -> R:
        bound = getattr(self.tracker, method.__name__)
        return await self.tracker.threads.tell(bound, *args, **kwargs)

    return _named(told, method)


def _named(wrapper: Callable[..., Any], method: Callable[..., Any]) -> Any:
    """The wrapper with the method's name, signature and text; its examples are of sync code."""
    functools.update_wrapper(wrapper, method)
    text = inspect.cleandoc(method.__doc__ or "").partition(">>> ")[0].rstrip()
    wrapper.__doc__ = f"{text}\n\nAwaits `RunTracker.{method.__name__}`."
    wrapper.__module__ = __name__
    wrapper.__qualname__ = f"AsyncRunTracker.{method.__name__}"
    return wrapper


class AsyncRunTracker:
    """A `RunTracker` for code on an asyncio event loop: the same names, awaited. The loop never waits for the store.

    It is a face over a tracker, made in no time and without a state of its own: ``AsyncRunTracker(tracker)``; `open` makes the tracker, too.
    The store is asked in a few threads of the tracker's. Arguments, results and errors are those of the sync methods; `progress` callbacks
    are called in such a thread.

    When a task is cancelled, a question is left at once. A command comes to its end, then the cancellation goes on: what the work did
    is never lost to it. That takes as long as the store needs, with retries up to `retry_budget` and a little.

    >>> import asyncio
    >>> from lastword import AsyncRunTracker
    >>> async def main():
    ...     async with await AsyncRunTracker.open("sqlite:///:memory:") as tracker:
    ...         async with tracker.run("import", run_id=1) as run:
    ...             run.progress(10, 10)
    ...         view = await tracker.get(1)
    ...         return view.status, [signal async for _, signal in tracker.completions()]
    >>> asyncio.run(main())
    (<RunStatus.COMPLETED: 'completed'>, [{'run_id': 1, 'complete': True, 'db_status': 'completed'}])
    """

    def __init__(self, tracker: RunTracker) -> None:
        if not isinstance(tracker, RunTracker):
            raise InvalidInput(
                f"tracker: expected a RunTracker, found {tracker!r:.60};"
                " `await AsyncRunTracker.open(url)` opens a store"
            )
        self.tracker = tracker
        """The tracker that does the work. Code in threads uses it directly."""

    @classmethod
    async def open(cls, url: str | Path | None = None, **settings: Any) -> Self:
        """A tracker of its own, opened in a thread; takes what `RunTracker` takes, and raises what it raises.

        ``async with await AsyncRunTracker.open("runs.db") as tracker`` closes it at the end.
        """
        opened = Threads().begin(RunTracker, url, **settings)
        cancelled = await to_its_end(opened)
        tracker = cls(opened.result())
        if cancelled is not None:
            await tracker.close()  # nobody else would
            raise cancelled
        return tracker

    # -- without the store, and so without await

    @property
    def settings(self) -> Settings:
        """What was set."""
        return self.tracker.settings

    @property
    def clock(self) -> Clock:
        """The clock by which flags are told."""
        return self.tracker.clock

    @property
    def closed(self) -> bool:
        """Whether it was closed, and answers no more."""
        return self.tracker.closed

    @property
    def spool_folder(self) -> Path | None:
        """Where events wait that this store did not take; None when nothing is known of such a place."""
        return self.tracker.spool_folder

    @property
    def delivered(self) -> int:
        """How many events this tracker has brought from the spool into the store, since it was opened."""
        return self.tracker.delivered

    def last_known(self, run_id: RunId) -> RunView | None:
        """The run as the store is last known to have held it, without asking the store; None when that is not known here."""
        return self.tracker.last_known(run_id)

    def outcome_of(self, error: BaseException | None, result: object = None) -> OutcomeCommand:
        """What to record for work that returned `result` or raised `error`, by this tracker's clock and limits."""
        return self.tracker.outcome_of(error, result)

    # -- the life of a run

    create = tells(RunTracker.create)
    """Make a run exist and return its id. Name a `run_id` when the task may be cancelled meanwhile: then the run is found again."""
    start = tells(RunTracker.start)
    """The work begins."""
    progress = tells(RunTracker.progress)
    """Report how far the work is. Of a cancelled task's last report nothing is lost."""
    request_cancel = tells(RunTracker.request_cancel)
    """Ask the work to stop."""
    complete = tells(RunTracker.complete)
    """The last word: success."""
    fail = tells(RunTracker.fail)
    """The last word: an error."""
    cancel = tells(RunTracker.cancel)
    """The last word: the work stopped because somebody asked for it."""
    finish = tells(RunTracker.finish)
    """Record an outcome, with the progress that is still held in the same transaction."""

    execute = tells(RunTracker.execute)
    """Take commands of the domain as they are."""

    # -- a run around a piece of code

    def run(self, name: str, **create: Any) -> AbstractAsyncContextManager[RunHandle]:
        """A run around an ``async with`` block: created and started before it, one outcome after it. Takes what `create` takes.

        As `RunTracker.run`; a cancelled task is recorded as cancelled. What the block gets is a `RunHandle` that does not block the loop:
        `progress` hands the report to a thread; `cancelled` says what the last look into the store found, and has the next one made.
        """
        return arun_scope(self.tracker, name, **create)

    def tracked(
        self, name: str, **create: Any
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """A decorator for async functions: every call is a run; what the function returns is the run's result.

        Raises `InvalidInput` for other functions: `RunTracker.tracked` takes them, and they are called in threads.
        """

        def decorate(
            function: Callable[P, Coroutine[Any, Any, R]],
        ) -> Callable[P, Coroutine[Any, Any, R]]:
            if not inspect.iscoroutinefunction(function):
                raise InvalidInput(
                    f"tracked: expected an async function, found {function!r:.80}; RunTracker.tracked takes others"
                )
            return self.tracker.tracked(name, **create)(function)

        return decorate

    # -- questions

    get = asks(RunTracker.get)
    """The run as the store has it now, with its flag."""
    list = asks(RunTracker.list)
    """Runs newest first."""
    active = asks(RunTracker.active)
    """All runs without a last word."""
    latest = asks(RunTracker.latest)
    """The run created last."""
    counts = asks(RunTracker.counts)
    """How many runs have each status."""
    tally = asks(RunTracker.tally)
    """How many runs were created in each stretch of time, by status."""
    flagged = asks(RunTracker.flagged)
    """The active runs that look as if they will never end."""
    find = asks(RunTracker.find)
    """Ids that begin or end with a fragment."""
    history = asks(RunTracker.history)
    """Everything that happened to the run."""
    as_of = asks(RunTracker.as_of)
    """The run as it was at a moment."""
    status_at = asks(RunTracker.status_at)
    """All runs at a moment."""
    known_outages = asks(RunTracker.known_outages)
    """When the store is known to have been away."""
    with_flag = asks(RunTracker.with_flag)
    """A view with the flag it deserves at a moment."""
    spool_status = asks(RunTracker.spool_status)
    """What waits in the spool."""
    verify = asks(RunTracker.verify)
    """Compute every run from its events and compare."""
    seal = tells(RunTracker.seal)
    """Write a fingerprint of the log so far into a new file."""

    # -- long answers

    def completions(self, after: int = 0) -> AsyncGenerator[tuple[int, CompletionSignal], None]:
        """Every last word behind a position, in store order, as (position, signal), for ``async for``; ends at the newest one."""
        return self._pulled(self.tracker.completions, after)

    async def follow(self, after: int = 0) -> AsyncGenerator[tuple[int, CompletionSignal], None]:
        """The same, and then waits for new ones; ends when the tracker is closed.

        One thread watches the store for all who follow. A task that is cancelled, or leaves the loop, goes on later from the position
        that it saw last. Raises `StoreUnavailable`.
        """
        position = seen = after
        while not self.tracker.closed:
            newest = await self.tracker.threads.ask(self.tracker.store.last_position)
            async with aclosing(self.completions(position)) as feed:
                async for position, signal in feed:
                    yield position, signal
            seen = max(seen, newest, position)
            if not await self.tracker.watch.wait(seen):
                return

    def export(self, *args: Any, **options: Any) -> AsyncGenerator[bytes, None]:
        """The events of all runs, or of some, as lines of JSON, for ``async for``. Takes what `RunTracker.export` takes."""
        return self._pulled(self.tracker.export, *args, **options)

    async def _pulled(
        self, begin: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """The items of an iterator that asks the store, fetched a chunk at a time."""
        threads = self.tracker.threads
        pull = Pull(await threads.ask(begin, *args, **kwargs))
        try:
            while chunk := await threads.ask(pull.next):
                for item in chunk:
                    yield item
        finally:
            threads.begin(pull.close)  # not awaited: it may be the garbage collector that leaves

    # -- keeping house

    create_many = tells(RunTracker.create_many)

    sweep = tells(RunTracker.sweep)
    """Give flagged runs up."""
    rebuild = tells(RunTracker.rebuild)
    """Compute the row of every run anew from its events."""
    deliver_spool = tells(RunTracker.deliver_spool)
    """Bring what waits in the spool into the store."""
    archive = tells(RunTracker.archive)
    """Write old runs into a file, and remove them from the store."""
    erase = tells(RunTracker.erase)
    """Replace what people wrote into a finished run by placeholders."""
    import_events = tells(RunTracker.import_events)
    """Take in histories that `export` wrote."""
    close = tells(RunTracker.close)
    """Store what is held, and let go of the store. Closes the tracker, whoever made it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class Pull(Generic[T]):
    """Fetches from an iterator in whichever thread is free, one at a time."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def next(self) -> list[T]:
        """The next items; none at the end."""
        with self._lock:
            return [*islice(self._items, _CHUNK)]

    def close(self) -> None:
        """Let go of what the iterator holds."""
        with self._lock:
            if isinstance(self._items, Generator):
                self._items.close()
