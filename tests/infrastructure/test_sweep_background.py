"""Sweeping without being asked: at the start of a manager, and every so often."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from faults.kit import FaultyStore, MovableClock, wait_until
from lastword import InvalidInput, RunManager, RunTracker
from lastword.infrastructure.liveness.sweeper import BackgroundSweeper
from lastword.infrastructure.opening import open_store


def abandoned(path: Path, clock: MovableClock) -> None:
    """A run whose owner has not been heard of for an hour."""
    with RunTracker(path, clock=clock, heartbeat=3600) as tracker:
        tracker.create("import", run_id=1)
        tracker.start(1)
    clock.advance(hours=1)


def test_a_manager_sweeps_when_it_is_made(tmp_path: Path) -> None:
    """What a former process left behind gets its verdict before the first new run."""
    clock = MovableClock()
    abandoned(tmp_path / "runs.db", clock)
    with (
        RunTracker(tmp_path / "runs.db", clock=clock, heartbeat=3600) as tracker,
        RunManager(tracker),
    ):
        view = tracker.get(1)
    assert ("failed", True) == (view.status, view.status_update_failed)


def test_a_manager_can_go_on_sweeping(tmp_path: Path) -> None:
    """With an interval, a run that is abandoned later gets its verdict, too."""
    clock = MovableClock()
    with (
        RunTracker(tmp_path / "runs.db", clock=clock, heartbeat=3600) as tracker,
        RunManager(tracker, sweep_every=timedelta(milliseconds=20)),
    ):
        tracker.create("import", run_id=1)
        tracker.start(1)
        clock.advance(seconds=61)
        wait_until(lambda: tracker.get(1).status == "running" and bool(tracker.flagged()))
        clock.advance(milliseconds=10)
        wait_until(lambda: tracker.get(1).status == "failed")


def test_a_manager_starts_although_the_store_is_down(tmp_path: Path) -> None:
    """A sweep that fails is logged; the manager is there all the same."""
    store = FaultyStore(open_store(tmp_path / "runs.db"))
    with RunTracker(store=store, retry_attempts=1, heartbeat=3600) as tracker:
        store.go_down()
        with RunManager(tracker) as manager:
            store.come_back()
            run_id = manager.start_run("import", lambda context: None)
            assert "completed" == [*manager.messages(run_id)][-1]["db_status"]


def test_after_a_pause_one_turn_is_left_out() -> None:
    """Who was suspended does not judge the others before they had the chance to beat; nor after the clock was set back."""
    clock = MovableClock()
    turns: list[int] = []

    def sweep() -> list[object]:
        turns.append(1)
        return []

    sweeper = BackgroundSweeper(sweep, clock, timedelta(seconds=10))  # type: ignore[arg-type]  # it sees no runs
    gaps = [0, 10, 3600, 10, -60, 10]
    done = []
    for gap in gaps:
        clock.advance(seconds=gap)
        sweeper.turn()
        done.append(len(turns))
    assert [1, 2, 2, 3, 3, 4] == done


def test_a_wrong_interval_is_refused(tmp_path: Path) -> None:
    """Zero would be a busy loop."""
    with (
        RunTracker(tmp_path / "runs.db") as tracker,
        pytest.raises(InvalidInput, match="sweep_every"),
    ):
        RunManager(tracker, sweep_every=timedelta(0))


def test_no_thread_without_an_interval(tmp_path: Path) -> None:
    """Sweeping at the start costs no thread."""
    with RunTracker(tmp_path / "runs.db") as tracker:
        before = threading.active_count()
        with RunManager(tracker):
            assert before == threading.active_count()
