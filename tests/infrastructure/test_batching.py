"""Many calls, few commits: `tracker.batch()` and `tracker.create_many()`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.kit import AFTER, FaultyStore, MovableClock
from lastword import (
    InvalidInput,
    InvalidTransition,
    RunAlreadyActive,
    RunAlreadyExists,
    RunNotFound,
    RunStatus,
    RunTracker,
    StoreUnavailable,
)
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.tracking.batching import BATCH_EVENTS, Batch

QUICK = {"retry_attempts": 2, "retry_base_delay": 0.001, "heartbeat": 3600}


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return FaultyStore(SQLiteStore(tmp_path / "runs.db"))


@pytest.fixture
def tracker(store: FaultyStore) -> Iterator[RunTracker]:
    with RunTracker(store=store, clock=MovableClock(), **QUICK) as tracker:
        yield tracker


def appends(store: FaultyStore) -> int:
    return sum(call in {"append", "append_all"} for call in store.calls)


def life(tracker: RunTracker, run_id: int) -> None:
    tracker.create("import", run_id=run_id)
    tracker.start(run_id)
    tracker.complete(run_id, result={"number": run_id})


def refused(tracker: RunTracker, error: type[Exception], work: Callable[[], object]) -> Batch:
    """The batch of a block at whose end the error is raised."""
    block = tracker.batch()
    batch = block.__enter__()
    work()
    with pytest.raises(error):
        block.__exit__(None, None, None)
    return batch


def test_a_block_is_one_commit(tracker: RunTracker, store: FaultyStore) -> None:
    """Nothing is there before its end, everything after it, and the receipts say so."""
    with tracker.batch() as batch:
        for run_id in range(20):
            life(tracker, run_id)
        assert appends(store) == 0
        assert tracker.counts()[RunStatus.COMPLETED] == 0
    assert appends(store) == 1
    assert tracker.counts()[RunStatus.COMPLETED] == 20
    assert len(batch.receipts) == 60
    assert all(receipt.stored and receipt.error is None for receipt in batch.receipts)
    assert batch.receipts[-1].view == tracker.get(19)
    assert tracker.verify().ok
    tracker.create("import", run_id=0)  # a harmless repeat, by what the tracker remembers
    assert appends(store) == 1


def test_a_long_block_is_stored_in_between(tracker: RunTracker, store: FaultyStore) -> None:
    """Memory stays flat."""
    with tracker.batch() as batch:
        for run_id in range(BATCH_EVENTS):
            life(tracker, run_id)
        assert appends(store) == 3
    assert appends(store) == 3
    assert len(batch.receipts) == 3 * BATCH_EVENTS
    assert tracker.counts()[RunStatus.COMPLETED] == BATCH_EVENTS


def test_what_waits_is_stored_when_asked(tracker: RunTracker) -> None:
    """`store` ends nothing."""
    with tracker.batch() as batch:
        tracker.create("import", run_id=1)
        with pytest.raises(RunNotFound):
            tracker.get(1)
        batch.store()
        assert tracker.get(1).status == "pending"
        tracker.start(1)
    assert tracker.get(1).status == "running"


def test_rules_hold_inside(tracker: RunTracker) -> None:
    """A call that is refused is refused at once, and the block goes on."""
    with tracker.batch() as batch:
        tracker.create("import", run_id=1)
        with pytest.raises(InvalidTransition):
            tracker.complete(1)
        with pytest.raises(RunAlreadyExists):
            tracker.create("report", run_id=1)
        with pytest.raises(RunNotFound):
            tracker.start(2)
        tracker.start(1)
    assert [receipt.stored for receipt in batch.receipts] == [True, True]
    assert tracker.get(1).status == "running"


def test_what_was_said_before_an_exception_is_stored(tracker: RunTracker) -> None:
    """It has happened; the exception goes on."""

    def block() -> None:
        with tracker.batch():
            life(tracker, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert tracker.get(1).status == "completed"
    assert tracker.current_batch is None


def test_other_threads_are_not_part_of_it(tracker: RunTracker) -> None:
    """What they say is durable when their call returns; also of a run that has something waiting: then that goes first."""
    with tracker.batch():
        tracker.create("import", run_id=1)
        thread = threading.Thread(target=lambda: (life(tracker, 2), tracker.start(1)))
        thread.start()
        thread.join()
        assert tracker.get(2).status == "completed"
        assert tracker.get(1).status == "running"
        tracker.complete(1)
    assert [event.type for event in tracker.history(1)] == [
        "RunCreated",
        "RunStarted",
        "RunCompleted",
    ]


def test_a_block_inside_belongs_to_the_outer_one(tracker: RunTracker, store: FaultyStore) -> None:
    """One commit."""
    with tracker.batch() as outer:
        with tracker.batch() as inner:
            life(tracker, 1)
        assert inner is outer
        assert appends(store) == 0
    assert appends(store) == 1


def test_an_exclusive_key_is_not_put_off(tracker: RunTracker) -> None:
    """Only the store can promise it."""
    with tracker.batch():
        tracker.create("import", run_id=1, exclusive="nightly")
        assert tracker.get(1).status == "pending"
        with pytest.raises(RunAlreadyActive):
            tracker.create("import", run_id=2, exclusive="nightly")


def test_progress_is_throttled_as_ever(tracker: RunTracker) -> None:
    """The first and the last report of a second."""
    with tracker.batch():
        tracker.create("import", run_id=1)
        tracker.start(1)
        for number in range(10):
            tracker.progress(1, number, 10)
        tracker.complete(1)
    reports = [event.event for event in tracker.history(1) if event.type == "RunProgressed"]
    assert [report.current for report in reports] == [0, 9]  # type: ignore[attr-defined]  # they are RunProgressed


def test_runs_that_were_started_are_held(tracker: RunTracker) -> None:
    """This process renews its lease for them from the end of the block on."""
    with tracker.batch():
        tracker.create("import", run_id=1)
        tracker.start(1)
    tracker.beat()
    assert tracker.flagged() == []


def test_a_store_that_is_away_gets_it_later(tracker: RunTracker, store: FaultyStore) -> None:
    """Everything is kept in the spool, the receipts say so, and it is delivered in order."""
    store.go_down()
    with tracker.batch() as batch:
        for run_id in range(5):
            life(tracker, run_id)
    assert {(receipt.stored, receipt.kept) for receipt in batch.receipts} == {(False, True)}
    assert {type(receipt.error) for receipt in batch.receipts} == {StoreUnavailable}
    assert tracker.spool_status().events == 15
    store.come_back()
    assert tracker.deliver_spool() == 15
    assert tracker.counts()[RunStatus.COMPLETED] == 5
    assert tracker.spool_status().events == 0
    assert tracker.verify().ok


def test_strict_raises_at_the_end_and_keeps_nothing(store: FaultyStore) -> None:
    """Then the caller is the one who says it again."""
    with RunTracker(store=store, strict=True, **QUICK) as tracker:
        tracker.create("import", run_id=0)
        store.go_down()
        batch = refused(tracker, StoreUnavailable, lambda: (life(tracker, 1), tracker.start(0)))
        assert [receipt.stored or receipt.kept for receipt in batch.receipts] == [False] * 4
        store.come_back()
        assert tracker.deliver_spool() == 0
        assert tracker.get(0).status == "pending"
        with tracker.batch():
            life(tracker, 1)
            tracker.start(0)
        assert (tracker.get(1).status, tracker.get(0).status) == ("completed", "running")


def test_an_answer_that_was_lost_doubles_nothing(tracker: RunTracker, store: FaultyStore) -> None:
    """The store took the batch and could not say so: each event is there once."""
    store.fail("append_all", when=AFTER, error=StoreUnavailable("the answer got lost"))
    with tracker.batch() as batch:
        life(tracker, 1)
        life(tracker, 2)
    assert all(receipt.stored for receipt in batch.receipts)
    assert [len(tracker.history(run_id)) for run_id in (1, 2)] == [3, 3]
    assert tracker.verify().ok


def test_what_meets_another_writer_is_decided_anew(
    tracker: RunTracker, store: FaultyStore, tmp_path: Path
) -> None:
    """Another process cancelled one of the runs meanwhile: its outcome stands, ours is kept as a contradiction, and the rest is stored."""
    for run_id in (1, 2):
        tracker.create("import", run_id=run_id)
        tracker.start(run_id)
    with RunTracker(tmp_path / "runs.db", **QUICK) as other:
        store.first("append_all", lambda: other.cancel(1))
        with tracker.batch() as batch:
            tracker.complete(1)
            tracker.complete(2)
    assert all(receipt.stored for receipt in batch.receipts)
    assert (tracker.get(1).status, tracker.get(1).contradicted) == ("cancelled", True)
    assert tracker.get(2).status == "completed"


def test_an_id_that_was_taken_meanwhile(
    tracker: RunTracker, store: FaultyStore, tmp_path: Path
) -> None:
    """Its error is raised when everything else is stored; nothing of ours gets into the other run's history."""
    with RunTracker(tmp_path / "runs.db", **QUICK) as other:
        store.first("append_all", lambda: other.create("report", run_id=1))
        batch = refused(tracker, RunAlreadyExists, lambda: (life(tracker, 1), life(tracker, 2)))
    assert [receipt.stored for receipt in batch.receipts] == [False] * 3 + [True] * 3
    assert {type(receipt.error) for receipt in batch.receipts} == {RunAlreadyExists, type(None)}
    assert [event.type for event in tracker.history(1)] == ["RunCreated"]
    assert tracker.get(2).status == "completed"
    assert tracker.spool_status().set_aside == 0


