"""What it costs, on a healthy store, that nothing is lost on a sick one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import uuid_utils
from harness import Series, interleaved

from lastword import RunCompleted, RunCreated, RunEvent, RunStarted, RunTracker, RunView
from lastword.infrastructure.liveness.owners import this_owner
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.ports import Append, NewEvent


class Direct:
    """Three appends to the store, one after the other: no rules, no retry, no spool, no outage watch, no heartbeat."""

    name = "appended directly to the store"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "direct.db"
        self._store = SQLiteStore(self.path)
        self._started = RunStarted(owner=this_owner())

    def lifecycle(self) -> None:
        """See `Contender`."""
        run_id = str(uuid_utils.uuid7())
        view = self._append(run_id, None, RunCreated(name="import"))
        view = self._append(run_id, view, self._started)
        self._append(run_id, view, RunCompleted(result={"rows": 10}))

    def _append(self, run_id: str, view: RunView | None, event: RunEvent) -> RunView:
        new = NewEvent(uuid_utils.uuid7().hex, event, datetime.now(UTC))
        version = 0 if view is None else view.version
        appended = self._store.append(Append(run_id, version, (new,), view))
        assert appended is not None
        return appended.view

    def close(self) -> None:
        """See `Contender`."""
        self._store.close()


class Tracked:
    """The same through a tracker, with everything switched on."""

    name = "RunTracker"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tracked.db"
        self._tracker = RunTracker(self.path)

    def lifecycle(self) -> None:
        """See `Contender`."""
        tracker = self._tracker
        run_id = tracker.create("import")
        tracker.start(run_id)
        tracker.complete(run_id, result={"rows": 10})

    def close(self) -> None:
        """See `Contender`."""
        self._tracker.close()


def cost(folder: Path, *, rounds: int, seconds: float) -> tuple[Series, Series]:
    """Both, in turns; the direct one first."""
    direct, tracked = interleaved([Direct(folder), Tracked(folder)], rounds=rounds, seconds=seconds)
    return direct, tracked
