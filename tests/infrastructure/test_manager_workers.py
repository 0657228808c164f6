"""How many functions run at once, in which order, and how a manager ends."""

from __future__ import annotations

import gc
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.kit import wait_until
from lastword import InvalidInput, RunContext, RunManager, RunTracker
from lastword.infrastructure import workers
from managing import PATIENCE, Gate, managed, received, signal


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[RunTracker]:
    with RunTracker(tmp_path / "runs.db") as tracker:
        yield tracker


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_a_wrong_number_of_workers(tracker: RunTracker, wrong: Any) -> None:
    """Only whole numbers from 1 on make sense."""
    with pytest.raises(InvalidInput, match="max_workers"):
        RunManager(tracker, max_workers=wrong)


def test_one_worker_takes_runs_in_order(tracker: RunTracker) -> None:
    """The second run stays `pending` until the first has ended; the order is that of their starts."""
    order: list[Any] = []
    gate = Gate()
    with RunManager(tracker, max_workers=1) as manager:
        manager.start_run("import", gate, run_id=0)
        gate.wait()
        for number in range(1, 6):
            manager.start_run("import", lambda context: order.append(context.run_id), run_id=number)
        assert ["running", *["pending"] * 5] == [run.status for run in tracker.active()]
        gate.opened.set()
    assert [1, 2, 3, 4, 5] == order
    assert 6 == tracker.counts()[tracker.get(0).status]


def test_no_more_than_that_run_at_once(tracker: RunTracker) -> None:
    """Three workers: three functions run, never four, and all come to their turn."""
    lock = threading.Lock()
    running = most = 0
    three = threading.Barrier(3)

    def work(context: RunContext) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        three.wait(PATIENCE)
        with lock:
            running -= 1

    with RunManager(tracker, max_workers=3) as manager:
        ids = [manager.start_run("import", work) for _ in range(12)]
    assert 3 == most
    assert {"completed"} == {tracker.get(run_id).status for run_id in ids}


def test_without_a_limit_all_run_at_once(tracker: RunTracker) -> None:
    """Fifty functions that wait for each other end, and each subscriber gets one signal."""
    together = threading.Barrier(50)
    with RunManager(tracker) as manager:
        ids = [
            manager.start_run("import", lambda context: together.wait(30) >= 0) for _ in range(50)
        ]
        queues = [manager.register_subscriber(run_id) for run_id in ids]
        for run_id, messages in zip(ids, queues, strict=True):
            assert [signal(run_id, "completed")] == received(messages)
    assert {} == manager._notifier._waiting


def test_a_pending_run_that_is_cancelled_never_runs(tracker: RunTracker) -> None:
    """It is signalled `cancelled` at once, without a flag, while the worker is still busy."""
    first, second = Gate(), Gate()
    with RunManager(tracker, max_workers=1) as manager:
        manager.start_run("import", first, run_id=1)
        first.wait()
        manager.start_run("import", second, run_id=2)
        messages = manager.register_subscriber(2)
        manager.cancel_run(2, reason="not needed")
        assert [signal(2, "cancelled")] == received(messages)
        first.opened.set()
    assert not second.entered.is_set()
    history = [item.type for item in tracker.history(2)]
    assert ["RunCreated", "CancellationRequested", "RunCancelled"] == history


def test_a_pending_run_that_another_process_cancels_never_runs(
    tracker: RunTracker, tmp_path: Path
) -> None:
    """The same when the request comes over the store."""
    first, second = Gate(), Gate()
    with RunManager(tracker, max_workers=1) as manager, RunTracker(tmp_path / "runs.db") as other:
        manager.start_run("import", first, run_id=1)
        first.wait()
        manager.start_run("import", second, run_id=2)
        messages = manager.register_subscriber(2)
        other.request_cancel(2)
        assert [signal(2, "cancelled")] == received(messages)
        first.opened.set()
    assert not second.entered.is_set()


