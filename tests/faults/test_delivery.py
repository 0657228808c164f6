"""What the store did not take comes into it later: once, in order, whoever dies in between."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import structlog

from breaking.processes import Child
from faults.kit import AFTER, FaultyStore, MovableClock
from lastword import Failure, RunTracker, StoreCorrupt, StoreUnavailable
from lastword.infrastructure.opening import open_store
from lastword.infrastructure.tracking.throttle import ProgressThrottle

QUIET: dict[str, Any] = {
    "retry_base_delay": 0.0,
    "retry_attempts": 2,
    "progress_interval": 0.0,
    "heartbeat": 3600,
}


def story(tracker: RunTracker, run_id: int | str) -> list[str]:
    return [recorded.type for recorded in tracker.history(run_id)]


def faulty(path: Path, **more: Any) -> tuple[RunTracker, FaultyStore]:
    store = FaultyStore(open_store(path))
    return RunTracker(store=store, **{**QUIET, **more}), store


def files(path: Path) -> list[str]:
    folder = Path(f"{path}.spool")
    return sorted(entry.suffix for entry in folder.iterdir()) if folder.exists() else []


def spooled_outcome(path: Path, run_id: int | str = 1) -> RunTracker:
    """A tracker, still open, whose run completed while the store was away."""
    tracker, store = faulty(path)
    tracker.start(tracker.create("import", run_id=run_id))
    store.go_down()
    tracker.complete(run_id, result="done")
    store.come_back()
    return tracker


WHOLE = ["RunCreated", "RunStarted", "RunCompleted"]


def test_it_is_delivered_at_open(tmp_path: Path) -> None:
    """Closed with something unsent: the file stays, and whoever opens the store next brings it in."""
    path = tmp_path / "runs.db"
    tracker, store = faulty(path)
    tracker.start(tracker.create("import", run_id=1))
    store.go_down()
    tracker.complete(1)
    tracker.close()
    assert [".jsonl"] == files(path)
    with RunTracker(path, **QUIET) as other:
        assert (WHOLE, []) == (story(other, 1), files(path))


def test_it_is_delivered_with_the_next_append(tmp_path: Path) -> None:
    """What is unsent of a run goes in front of the run's next event."""
    tracker, store = faulty(tmp_path / "runs.db")
    with tracker:
        tracker.create("import", run_id=1)
        store.go_down()
        tracker.start(1)
        store.come_back()
        tracker.complete(1)
        assert (WHOLE, []) == (story(tracker, 1), files(tmp_path / "runs.db"))


@pytest.mark.parametrize("way", ["beat", "deliver_spool"])
def test_it_is_delivered_by_the_beat_and_on_request(tmp_path: Path, way: str) -> None:
    """In the background, and when somebody asks for it; the file goes."""
    with spooled_outcome(tmp_path / "runs.db") as tracker:
        assert [".jsonl"] == files(tmp_path / "runs.db")
        getattr(tracker, way)()
        assert (WHOLE, []) == (story(tracker, 1), files(tmp_path / "runs.db"))


def test_delivered_twice_is_stored_once(tmp_path: Path) -> None:
    """The process died after the commit and before it removed the file: the second delivery adds nothing."""
    path = tmp_path / "runs.db"
    tracker = spooled_outcome(path)
    shutil.copytree(f"{path}.spool", tmp_path / "copy")
    tracker.deliver_spool()
    tracker.close()
    shutil.copytree(tmp_path / "copy", f"{path}.spool", dirs_exist_ok=True)
    with RunTracker(path, **QUIET) as other:
        assert (WHOLE, 0, []) == (story(other, 1), other.deliver_spool(), files(path))
        assert other.verify().ok


def test_a_living_process_keeps_its_file_and_a_dead_one_does_not(tmp_path: Path) -> None:
    """While the process lives nobody else touches its file; once it was killed, the next delivery takes it over."""
    path = tmp_path / "runs.db"
    with RunTracker(path, **QUIET) as tracker, Child("full", path, settings=QUIET) as child:
        child.answer()
        tracker.deliver_spool()
        alive = (story(tracker, 1), [".jsonl"] == files(path))
        child.kill()
        tracker.deliver_spool()
        assert (WHOLE[:2], True) == alive
        assert (["RunCreated", "RunStarted", "RunProgressed", "RunCompleted"], []) == (
            story(tracker, 1),
            files(path),
        )


def test_a_full_disk_under_the_spool_is_told_and_survived(tmp_path: Path) -> None:
    """The second report does not fit any more: the alert says that it is not safe, and what follows is."""
    with Child("full", tmp_path / "runs.db", settings=QUIET) as child:
        assert [True, False, True] == child.answer()


