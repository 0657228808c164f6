"""What it costs, on a healthy store, that nothing is lost on a sick one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from harness import Series, interleaved

from lastword import RunTracker
from lastword.projections.ports import Append, Appended, RunStore

T = TypeVar("T")


class Tracked:
    """A lifecycle through a tracker, with everything switched on."""

    name = "RunTracker"

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{type(self).__name__.lower()}.db"
        self.tracker = RunTracker(self.path)

    def lifecycle(self) -> None:
        """See `Contender`."""
        tracker = self.tracker
        run_id = tracker.create("import")
        tracker.start(run_id)
        tracker.complete(run_id, result={"rows": 10})

    def close(self) -> None:
        """See `Contender`."""
        self.tracker.close()


class Careless(Tracked):
    """The same tracker with retry, spool and outage watch taken out of the way of an append."""

    name = "RunTracker without retry, spool and outage watch"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        journal: Any = self.tracker._journal  # nobody else has reason to take these out
        journal._retry, journal._outages, journal._keeper = _Once(), _Blind(), None


class _Once:
    def append(
        self, store: RunStore, request: Append, attempts: int | None = None
    ) -> Appended | None:
        return store.append(request)

    def call(self, action: Callable[[], T], attempts: int | None = None) -> T:
        return action()


class _Blind:
    def failed(self, tried_at: datetime) -> None: ...

    def succeeded(self, now: datetime) -> None: ...


def cost(folder: Path, *, rounds: int, seconds: float) -> tuple[Series, Series]:
    """Both, in turns; the one without first."""
    without, tracked = interleaved(
        [Careless(folder), Tracked(folder)], rounds=rounds, seconds=seconds
    )
    return without, tracked
