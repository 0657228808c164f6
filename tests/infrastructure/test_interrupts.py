"""Ctrl-C, or what a signal's handler raises, while the store is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from faults.kit import AFTER, BEFORE, FaultyStore, MovableClock, wait_until
from lastword import Failure, InvalidTransition, RunTracker
from lastword.domain.values import Owner
from lastword.infrastructure.opening import open_store


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(tmp_path: Path, clock: MovableClock) -> FaultyStore:
    return FaultyStore(open_store(tmp_path / "runs.db", clock=clock))


@pytest.fixture
def alerts() -> list[Failure]:
    return []


@pytest.fixture
def tracker(store: FaultyStore, clock: MovableClock, alerts: list[Failure]) -> Iterator[RunTracker]:
    with RunTracker(store=store, clock=clock, on_alert=[alerts.append], heartbeat=3600) as tracker:
        yield tracker


def story(tracker: RunTracker, run_id: int | str) -> list[str]:
    return [recorded.type for recorded in tracker.history(run_id)]


@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_an_outcome_outlives_an_interrupted_wait_for_the_store(
    tracker: RunTracker, store: FaultyStore, alerts: list[Failure], when: str, raised: Any
) -> None:
    """Ctrl-C, or what a signal's handler raises: it goes on to the caller, and how the work ended is kept, told and delivered once."""
    with suppress(BaseException), tracker.run("import", run_id=1):
        store.fail("append", when=when, error=raised())
    assert [("RunCompleted",)] == [alert.events for alert in alerts]
    tracker.deliver_spool()
    wait_until(lambda: "completed" == tracker.get(1).status)  # the background may be at it
    assert ["RunCreated", "RunStarted", "RunCompleted"] == story(tracker, 1)


def test_an_interrupted_start_is_the_end_of_the_run(
    tracker: RunTracker, store: FaultyStore
) -> None:
    """Else it would be pending for ever, with nobody who could begin it."""
    store.first("append", lambda: store.fail("append", error=KeyboardInterrupt()))  # type: ignore[arg-type]  # no Exception
    with pytest.raises(KeyboardInterrupt), tracker.run("import", run_id=1):
        raise AssertionError("expected never to get here")
    assert "cancelled" == tracker.get(1).status


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_start_that_was_refused_or_interrupted_ends_nobody_elses_run(
    tracker: RunTracker, store: FaultyStore, clock: MovableClock, error: Any
) -> None:
    """Another process is at work on it."""

    def another_begins() -> None:
        with RunTracker(store.url, clock=clock) as another:
            another.start(1, owner=Owner(host="elsewhere", pid=7, started_at=clock()))

    tracker.create("import", run_id=1)
    store.first("append", another_begins)
    if error is not None:
        store.fail("append", error=error())
    with pytest.raises(error or InvalidTransition), tracker.run("import", run_id=1):
        raise AssertionError("expected never to get here")
    assert ["RunCreated", "RunStarted"] == story(tracker, 1)
    assert 0 == tracker.spool_status().events


def test_a_verdict_that_was_interrupted_is_not_kept(
    tracker: RunTracker, store: FaultyStore, clock: MovableClock
) -> None:
    """It holds only in the moment in which the store takes it."""
    run_id = tracker.create("import", deadline=timedelta(seconds=1))
    tracker.start(run_id)
    clock.advance(seconds=2)
    store.fail("append", error=KeyboardInterrupt())  # type: ignore[arg-type]  # as above
    with pytest.raises(KeyboardInterrupt):
        tracker.sweep()
    assert 0 == tracker.deliver_spool()
    assert "running" == tracker.get(run_id).status
