"""What the contract suites share: a clock that the test moves, and a writer that keeps the views it was given."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Barrier
from typing import TypeVar
from uuid import uuid4

from lastword.domain.events import RunCreated, RunEvent, RunStarted
from lastword.domain.values import Owner, RunId
from lastword.projections.ports import Append, Appended, NewEvent, RunStore
from lastword.projections.run_view import RunView
from lastword.testing import OWNER, START, STEP

T = TypeVar("T")

LONG = 20.0
"""Seconds after which a test gives up waiting."""


@dataclass
class MovingClock:
    """Stands still until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Move it; negative seconds move it back."""
        self.now += timedelta(seconds=seconds)
        return self.now


@dataclass
class Writer:
    """Appends to a store and knows the view of each run, as the tracker does."""

    store: RunStore
    at: datetime = START
    views: dict[str, RunView] = field(default_factory=dict[str, RunView])

    def new(self, event: RunEvent, at: datetime | None = None) -> NewEvent:
        """The event with an id and a time; each is a second later than the one before."""
        self.at += STEP
        return NewEvent(uuid4().hex, event, self.at if at is None else at)

    def request(
        self,
        run_id: RunId,
        *events: RunEvent,
        at: datetime | None = None,
        guard: Callable[[RunView], bool] | None = None,
        view: RunView | None = None,
    ) -> Append:
        """What `append` asks of the store."""
        view = view or self.views.get(str(run_id))
        return Append(
            run_id=run_id,
            expected_version=0 if view is None else view.version,
            events=tuple(self.new(event, at) for event in events),
            view=view,
            correlation_id=None if view is None else view.correlation_id,
            guard=guard,
        )

    def ask(
        self,
        run_id: RunId,
        *events: RunEvent,
        at: datetime | None = None,
        guard: Callable[[RunView], bool] | None = None,
        fresh: bool = False,
    ) -> Appended | None:
        """Append to what the writer knows of the run; None when the guard said no."""
        appended = self.store.append(self.request(run_id, *events, at=at, guard=guard), fresh=fresh)
        if appended is not None:
            self.views[str(run_id)] = appended.view
        return appended

    def add(self, run_id: RunId, *events: RunEvent, at: datetime | None = None) -> Appended:
        """Append what must be taken."""
        appended = self.ask(run_id, *events, at=at)
        assert appended is not None
        return appended

    def start(self, run_id: RunId, owner: Owner = OWNER, **created: object) -> Appended:
        """A run that is created and started."""
        creation = RunCreated.model_validate({"name": "import", **created})
        return self.add(run_id, creation, RunStarted(owner=owner))


def seen(view: RunView | None) -> RunView:
    """The view of a run that has to be there."""
    assert view is not None
    return view


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """What `count` threads return that all begin at the same moment. Raises what one of them raised."""
    barrier = Barrier(count, timeout=LONG)

    def begin(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(begin, number) for number in range(count)]
        return [future.result(LONG) for future in futures]