class TestShutdown:
    def test_it_waits_for_running_and_pending_runs(self, tracker: RunTracker) -> None:
        """When it returns, all runs have had their last word and no thread of the manager is left."""
        gate = Gate()
        manager = RunManager(tracker, max_workers=1)
        manager.start_run("import", gate, run_id=1)
        manager.start_run("import", lambda context: None, run_id=2)
        gate.wait()
        ended: queue.Queue[Any] = queue.Queue()
        closer = threading.Thread(
            target=lambda: ended.put((manager.shutdown(), tracker.get(2).status))
        )
        closer.start()
        wait_until(lambda: manager._is_shut)
        with pytest.raises(RuntimeError, match="shut down"):
            manager.start_run("import", gate, run_id=3)
        assert ended.empty()
        gate.opened.set()
        assert (None, "completed") == ended.get(timeout=PATIENCE)
        closer.join(PATIENCE)
        names = {thread.name for thread in threading.enumerate()}
        assert set() == names & {"lastword-worker", "lastword-follower"}
        manager.shutdown()

    def test_without_waiting(self, tracker: RunTracker) -> None:
        """It returns at once; what runs goes on, and is signalled."""
        gate = Gate()
        manager = RunManager(tracker)
        manager.start_run("import", gate, run_id=1)
        messages = manager.register_subscriber(1)
        gate.wait()
        manager.shutdown(wait=False)
        assert "running" == tracker.get(1).status
        gate.opened.set()
        assert [signal(1, "completed")] == received(messages)
        manager.shutdown()

    def test_from_inside_a_run(self, tracker: RunTracker) -> None:
        """A function that shuts its own manager down waits for the others, not for itself."""
        gate = Gate()
        manager = RunManager(tracker)
        manager.start_run("import", gate, run_id=1)
        gate.wait()
        manager.start_run("stop", lambda context: manager.shutdown(), run_id=2)
        messages = manager.register_subscriber(2)
        gate.opened.set()
        assert [signal(2, "completed")] == received(messages)
        assert "completed" == tracker.get(1).status

    def test_late_subscribers_of_what_has_ended(self, tracker: RunTracker) -> None:
        """After it, the projection still answers."""
        with RunManager(tracker) as manager:
            manager.start_run("import", lambda context: None, run_id=1)
        assert [signal(1, "completed")] == received(manager.register_subscriber(1))


def test_idle_threads_are_used_again_and_leave(
    tracker: RunTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs one after the other share a thread; later it goes by itself."""
    monkeypatch.setattr(workers, "_LINGER_SECONDS", 0.2)
    seen: list[Any] = []
    with RunManager(tracker) as manager:
        for number in range(3):
            manager.start_run(
                "import", lambda context: seen.append(threading.current_thread()), run_id=number
            )
            received(manager.register_subscriber(number))
            wait_until(lambda: manager._workers._idle == 1)
        assert [seen[0]] * 3 == seen
        wait_until(lambda: not seen[0].is_alive())


EXITS = """
import sys, threading
from lastword import RunManager, RunTracker

def work(context):
    threading.main_thread().join()      # the main thread has ended
    return "done"

tracker = RunTracker(sys.argv[1])
manager = RunManager(tracker, max_workers=1)
manager.start_run("import", lambda context: None, run_id=0)
manager.start_run("import", work, run_id=1)
manager.start_run("import", lambda context: "done too", run_id=2)
"""


def test_a_process_that_exits_waits_for_its_runs(tmp_path: Path) -> None:
    """Leaving the main thread without a shutdown loses no outcome, of pending runs neither, and does not hang."""
    path = tmp_path / "runs.db"
    command = [sys.executable, "-W", "error", "-c", EXITS, str(path)]
    ended = subprocess.run(command, timeout=30, capture_output=True, text=True, check=False)
    assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr)
    with managed(path) as manager:
        assert ["done", "done too"] == [manager.get_run(number).result for number in (1, 2)]


class Large:
    """Something that a run works with."""


def test_what_a_run_worked_with_goes_with_its_end(tmp_path: Path) -> None:
    """Its arguments do not wait for the garbage collector."""
    with RunTracker(tmp_path / "runs.db") as tracker, RunManager(tracker) as manager:
        large = Large()
        gone = weakref.ref(large)
        gc.disable()
        try:
            run_id = manager.start_run("import", lambda _, it: type(it).__name__, large)
            del large
            list(manager.messages(run_id))
            wait_until(lambda: gone() is None)
        finally:
            gc.enable()
        assert "Large" == tracker.get(run_id).result