def test_many_runs_are_created_with_one_commit(tracker: RunTracker, store: FaultyStore) -> None:
    """Names, or what `create` takes; ids come back in order."""
    run_ids = tracker.create_many(
        ["import", {"name": "report", "run_id": 17, "tags": {"team": "data"}}, {"name": "import"}]
    )
    assert appends(store) == 1
    assert run_ids[1] == 17
    assert [tracker.get(run_id).name for run_id in run_ids] == ["import", "report", "import"]
    assert tracker.get(17).tags == {"team": "data"}
    assert tracker.create_many([]) == []


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"name": ""}, "run 1: name: expected 1 to 200 printable characters"),
        ({"name": "a", "run_id": ""}, "run 1: run id: expected"),
        ({"nam": "a"}, "run 1: expected what `create` takes"),
        (7, "run 1: expected a name or a mapping"),
    ],
)
def test_of_many_runs_all_are_checked_first(
    tracker: RunTracker, run: dict[str, object], message: str
) -> None:
    """One that cannot be: the error says which, and none is made."""
    with pytest.raises(InvalidInput, match=message):
        tracker.create_many(["import", run])
    assert tracker.counts()[RunStatus.PENDING] == 0


_KILLED = """
import os, signal
from lastword import RunTracker

tracker = RunTracker("runs.db")
with tracker.batch():
    tracker.create("import", run_id="durable")
print("left", flush=True)
with tracker.batch():
    tracker.create("import", run_id="waiting")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_inside_costs_the_block_and_nothing_before_it(tmp_path: Path) -> None:
    """What the block said is durable when it was left, not before."""
    done = subprocess.run(
        [sys.executable, "-c", _KILLED], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (-9, b"left\n")
    with RunTracker(tmp_path / "runs.db") as tracker:
        assert [view.run_id for view in tracker.list()] == ["durable"]
        assert tracker.verify().ok
