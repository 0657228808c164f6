"""RunReader's questions, asked of a tracker on a real SQLite file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from faults.kit import MovableClock, wait_until
from lastword import InvalidInput, Owner, RunNotFound, RunTracker

SETTINGS: dict[str, Any] = {"heartbeat": 3600, "start_timeout": 600}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def tracker(tmp_path: Path, clock: MovableClock) -> Iterator[RunTracker]:
    with RunTracker(tmp_path / "runs.db", clock=clock, **SETTINGS) as tracker:
        yield tracker


def test_an_unknown_run(tracker: RunTracker) -> None:
    """Every question about one run and every command on it says that it is unknown."""
    calls = [
        tracker.get,
        tracker.history,
        tracker.start,
        tracker.complete,
        tracker.cancel,
        tracker.request_cancel,
        lambda run_id: tracker.fail(run_id, "no"),
        lambda run_id: tracker.progress(run_id, 1),
    ]
    for call in calls:
        with pytest.raises(RunNotFound, match="run 17"):
            call(17)


def test_int_and_str_name_the_same_run(tracker: RunTracker) -> None:
    """The id comes back in the type it was created with, whatever it is asked by."""
    tracker.create("import", run_id=1)
    tracker.create("import", run_id="a")
    tracker.start("1")
    assert [1, 1, "a"] == [
        tracker.get("1").run_id,
        tracker.history("1")[0].run_id,
        tracker.get("a").run_id,
    ]


def test_flags_follow_the_clock(tracker: RunTracker, clock: MovableClock) -> None:
    """Overdue, silent and never started, each with its reason, oldest first."""
    tracker.create("pending", run_id="p")
    tracker.create("overdue", run_id="o", deadline=timedelta(seconds=30), lease=timedelta(hours=2))
    tracker.create("silent", run_id="s")
    for run_id in ("o", "s"):
        tracker.start(run_id)
    assert [] == tracker.flagged()
    later = clock.now + timedelta(seconds=601)
    flags = [(view.run_id, view.flag and view.flag.reason) for view in tracker.flagged(later)]
    assert [("p", "never_started"), ("o", "overdue"), ("s", "silent")] == flags
    clock.now = later
    assert {"p", "o", "s"} == {view.run_id for view in tracker.list(flagged=True)}
    assert 0 == len(tracker.list(flagged=False))
    tracker.beat()
    assert ["p", "o"] == [view.run_id for view in tracker.flagged()]


def test_pages(tracker: RunTracker, clock: MovableClock) -> None:
    """Newest first; the cursor goes on where the page ended, also when runs come in between."""
    for number in range(7):
        clock.advance(seconds=1)
        tracker.create("import", run_id=number)
    first = tracker.list(limit=3)
    tracker.create("import", run_id=99)
    second = tracker.list(limit=3, cursor=first.next_cursor)
    third = tracker.list(limit=3, cursor=second.next_cursor)
    assert [[6, 5, 4], [3, 2, 1], [0]] == [
        [view.run_id for view in page] for page in (first, second, third)
    ]
    assert third.next_cursor is None


def test_naive_times_are_refused(tracker: RunTracker) -> None:
    """A time without a zone could mean any moment of a day."""
    naive = datetime(2026, 1, 1)  # noqa: DTZ001  # that is the point
    for ask in (
        lambda: tracker.list(since=naive),
        lambda: tracker.flagged(naive),
        lambda: tracker.sweep(naive),
    ):
        with pytest.raises(InvalidInput, match="naive"):
            ask()


@pytest.mark.parametrize("wrong", ["17", None, True, 1.5, 2**63])
def test_what_is_no_position_is_refused(tracker: RunTracker, wrong: Any) -> None:
    """Rather than answered as each store's column happens to compare it."""
    for feed in (tracker.completions, tracker.follow):
        with pytest.raises(InvalidInput, match="after: expected a position"):
            next(feed(wrong))


def test_wrong_filters_are_said(tracker: RunTracker) -> None:
    """Words that are no status, limits that are none, cursors of nobody."""
    for wrong in ({"status": "done"}, {"limit": 0}, {"cursor": "x"}):
        with pytest.raises(InvalidInput):
            tracker.list(**wrong)  # type: ignore[arg-type]  # one wrong argument at a time


def test_counts_and_latest(tracker: RunTracker) -> None:
    """Every status has a number; the newest run of a name is found."""
    assert tracker.latest() is None
    tracker.create("a", run_id=1)
    tracker.create("b", run_id=2)
    tracker.start(2)
    assert {
        "pending": 1,
        "running": 1,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
    } == tracker.counts()
    latest = tracker.latest("a")
    assert latest is not None
    assert 1 == latest.run_id
    assert [1, 2] == [view.run_id for view in tracker.active()]


def test_follow_waits_for_what_comes(tracker: RunTracker, tmp_path: Path) -> None:
    """The feed gives what is there, then waits, and ends when the tracker is closed."""
    with tracker.run("import", run_id=1):
        pass
    seen: list[Any] = []
    reader = RunTracker(tmp_path / "runs.db", **SETTINGS)

    def read() -> None:
        for item in reader.follow():
            seen.append(item)  # noqa: PERF402  # one by one, so that the test sees them come

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: len(seen) == 1)
    with tracker.run("import", run_id=2):
        pass
    wait_until(lambda: len(seen) == 2)
    reader.close()
    thread.join(10)
    assert not thread.is_alive()
    feed = [*tracker.completions()]
    assert feed == seen
    assert [1, 2] == [signal["run_id"] for _, signal in feed]
    assert [feed[1]] == [*tracker.completions(after=feed[0][0])]


def test_times_are_those_of_the_clock(tracker: RunTracker, clock: MovableClock) -> None:
    """Created, started and finished as the passed-in clock says, in UTC."""
    tracker.create("import", run_id=1)
    clock.advance(seconds=1)
    tracker.start(1)
    clock.advance(seconds=2)
    tracker.complete(1)
    view = tracker.get(1)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert [0, 1, 3] == [
        (moment - start).total_seconds()
        for moment in (view.created_at, view.started_at, view.finished_at)
        if moment is not None
    ]


def test_each_owner_is_looked_up_once_a_question(
    tracker: RunTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many runs it has: to ask the system about a process takes longer than to read a row."""
    for number in range(9):
        tracker.create("import", run_id=number)
        tracker.start(number)
    asked: list[Owner] = []

    def gone(owner: Owner) -> bool:
        asked.append(owner)
        return False

    monkeypatch.setattr("lastword.infrastructure.tracking.flagging.owner_alive", gone)
    for ask in (tracker.flagged, lambda: tracker.list(flagged=True), tracker.active):
        asked.clear()
        flags = [view.flag and view.flag.reason for view in ask()]
        assert (["owner_gone"] * 9, 1) == (flags, len(asked))
