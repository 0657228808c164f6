"""Where the time of one lifecycle goes.

Each layer is run without the ones around it, in turns with the others, on files in memory where there is such a folder: there an
fsync is free, and what is left is the code's own CPU time.
"""

from __future__ import annotations

import tempfile
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import uuid_utils
from contenders import NAME, RESULT, Floor, Lastword
from harness import Contender, interleaved
from report import Column, Options, Section, Table

from lastword import RunTracker
from lastword.domain.commands import CompleteRun, CreateRun, StartRun
from lastword.domain.events import RunCompleted, RunCreated, RunEvent, RunStarted
from lastword.domain.run import RunState, decide, evolve
from lastword.infrastructure.liveness.owners import this_owner
from lastword.infrastructure.mapper import encode_event
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.sqlite.links import identity_of
from lastword.infrastructure.sqlite.rows import changes, new_row
from lastword.projections.ports import Append, Appended, NewEvent
from lastword.projections.run_view import Fields, RunView, advance, begin, view_from

MEMORY = Path("/dev/shm")


def events() -> tuple[RunEvent, ...]:
    """The events of one life."""
    return RunCreated(name=NAME), RunStarted(owner=this_owner()), RunCompleted(result=RESULT)


class StoreAlone:
    """`SQLiteStore.append` with events that somebody else has decided."""

    name = "store: SQLiteStore.append"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self._store = SQLiteStore(self.path)
        self._events = events()
        self._now = datetime.now(UTC)

    def lifecycle(self) -> None:
        """See `Contender`."""
        run_id = str(uuid_utils.uuid7())
        view: RunView | None = None
        for version, event in enumerate(self._events):
            new = NewEvent(uuid_utils.uuid7().hex, event, self._now)
            appended = self._store.append(Append(run_id, version, (new,), view))
            view = appended.view if appended else None

    def close(self) -> None:
        """See `Contender`."""
        self._store.close()


class _Answering(SQLiteStore):
    """Once `silent`, gives the answers that it gave before, and writes nothing."""

    silent = False

    def append(self, append: Append, *, fresh: bool = False) -> Appended | None:
        if self.silent:
            return self._answers[append.expected_version]
        answer = super().append(append, fresh=fresh)
        self._answers[append.expected_version] = answer
        return answer

    @property
    def _answers(self) -> dict[int, Appended | None]:
        return vars(self).setdefault("answers", {})


class TrackerAlone(Lastword):
    """`RunTracker` and all below it but the store: commands, rules, journal, cache, heartbeat."""

    name = "tracker: commands, rules, journal"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tracker.db"
        store = _Answering(self.path)
        self._tracker = RunTracker(store=store)
        self.lifecycle()
        store.silent = True


def measure(options: Options) -> list[Table]:
    """Layers on their own, and pieces in a tight loop."""
    rounds, seconds = (4, 0.02) if options.smoke else (60, 0.05)
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lastword-bench-", dir=where) as folder:
        makers: tuple[Callable[[Path], Contender], ...] = (
            Floor,
            StoreAlone,
            TrackerAlone,
            Lastword,
        )
        series = interleaved(
            [make(Path(folder)) for make in makers], rounds=rounds, seconds=seconds
        )
    layers = Table(
        name="write-path",
        title="CPU time of one lifecycle (three steps), each layer on its own",
        columns=(Column("median_us", "median us"), Column("fastest_us", "fastest round us")),
        rows=[
            {"name": one.name, "median_us": one.cpu_ms * 1000, "fastest_us": min(one.cpu) * 1000}
            for one in series
        ],
        drawn=("median_us",),
    )
    small = Table(
        name="write-path-pieces",
        title="The pieces in a tight loop, with everything in the cache",
        columns=(Column("times", "times"), Column("us", "us a lifecycle", ".1f")),
        rows=[
            {"name": name, "times": times, "us": spent * times} for name, times, spent in pieces()
        ],
        drawn=("us",),
    )
    return [layers, small]


def pieces() -> list[tuple[str, int, float]]:
    """Name, how often in a lifecycle, and microseconds of one call (averaged over the three kinds of event)."""
    now, owner = datetime.now(UTC), this_owner()
    created, started, completed = events()
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStore(Path(folder) / "runs.db")
        views: list[RunView | None] = [None]
        recorded = []
        for version, event in enumerate((created, started, completed)):
            new = NewEvent(uuid_utils.uuid7().hex, event, now)
            answer = store.append(Append("1", version, (new,), views[-1]))
            assert answer is not None
            recorded += answer.events
            views.append(answer.view)
        _, first, second, _third = views
        assert first is not None
        assert second is not None
        state = evolve(RunState("1"), created)
        running = evolve(state, started)
        moment = recorded[0].occurred_at
        starts, completes = Fields(), Fields()
        advance(starts, started, 2, 2, moment)
        advance(completes, completed, 3, 3, moment)
        path = str(store.url.removeprefix("sqlite:///"))
        measured: list[tuple[str, int, Callable[[], object]]] = [
            (
                "making and checking the commands",
                1,
                lambda: (
                    CreateRun(name=NAME, now=now),
                    StartRun(owner=owner, now=now),
                    CompleteRun(result=RESULT, now=now),
                ),
            ),
            (
                "decide: from command to event",
                1,
                lambda: (
                    decide(CreateRun(name=NAME), RunState("1")),
                    decide(StartRun(owner=owner), state),
                    decide(CompleteRun(result=RESULT), running),
                ),
            ),
            (
                "evolve: the rules' state",
                1,
                lambda: (
                    evolve(RunState("1"), created),
                    evolve(state, started),
                    evolve(running, completed),
                ),
            ),
            (
                "encode: event to JSON",
                1,
                lambda: (encode_event(created), encode_event(started), encode_event(completed)),
            ),
            (
                "the view's fold",
                1,
                lambda: (
                    view_from(begin(created, "1", 1, 1, moment)),
                    view_from(_with(first, started, moment)),
                    view_from(_with(second, completed, moment)),
                ),
            ),
            (
                "row: from view to columns",
                1,
                lambda: (
                    new_row(first, 1, lambda _: 1),
                    changes(starts, vars(first), moment, 1, lambda _: 1),
                    changes(completes, vars(second), moment, 1, lambda _: 1),
                ),
            ),
            ("stat: is the file still in place", 3, lambda: identity_of(path)),
            ("ids: UUIDv7", 4, lambda: uuid_utils.uuid7().hex),
        ]
        found = [(name, times, _micros(call)) for name, times, call in measured]
        store.close()
    return found


def _with(view: RunView, event: RunEvent, at: datetime) -> Fields:
    told = Fields()
    advance(told, event, 2, 2, at)
    return {**vars(view), **told}


def _micros(call: Callable[[], object]) -> float:
    return min(timeit.repeat(call, number=500, repeat=9)) / 500 * 1e6


SECTION = Section("write_path", "where the time of one lifecycle goes", measure, 20)
