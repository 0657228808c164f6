"""Time in which the store was away does not count as anybody's silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from faults.kit import FaultyStore, MovableClock
from lastword import RunTracker, StoreUnavailable
from lastword.infrastructure.liveness.outages import OutageWatch
from lastword.infrastructure.opening import open_store

WINDOW = timedelta(seconds=20)
QUIET: dict[str, Any] = {
    "retry_attempts": 1,
    "progress_interval": 0.0,
    "heartbeat": 10,
    "lease": 60,
}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(tmp_path: Path, clock: MovableClock) -> Iterator[FaultyStore]:
    store = FaultyStore(open_store(tmp_path / "runs.db", clock=clock))
    yield store
    store.real.close()


@pytest.fixture
def watch(store: FaultyStore) -> OutageWatch:
    return OutageWatch(store, window=WINDOW)


def known(store: FaultyStore, clock: MovableClock) -> list[tuple[float, float]]:
    """The outages in the store, in seconds before now."""
    long_ago = clock() - timedelta(days=1)
    return [
        ((clock() - since).total_seconds(), (clock() - until).total_seconds())
        for since, until in store.real.outages(long_ago)
    ]


def test_an_outage_counts_from_the_last_contact(
    watch: OutageWatch, store: FaultyStore, clock: MovableClock
) -> None:
    """Between the last contact and the first failure the store may have gone at any moment."""
    watch.succeeded(clock())
    watch.failed(clock.advance(seconds=10))
    watch.failed(clock.advance(seconds=30))
    assert clock() - timedelta(seconds=40) == watch.away_since
    watch.succeeded(clock.advance(seconds=60))
    assert ([(100, 0)], None) == (known(store, clock), watch.away_since)


def test_a_long_silence_of_ours_is_no_outage(
    watch: OutageWatch, store: FaultyStore, clock: MovableClock
) -> None:
    """Who had nothing to write for an hour knows nothing of that hour: only the window counts."""
    watch.succeeded(clock())
    watch.failed(clock.advance(hours=1))
    watch.succeeded(clock.advance(seconds=5))
    assert [(25, 0)] == known(store, clock)


def test_a_first_contact_that_fails(
    watch: OutageWatch, store: FaultyStore, clock: MovableClock
) -> None:
    """Nothing is known of the time before, except the window."""
    watch.failed(clock())
    watch.succeeded(clock.advance(seconds=5))
    assert [(25, 0)] == known(store, clock)


def test_what_cannot_be_written_down_is_not_forgotten(
    watch: OutageWatch, store: FaultyStore, clock: MovableClock
) -> None:
    """Away again at once: the outage goes on from its beginning, and is written down when it is really over."""
    watch.succeeded(clock())
    watch.failed(clock.advance(seconds=10))
    store.fail("record_outage")
    watch.succeeded(clock.advance(seconds=10))
    assert ([], clock() - timedelta(seconds=20)) == (known(store, clock), watch.away_since)
    watch.succeeded(clock.advance(seconds=10))
    assert [(30, 0)] == known(store, clock)


def test_settling_says_so_while_the_store_is_away(
    watch: OutageWatch, store: FaultyStore, clock: MovableClock
) -> None:
    """Nobody is judged before it is written down that the store was away."""
    watch.settle(clock())  # nothing to settle: the store is not even asked
    assert [] == store.calls
    watch.succeeded(clock())
    watch.failed(clock.advance(seconds=10))
    store.go_down()
    with pytest.raises(StoreUnavailable):
        watch.settle(clock.advance(seconds=10))
    store.come_back()
    watch.settle(clock.advance(seconds=10))
    assert [(30, 0)] == known(store, clock)


def test_a_clock_that_is_set_back_in_between(
    watch: OutageWatch, store: FaultyStore, clock: MovableClock
) -> None:
    """The last contact lies in the future: the outage counts from the failure, and never backwards."""
    watch.succeeded(clock())
    watch.failed(clock.advance(hours=-1))
    watch.succeeded(clock.advance(seconds=30))
    assert [(30, 0)] == known(store, clock)


def test_a_fork_while_the_lock_is_held(watch: OutageWatch, clock: MovableClock) -> None:
    """A thread of the parent may hold the lock at that moment; it does not exist in the child, who goes on."""
    with watch._lock:
        pid = os.fork()
        if pid == 0:
            watch.succeeded(clock())
            os._exit(7)
    assert 7 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- with trackers


class Scene:
    """A worker that beats, and a sweeper, each with a way to the store that can be cut."""

    def __init__(self, path: Path, clock: MovableClock) -> None:
        self.clock = clock
        self.store = FaultyStore(open_store(path, clock=clock))
        self.worker = RunTracker(store=self.store, clock=clock, **QUIET)
        self.sweeper_store = FaultyStore(open_store(path, clock=clock))
        self.sweeper = RunTracker(store=self.sweeper_store, clock=clock, **QUIET)
        self.worker.start(self.worker.create("import", run_id=1))

    def pass_time(self, seconds: int) -> None:
        """The worker beats every ten seconds, or tries to."""
        for _ in range(seconds // 10):
            self.clock.advance(seconds=10)
            try:
                self.worker.beat()
            except StoreUnavailable:
                continue

    def outage(self, seconds: int) -> datetime:
        """The store is away for everybody."""
        self.store.go_down()
        self.sweeper_store.go_down()
        self.pass_time(seconds)
        self.store.come_back()
        self.sweeper_store.come_back()
        return self.clock()


@pytest.fixture
def scene(tmp_path: Path, clock: MovableClock) -> Iterator[Scene]:
    scene = Scene(tmp_path / "runs.db", clock)
    yield scene
    scene.store.come_back()
    scene.worker.close()
    scene.sweeper.close()


def test_nobody_is_lost_over_an_outage(scene: Scene) -> None:
    """Away for ten leases; the worker's next beat says so, and a sweep declares nobody lost."""
    scene.pass_time(50)
    scene.outage(600)
    scene.pass_time(10)
    assert ([], []) == (scene.sweeper.flagged(), scene.sweeper.sweep())


