"""From suspicion to verdict, with everything that can come in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from faults.kit import FaultyStore, MovableClock, wait_until
from lastword import RunTracker, UnsupportedSchema
from lastword.infrastructure.liveness.owners import this_owner
from lastword.infrastructure.opening import open_store

QUIET: dict[str, Any] = {
    "retry_base_delay": 0.0,
    "progress_interval": 0.0,
    "heartbeat": 3600,
    "lease": 60,
}
ELSEWHERE = this_owner().model_copy(update={"host": "elsewhere", "start_ticks": None})
"""An owner who cannot be judged from here: only the lease counts."""


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path, clock: MovableClock) -> FaultyStore:
    return FaultyStore(open_store(path, clock=clock))


@pytest.fixture
def sweeper(store: FaultyStore, clock: MovableClock) -> Iterator[RunTracker]:
    with RunTracker(store=store, clock=clock, start_timeout=300, **QUIET) as tracker:
        yield tracker


@pytest.fixture
def worker(path: Path, clock: MovableClock) -> Iterator[RunTracker]:
    with RunTracker(path, clock=clock, **QUIET) as tracker:
        yield tracker


def begun(worker: RunTracker, run_id: int = 1, **create: Any) -> int:
    worker.create("import", run_id=run_id, **create)
    worker.start(run_id, owner=ELSEWHERE)
    return run_id


def reasons(tracker: RunTracker) -> dict[int | str, str]:
    return {view.run_id: view.flag.reason.value for view in tracker.flagged() if view.flag}


def lost(tracker: RunTracker) -> list[int | str]:
    return [view.run_id for view in tracker.sweep()]


def story(tracker: RunTracker, run_id: int) -> list[str]:
    return [recorded.type for recorded in tracker.history(run_id)]


def test_each_flag_and_the_verdict_on_it(
    sweeper: RunTracker, worker: RunTracker, clock: MovableClock
) -> None:
    """Gone, silent, overdue, never started; a run that is fine is left alone, and no verdict is given twice."""
    worker.create("import", run_id=1)
    worker.start(1, owner=this_owner().model_copy(update={"start_ticks": 1}))
    begun(worker, 2)
    worker.create("import", run_id=3, deadline=timedelta(seconds=30), lease=timedelta(hours=1))
    worker.start(3)
    worker.create("import", run_id=4)
    worker.create("import", run_id=5, lease=timedelta(hours=1))
    worker.start(5)
    assert {1: "owner_gone"} == reasons(sweeper)
    clock.advance(seconds=301)
    expected = {1: "owner_gone", 2: "silent", 3: "overdue", 4: "never_started"}
    assert expected == reasons(sweeper)
    verdicts = sweeper.sweep()
    assert [(1, "failed"), (2, "failed"), (3, "failed"), (4, "failed")] == [
        (view.run_id, view.status) for view in verdicts
    ]
    assert [True] * 4 == [view.status_update_failed for view in verdicts]
    found = [sweeper.history(run_id)[-1].event for run_id in expected]
    assert [*expected.values()] == [event.model_dump()["flag"].value for event in found]
    assert ([], {}, "running") == (sweeper.sweep(), reasons(sweeper), sweeper.get(5).status)


def test_a_start_that_never_beat_counts_from_the_start(
    sweeper: RunTracker, worker: RunTracker, clock: MovableClock
) -> None:
    """Nothing of a lease is there to compare with; the run is flagged all the same, a lease after its start."""
    begun(worker)
    clock.advance(seconds=60)
    just_in_time = reasons(sweeper)
    clock.advance(seconds=1)
    assert ({}, {1: "silent"}) == (just_in_time, reasons(sweeper))


@pytest.mark.parametrize("sign", ["a beat", "an outcome", "progress"])
def test_a_sign_of_life_between_the_look_and_the_verdict(
    sweeper: RunTracker, worker: RunTracker, store: FaultyStore, clock: MovableClock, sign: str
) -> None:
    """It was flagged when the sweeper looked; inside the transaction it is not any more: no verdict."""
    begun(worker)
    now = clock.advance(seconds=61)
    signs = {
        "a beat": lambda: store.real.renew_lease(ELSEWHERE, now),
        "an outcome": lambda: worker.complete(1),
        "progress": lambda: worker.progress(1, 1),
    }
    assert {1: "silent"} == reasons(sweeper)
    store.first("append", signs[sign])
    assert [] == lost(sweeper)
    assert "RunLost" not in story(worker, 1)


def test_another_reason_is_another_verdict(
    sweeper: RunTracker, worker: RunTracker, store: FaultyStore, clock: MovableClock
) -> None:
    """Silent at the look; then it beats, and is merely overdue: what the sweeper wanted to record is not true any more."""
    begun(worker, deadline=timedelta(seconds=30))
    now = clock.advance(seconds=61)
    store.first("append", lambda: store.real.renew_lease(ELSEWHERE, now))
    assert [] == lost(sweeper)
    assert [1] == lost(sweeper)
    assert "overdue" in str(sweeper.get(1).error_message)


def test_two_sweepers_in_one_moment(
    sweeper: RunTracker, worker: RunTracker, store: FaultyStore, path: Path, clock: MovableClock
) -> None:
    """The other one is quicker between our look and our verdict: one verdict, and it is the other's."""
    begun(worker)
    clock.advance(seconds=61)
    with RunTracker(path, clock=clock, **QUIET) as other:
        others: list[int | str] = []
        store.first("append", lambda: others.extend(lost(other)))
        assert ([], [1]) == (lost(sweeper), others)
    assert ["RunCreated", "RunStarted", "RunLost"] == story(worker, 1)