def test_a_child_that_lives_on_does_not_keep_the_file(tmp_path: Path) -> None:
    """The owner is killed; a process that it forked lives on and has never touched the tracker: the file is free."""
    path = tmp_path / "runs.db"
    with Child("forgetter", path, settings=QUIET) as child:
        child.answer()
        child.kill()
        with RunTracker(path, **QUIET) as tracker:
            assert (WHOLE, []) == (story(tracker, 1), files(path))


def test_two_deliverers_at_once(tmp_path: Path) -> None:
    """Both go for the same files at the same moment: each event gets in once, and the two together count them all."""
    path = tmp_path / "runs.db"
    for number in range(5):
        tracker, store = faulty(path, retry_attempts=1)
        store.go_down()
        for life in range(4):
            run_id = f"{number}-{life}"
            tracker.create("import", run_id=run_id)
            tracker.start(run_id)
            tracker.complete(run_id)
        tracker.close()
        for left in Path(f"{path}.spool").iterdir():  # kept from the next one who opens
            left.rename(tmp_path / left.name)
    left = [entry for entry in tmp_path.iterdir() if entry.suffix == ".jsonl"]
    with (
        Child("deliverer", path, settings=QUIET) as one,
        Child("deliverer", path, settings=QUIET) as two,
    ):
        assert ["ready", "ready"] == [one.answer(), two.answer()]
        for entry in left:
            entry.rename(Path(f"{path}.spool") / entry.name)
        one.say("go")
        two.say("go")
        assert 60 == one.answer() + two.answer()
    with RunTracker(path, **QUIET) as tracker:
        runs = tracker.list(limit=100)
        assert [WHOLE] * 20 == [story(tracker, view.run_id) for view in runs]
        assert (True, []) == (tracker.verify().ok, files(path))


def test_a_fork_while_events_wait(tmp_path: Path) -> None:
    """They are the parent's: the child sends nothing of them, has its own file, and the parent delivers once."""
    path = tmp_path / "runs.db"
    tracker = spooled_outcome(path)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            tracker.start(tracker.create("import", run_id="child"))
            tracker.complete("child")
            told = f"{tracker.deliver_spool()} {len(files(path))}"
            tracker.close()
            os.write(writer, told.encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert b"0 1" == os.read(reader, 100)
    assert 1 == tracker.deliver_spool()
    assert (WHOLE, WHOLE, []) == (story(tracker, 1), story(tracker, "child"), files(path))
    tracker.close()
    os.close(reader)
    os.close(writer)


def test_held_progress_is_not_a_childs(tmp_path: Path) -> None:
    """A report that waits for its interval stays with the process that was told it."""
    with RunTracker(tmp_path / "runs.db", **{**QUIET, "progress_interval": 3600}) as tracker:
        tracker.start(tracker.create("import", run_id=1))
        tracker.progress(1, 1)
        tracker.progress(1, 2)
        throttle: ProgressThrottle = tracker._throttle
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, b"something" if throttle.take("1") else b"nothing")
            os._exit(0)
        os.waitpid(pid, 0)
        held = throttle.take("1")
        assert (b"nothing", 2) == (os.read(reader, 100), held and held.current)
        os.close(reader)
        os.close(writer)


def test_a_repeat_after_somebody_else_said_the_same(tmp_path: Path) -> None:
    """Our outcome waits; somebody else records the same one; we are asked again: fine, and nothing waits any more."""
    path = tmp_path / "runs.db"
    with spooled_outcome(path) as tracker:
        with RunTracker(path, **QUIET) as other:
            other.complete(1)
        assert tracker.complete(1).stored
        assert (WHOLE, []) == (story(tracker, 1), files(path))


def test_a_lost_answer_and_then_no_store_at_all(tmp_path: Path) -> None:
    """Committed, but nobody heard so, and then the store was gone: what waits is known by its id when it comes again."""
    path = tmp_path / "runs.db"
    tracker, store = faulty(path, retry_attempts=1)
    with tracker:
        tracker.start(tracker.create("import", run_id=1))
        store.fail("append", when=AFTER)
        store.fail("append")
        assert not tracker.complete(1, result="done").stored
        assert 0 == tracker.deliver_spool()
        assert (WHOLE, [], True) == (story(tracker, 1), files(path), tracker.verify().ok)


def test_a_repeat_raises_no_alert(tmp_path: Path) -> None:
    """Asked twice while the store is away: one thing could not be stored, so one alert."""
    alerts: list[Failure] = []
    tracker, store = faulty(tmp_path / "runs.db", on_alert=[alerts.append])
    with tracker:
        tracker.start(tracker.create("import", run_id=1))
        store.go_down()
        tracker.complete(1)
        assert not tracker.complete(1).stored
        assert [(("RunCompleted",), True)] == [(alert.events, alert.kept) for alert in alerts]
        store.come_back()


