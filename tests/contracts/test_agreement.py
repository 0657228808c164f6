"""Memory, SQLite and PostgreSQL in lock step: the same questions, the same answers, the same errors."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from contracts.kit import MovingClock
from lastword.domain.errors import LastwordError
from lastword.domain.events import (
    CancellationRequested,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo, RunId
from lastword.infrastructure.postgres import PostgresStore
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.ports import Append, NewEvent, RunStore
from lastword.projections.queries import RunQuery
from lastword.projections.run_view import RunView, fold_view
from lastword.testing import OTHER_OWNER, OWNER, START
from postgres_server import schema_of

QUICK = next(
    (folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None
)  # a folder without a disk
"""Where the SQLite file lies: nothing here depends on a disk."""

RUNS: tuple[RunId, ...] = (1, "b", "c d", "ünï")
KEYS = (None, None, "nightly")

_happened: st.SearchStrategy[RunEvent] = st.one_of(
    st.builds(RunStarted, owner=st.sampled_from([OWNER, OTHER_OWNER])),
    st.builds(
        RunProgressed,
        current=st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        step=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    ),
    st.builds(CancellationRequested),
    st.builds(
        RunCompleted,
        result=st.none()
        | st.integers()
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    ),
    st.builds(
        RunFailed,
        error=st.builds(
            ErrorInfo,
            type=st.just("E"),
            message=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        ),
    ),
    st.builds(RunCancelled),
    st.builds(RunLost, flag=st.sampled_from(FlagReason)),
)
_created = st.builds(
    RunCreated,
    name=st.sampled_from(["import", "export"]),
    exclusive=st.sampled_from(KEYS),
    tags=st.dictionaries(
        st.sampled_from(["k", "l\x00"]), st.sampled_from(["v", "\x1aw"]), max_size=2
    ),
    parent_id=st.sampled_from([None, 7, "7", 10**30]),
)


class Agreement(RuleBasedStateMachine):
    """Each step is taken on all three; a subclass says where the third one is."""

    server = ""

    def __init__(self) -> None:
        super().__init__()
        self._opened = contextlib.ExitStack()
        folder = self._opened.enter_context(tempfile.TemporaryDirectory(dir=QUICK))
        url = self._opened.enter_context(schema_of(self.server))
        self.clock = MovingClock()
        self.stores: tuple[RunStore, ...] = (
            SQLiteStore(":memory:", clock=self.clock),
            SQLiteStore(Path(folder) / "runs.db", clock=self.clock),
            PostgresStore(url, clock=self.clock),
        )
        self.numbers = count(1)
        self.views: dict[str, RunView] = {}
        self.stale: dict[str, RunView] = {}

    def teardown(self) -> None:
        """Nothing is left."""
        for store in self.stores:
            store.close()
        self._opened.close()

    def agreed(self, ask: Callable[[RunStore], Any]) -> Any:
        """What all of them answer, or the kind of error that all of them raise."""
        answers = [self._answer(ask, store) for store in self.stores]
        assert answers[0] == answers[1] == answers[2]
        return answers[0]

    def _answer(self, ask: Callable[[RunStore], Any], store: RunStore) -> Any:
        try:
            found = ask(store)
        except LastwordError as error:
            return type(error), str(error).replace(store.url, "URL")
        return list(found) if isinstance(found, Iterator) else found

    def append(
        self, run_id: RunId, events: tuple[RunEvent, ...], view: RunView | None, yes: bool | None
    ) -> None:
        new = tuple(
            NewEvent(UUID(int=next(self.numbers)).hex, event, self.clock.now) for event in events
        )
        guard = None if yes is None else lambda _: yes
        request = Append(run_id, 0 if view is None else view.version, new, view, None, guard)

        def ask(store: RunStore) -> Any:
            appended = store.append(request)
            # Positions may have gaps where something was refused; what else there is has to be the same.
            return appended and _unplaced(appended.view), appended and len(appended.events)

        self.agreed(ask)
        current = self.stores[0].view(run_id)
        if current is not None:
            self.stale[str(run_id)] = self.views.get(str(run_id), current)
            self.views[str(run_id)] = current

    @rule(run_id=st.sampled_from(RUNS), created=_created)
    def create(self, run_id: RunId, created: RunCreated) -> None:
        """Also one that is there already."""
        self.append(run_id, (created,), None, None)

    @precondition(lambda self: self.views)
    @rule(
        data=st.data(),
        events=st.lists(_happened, min_size=1, max_size=3),
        yes=st.sampled_from([None, None, True, False]),
    )
    def go_on(self, data: st.DataObject, events: list[RunEvent], yes: bool | None) -> None:
        """Whatever the events are: rules are not the store's business."""
        key = data.draw(st.sampled_from(sorted(self.views)))
        self.append(self.views[key].run_id, tuple(events), self._own(key), yes)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), event=_happened)
    def write_on_what_was(self, data: st.DataObject, event: RunEvent) -> None:
        """From a view that may be old."""
        key = data.draw(st.sampled_from(sorted(self.stale)))
        view = self.stale[key].model_copy(update={"last_seen_at": None})
        if view.version != self.views[key].version:
            self.append(view.run_id, (event,), view, None)

    @rule(seconds=st.integers(-5, 60))
    def move_the_clock(self, seconds: int) -> None:
        """Also back."""
        self.clock.advance(seconds)

    @rule(owner=st.sampled_from([OWNER, OTHER_OWNER]))
    def beat(self, owner: Any) -> None:
        """A lease is renewed."""
        self.agreed(lambda store: store.renew_lease(owner, self.clock.now))

    @rule()
    def rebuild(self) -> None:
        """Nothing changes."""
        before = self.agreed(_rows)
        self.agreed(lambda store: store.rebuild())
        assert before == self.agreed(_rows)

    @rule(
        status=st.none() | st.sampled_from(RunStatus),
        tags=st.sampled_from([{}, {"k": "v"}, {"l\x00": "\x1aw"}]),
        limit=st.integers(1, 3),
    )
    def ask(self, status: RunStatus | None, tags: dict[str, str], limit: int) -> None:
        """Pages, fragments, counters, moments."""
        statuses = None if status is None else frozenset({status})
        query = RunQuery(statuses=statuses, tags=tags, limit=limit)
        self.agreed(lambda store: [view.run_id for view in store.query(query)])
        self.agreed(lambda store: store.counts())
        self.agreed(lambda store: store.find("b"))
        self.agreed(lambda store: [view.run_id for view in store.active()])
        self.agreed(lambda store: store.outages(START - timedelta(days=1)))
        self.agreed(
            lambda store: [
                str(problem.kind) for problem in store.inspect(self.clock.now + timedelta(days=1))
            ]
        )

    @rule(seconds=st.integers(-10, 100))
    def look_back(self, seconds: int) -> None:
        """At what the store knew."""
        when = START + timedelta(seconds=seconds)
        self.agreed(
            lambda store: [
                len(store.past(when).active),
                store.past(when).settled,
                len(store.past(when).changed),
            ]
        )

    @invariant()
    def histories_are_whole(self) -> None:
        """Versions without gaps, growing positions, and the row is the fold of the events."""
        self.agreed(
            lambda store: [(run.run_id, len(run.events), run.flaws) for run in store.scan()]
        )
        for store in self.stores:
            positions = [event.position for event in store.read(0, 1000)]
            assert positions == sorted(set(positions))
            for run in store.scan():
                assert [event.version for event in run.events] == list(
                    range(1, len(run.events) + 1)
                )
                assert run.row == fold_view(run.events)

    def _own(self, key: str) -> RunView:
        """The fold of the events; the lease that a row shows is not part of it."""
        view = fold_view(self.stores[0].read_run(key))
        assert view is not None
        return view


def _rows(store: RunStore) -> list[RunView]:
    return [_unplaced(run.row) for run in store.scan() if run.row is not None]


def _unplaced(view: RunView) -> RunView:
    return view.model_copy(update={"position": 0})


@pytest.mark.xdist_group("agreement")
@pytest.mark.parametrize("walks", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_all_stores_agree(postgres_server: str, walks: int) -> None:
    """Whatever is asked of them, in whatever order."""

    class Here(Agreement):
        server = postgres_server

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=walks,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