def test_a_zombie_that_comes_back(
    sweeper: RunTracker, worker: RunTracker, clock: MovableClock
) -> None:
    """Declared lost, and alive after all: its outcome takes the verdict's place, and the feed carries the correction."""
    begun(worker)
    clock.advance(seconds=61)
    assert [1] == lost(sweeper)
    assert worker.complete(1, result="done").stored
    view = sweeper.get(1)
    assert ("completed", False, "done", None) == (
        view.status,
        view.status_update_failed,
        view.result,
        view.error_message,
    )
    assert [
        {"run_id": 1, "complete": True, "db_status": "failed", "status_update_failed": True},
        {"run_id": 1, "complete": True, "db_status": "completed"},
    ] == [signal for _, signal in sweeper.completions()]
    assert [] == lost(sweeper)


def test_a_contradiction_is_kept_and_seen(sweeper: RunTracker, worker: RunTracker) -> None:
    """Two real outcomes: the first one stands, the other is evidence, once however often it is claimed."""
    begun(worker)
    sweeper.fail(1, "given up by its user")
    for _ in range(2):
        worker.complete(1)
    assert ["RunCreated", "RunStarted", "RunFailed", "OutcomeContradicted"] == story(worker, 1)
    view = worker.get(1)
    assert ("failed", True, False) == (view.status, view.contradicted, view.status_update_failed)


def test_a_run_that_cannot_be_judged_keeps_nobody_waiting(
    sweeper: RunTracker, worker: RunTracker, store: FaultyStore, clock: MovableClock
) -> None:
    """One history was written by a newer release: it is logged, and the other run gets its verdict."""
    begun(worker, 1)
    begun(worker, 2)
    clock.advance(seconds=61)
    store.fail("read_run", error=UnsupportedSchema("event RunPaused", 2, 1))
    assert [2] == lost(sweeper)
    assert [1] == lost(sweeper)


def test_a_clock_that_is_set_back(
    sweeper: RunTracker, worker: RunTracker, clock: MovableClock
) -> None:
    """A beat by an earlier clock does not make the run look older, and a verdict needs the old time to pass."""
    begun(worker)
    worker.store.renew_lease(ELSEWHERE, clock())
    clock.advance(minutes=-10)
    worker.store.renew_lease(ELSEWHERE, clock())
    assert {} == reasons(sweeper)
    clock.advance(minutes=10, seconds=60)
    assert {} == reasons(sweeper)
    clock.advance(seconds=1)
    assert {1: "silent"} == reasons(sweeper)


def test_a_clock_that_is_set_forward(
    sweeper: RunTracker, worker: RunTracker, clock: MovableClock
) -> None:
    """The next beat takes the suspicion away; a sweep before that beat is wrong, and the outcome puts it right."""
    begun(worker, 1)
    clock.advance(hours=1)
    assert {1: "silent"} == reasons(sweeper)
    worker.store.renew_lease(ELSEWHERE, clock())
    assert {} == reasons(sweeper)
    clock.advance(hours=1)
    assert [1] == lost(sweeper)
    worker.complete(1)
    assert ("completed", False) == (sweeper.get(1).status, sweeper.get(1).status_update_failed)


def test_a_short_lease_is_kept(path: Path) -> None:
    """A lease that is shorter than the beat's interval makes the owner beat more often: nobody is flagged for it."""
    with RunTracker(path, heartbeat=3600) as worker, RunTracker(path, heartbeat=3600) as looker:
        worker.create("import", run_id=1, lease=timedelta(seconds=0.6))
        worker.start(1)
        begun_at = worker.get(1).started_at
        assert begun_at is not None

        def beaten_for_long() -> bool:
            view = looker.get(1)
            assert view.flag is None
            return (view.last_seen_at or begun_at) - begun_at > timedelta(seconds=1.5)

        wait_until(beaten_for_long)


def test_no_false_verdict_in_ten_thousand_sweeps(
    sweeper: RunTracker, worker: RunTracker, clock: MovableClock
) -> None:
    """A worker that beats late, but within its lease, and sweeps at any moment: nobody is declared lost."""
    random.seed(20260101)
    begun(worker)
    since_beat = 0.0
    for _ in range(10_000):
        step = random.uniform(0, 20)
        if since_beat + step > 60:
            worker.store.renew_lease(ELSEWHERE, clock())
            since_beat = 0.0
        clock.advance(seconds=step)
        since_beat += step
        assert [] == sweeper.sweep()
    clock.advance(seconds=61)
    assert [1] == lost(sweeper)