def test_a_damaged_store_does_not_take_the_job_down(tmp_path: Path) -> None:
    """Somebody copies a backup over the file just when the work ends: the outcome waits, as in any outage."""
    alerts: list[Failure] = []
    tracker, store = faulty(tmp_path / "runs.db", on_alert=[alerts.append])
    with tracker:
        tracker.start(tracker.create("import", run_id=1))
        store.fail("append", times=2, error=StoreCorrupt("not a database"))
        receipt = tracker.complete(1)
        assert (False, True) == (receipt.stored, alerts[0].kept)
        tracker.deliver_spool()  # says what is wrong to the log, and goes on
        tracker.deliver_spool()
        assert (WHOLE, []) == (story(tracker, 1), files(tmp_path / "runs.db"))


def test_a_strict_tracker_tells_of_a_damaged_store(tmp_path: Path) -> None:
    """Strict means: every fault of the store goes to the caller."""
    tracker, store = faulty(tmp_path / "runs.db", strict=True)
    with tracker:
        tracker.start(tracker.create("import", run_id=1))
        store.fail("append", error=StoreCorrupt("not a database"))
        with pytest.raises(StoreCorrupt):
            tracker.complete(1)
        assert [] == files(tmp_path / "runs.db")


@pytest.mark.parametrize("who", ["the process itself", "a later one"])
def test_an_id_that_was_taken_meanwhile(tmp_path: Path, who: str) -> None:
    """Run 7 was created here while the store was away, and another run 7 elsewhere: ours is set aside whole, never mixed in."""
    path = tmp_path / "runs.db"
    tracker, store = faulty(path)
    store.go_down()
    tracker.create("import", run_id=7, params={"folder": "ours"})
    tracker.start(7)
    tracker.complete(7)
    (left,) = Path(f"{path}.spool").iterdir()
    if who == "a later one":
        tracker.close()
        left.rename(tmp_path / left.name)
    with RunTracker(path, **QUIET) as other:
        other.create("import", run_id=7, params={"folder": "theirs"})
        if who == "a later one":
            (tmp_path / left.name).rename(left)
            other.deliver_spool()
        else:
            store.come_back()
            tracker.deliver_spool()
            tracker.close()
        assert (["RunCreated"], [".rejected"]) == (story(other, 7), files(path))
    (aside,) = Path(f"{path}.spool").iterdir()
    assert [True] * 3 == [
        name in line for name, line in zip(WHOLE, aside.read_text().splitlines(), strict=True)
    ]


def test_an_outage_that_cannot_be_written_down_costs_nobody(tmp_path: Path) -> None:
    """The store takes events again but not the note that it was away: the event counts as stored all the same."""
    tracker, store = faulty(tmp_path / "runs.db")
    with tracker:
        tracker.start(tracker.create("import", run_id=1))
        store.go_down()
        tracker.progress(1, 1)
        store.come_back()
        store.fail("record_outage", error=StoreCorrupt("no such table: outages"))
        assert tracker.complete(1).stored


def test_retries_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to the application, also when an append is tried again."""
    structlog.reset_defaults()  # as an application that does not use it
    tracker, store = faulty(tmp_path / "runs.db", retry_attempts=5)
    with tracker:
        tracker.create("import", run_id=1)
        store.fail("append", times=3)
        assert tracker.start(1).stored
    assert "" == capfd.readouterr().out


def test_the_budget_ends_the_retries(tmp_path: Path) -> None:
    """However many attempts are allowed, none begins after the budget; then the fresh connection, then the spool."""
    tracker, store = faulty(
        tmp_path / "runs.db", retry_attempts=100, retry_base_delay=0.02, retry_budget=0.2
    )
    with tracker:
        tracker.create("import", run_id=1)
        store.go_down(transient=True)
        before = store.calls.count("append")
        assert isinstance(tracker.start(1).error, StoreUnavailable)
        assert 3 <= store.calls.count("append") - before <= 8
        store.come_back()


def test_a_huge_exit_code_costs_no_outcome(tmp_path: Path) -> None:
    """No store holds such a number; the outcome is recorded without it."""
    with RunTracker(tmp_path / "runs.db", **QUIET) as tracker:
        with pytest.raises(SystemExit), tracker.run("import", run_id=1):
            raise SystemExit(2**70)
        view = tracker.get(1)
        assert ("failed", None, "SystemExit") == (view.status, view.exit_code, view.error_type)


def test_a_clock_that_is_set_back_keeps_order(tmp_path: Path) -> None:
    """Events that waited while the clock was set back: the history keeps their order, and each its own time."""
    clock = MovableClock()
    tracker, store = faulty(tmp_path / "runs.db", clock=clock)
    with tracker:
        store.go_down()
        tracker.create("import", run_id=1)
        clock.advance(hours=-1)
        tracker.start(1)
        tracker.complete(1)
        store.come_back()
        tracker.deliver_spool()
        history = tracker.history(1)
        assert WHOLE == [item.type for item in history]
        assert [3600, 0, 0] == [(item.occurred_at - clock()).total_seconds() for item in history]
        assert tracker.verify().ok