def test_the_time_after_an_outage_counts_again(scene: Scene) -> None:
    """A worker that froze in the outage is flagged a lease after it, not at once and not never."""
    scene.pass_time(50)
    scene.outage(600)
    scene.sweeper.create(
        "another"
    )  # who knows that the store is back, and could not know that it was away
    scene.store.real.record_outage(scene.clock() - timedelta(seconds=600), scene.clock())
    scene.clock.advance(seconds=59)
    at_first = scene.sweeper.flagged()
    scene.clock.advance(seconds=2)
    assert ([], ["silent"]) == (
        at_first,
        [view.flag.reason for view in scene.sweeper.flagged() if view.flag],
    )
    assert "the store was away for 600 s of it" in str(scene.sweeper.get(1).flag)


def test_a_sweeper_that_saw_the_outage_settles_it_first(scene: Scene) -> None:
    """Its first sweep after the outage comes before the worker's first beat: it knows what it saw, and judges nobody."""
    scene.sweeper.create("another")
    scene.pass_time(50)
    scene.store.go_down()
    scene.sweeper_store.go_down()
    scene.sweeper.create("refused by the store")
    scene.pass_time(600)
    scene.sweeper_store.come_back()
    assert [] == scene.sweeper.sweep()
    assert "running" == scene.sweeper.get(1).status


def test_an_outage_that_becomes_known_between_the_look_and_the_verdict(scene: Scene) -> None:
    """The sweeper knew of none when it looked; inside the transaction it looks again, at outages too."""
    scene.pass_time(50)
    scene.outage(600)
    scene.sweeper_store.first(
        "append",
        lambda: scene.store.real.record_outage(
            scene.clock() - timedelta(seconds=605), scene.clock()
        ),
    )
    assert [1] == [view.run_id for view in scene.sweeper.flagged()]
    assert [] == scene.sweeper.sweep()
