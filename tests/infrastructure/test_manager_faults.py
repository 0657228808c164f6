"""The store is locked, gone or broken, or there is no thread: every subscriber gets one truthful signal all the same."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest
import structlog

from faults.kit import FaultyStore, wait_until
from lastword import (
    RunContext,
    RunManager,
    RunNotFound,
    RunTracker,
    StoreUnavailable,
)
from lastword.infrastructure.managing.endings import Claim
from lastword.projections.ports import RunStore
from managing import PATIENCE, QUICK, Gate, locked, managed, received, removed, signal

LATE_HEARTBEAT: dict[str, Any] = {**QUICK, "heartbeat": 3600}
"""Nothing is delivered in the background: the test says when."""


def test_the_store_is_locked_at_the_finish(tmp_path: Path) -> None:
    """`running` with a flag, a warning before it, also for who comes late; after the lock the outcome arrives."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT) as manager:
        gate = Gate(result={"rows": 10})
        manager.start_run("import", gate, run_id=1)
        early = manager.register_subscriber(1)
        gate.wait()
        with locked(path):
            gate.opened.set()
            for messages in (early, manager.register_subscriber(1)):
                warning, last = received(messages)
                assert signal(1, "running", failed=True) == last
                text = warning.pop("message")
                assert {"run_id": 1, "level": "warning", "outcome": "completed"} == warning
                assert text.startswith("Failed to record completed: ")
                assert str(tmp_path) not in text
            assert [signal(1, "running", failed=True)] == [*manager.messages(1)][1:]
        manager._tracker.beat()
        assert [signal(1, "completed")] == received(manager.register_subscriber(1))
        view = manager.get_run(1)
        assert ("completed", {"rows": 10}, False) == (
            view.status,
            view.result,
            view.status_update_failed,
        )
        feed = [told for _, told in manager._tracker.completions()]
        assert [signal(1, "completed")] == feed


def test_the_claim_is_forgotten_once_the_store_has_it(tmp_path: Path) -> None:
    """Nothing is remembered of runs that were delivered, even when nobody asks for them."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT) as manager:
        gate = Gate()
        manager.start_run("import", gate, run_id=1)
        gate.wait()
        with locked(path):
            gate.opened.set()
            received(manager.register_subscriber(1))
            assert ["1"] == [*manager._notifier._unrecorded]
        manager._tracker.beat()
        manager.start_run("import", lambda context: None, run_id=2)
        received(manager.register_subscriber(2))
        assert [] == [*manager._notifier._unrecorded]


@pytest.mark.parametrize(("error", "outcome"), [(None, "completed"), (ValueError("no"), "failed")])
def test_the_store_is_gone_at_the_finish(
    tmp_path: Path, error: BaseException | None, outcome: str
) -> None:
    """It can be neither written nor read: the last status that it is known to have held, with a flag."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT) as manager:
        gate = Gate(error=error)
        manager.start_run("import", gate, run_id=1)
        early = manager.register_subscriber(1)
        gate.wait()
        with removed(path):
            gate.opened.set()
            for messages in (early, manager.register_subscriber(1)):
                warning, last = received(messages)
                assert (signal(1, "running", failed=True), outcome) == (last, warning["outcome"])
            with pytest.raises(StoreUnavailable):
                manager.register_subscriber("unknown")
        manager._tracker.beat()
        assert [signal(1, outcome)] == received(manager.register_subscriber(1))


def test_the_store_is_gone_after_the_finish(tmp_path: Path) -> None:
    """What was recorded is signalled without a flag, also when the store cannot be read any more."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT) as manager:
        manager.start_run("import", lambda context: None, run_id=1)
        received(manager.register_subscriber(1))
        with removed(path):
            assert [signal(1, "completed")] == received(manager.register_subscriber(1))


def test_another_file_took_the_place_of_the_store(tmp_path: Path) -> None:
    """A file that is no store at all cannot say anything: the last known status, with a flag."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT) as manager:
        gate = Gate()
        manager.start_run("import", gate, run_id=1)
        messages = manager.register_subscriber(1)
        gate.wait()
        with removed(path):
            path.write_text("this is no database, but it is long enough to be looked at" * 100)
            gate.opened.set()
            assert signal(1, "running", failed=True) == received(messages)[-1]
            path.unlink()


def test_an_empty_store_took_its_place(tmp_path: Path) -> None:
    """A store that does not know the run does not hold its outcome: a flag, and the outcome goes where it can be kept."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT) as manager:
        gate = Gate()
        manager.start_run("import", gate, run_id=1)
        messages = manager.register_subscriber(1)
        gate.wait()
        with removed(path):
            RunTracker(path).close()
            gate.opened.set()
            assert signal(1, "running", failed=True) == received(messages)[-1]
            for leftover in tmp_path.glob("runs.db*"):
                leftover.unlink()


def test_the_store_is_locked_from_the_beginning(tmp_path: Path) -> None:
    """The job runs all the same; a run that the store never held is `pending` with a flag, until it is delivered."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT) as manager:
        with locked(path):
            manager.start_run("import", lambda context: {"rows": 10}, run_id=1)
            for _ in range(2):
                warning, last = received(manager.register_subscriber(1))
                assert (signal(1, "pending", failed=True), "completed") == (
                    last,
                    warning["outcome"],
                )
            with pytest.raises(RunNotFound):
                manager.register_subscriber(2)
        manager._tracker.beat()
        assert [signal(1, "completed")] == received(manager.register_subscriber(1))
        history = [item.type for item in manager._tracker.history(1)]
        assert ["RunCreated", "RunStarted", "RunCompleted"] == history


def test_a_request_to_stop_reaches_the_function_while_the_store_is_locked(tmp_path: Path) -> None:
    """The function learns of it at once, whether or not the request can be recorded."""
    path = tmp_path / "runs.db"
    entered = threading.Event()

    def work(context: RunContext) -> None:
        entered.set()
        wait_until(lambda: context.cancelled, PATIENCE)
        context.raise_if_cancelled()

    with managed(path, **LATE_HEARTBEAT) as manager:
        manager.start_run("import", work, run_id=1)
        messages = manager.register_subscriber(1)
        assert entered.wait(PATIENCE)
        with locked(path):
            assert not manager.cancel_run(1, reason="enough").stored
            warning, last = received(messages)
            assert (signal(1, "running", failed=True), "cancelled") == (last, warning["outcome"])
        manager._tracker.beat()
        history = [item.type for item in manager._tracker.history(1)]
        assert ["CancellationRequested", "RunCancelled"] == history[-2:]


def test_a_strict_tracker(tmp_path: Path) -> None:
    """Strict: what cannot be recorded takes the job down, and the signal says so."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT, strict=True) as manager:
        gate = Gate()
        with locked(path), pytest.raises(StoreUnavailable):
            manager.start_run("import", gate, run_id=1)
        manager.start_run("import", gate, run_id=2)
        gate.wait()
        messages = manager.register_subscriber(2)
        with locked(path):
            gate.opened.set()
            warning, last = received(messages)
            assert (signal(2, "running", failed=True), "completed") == (last, warning["outcome"])


def test_a_strict_tracker_does_not_begin_what_it_cannot_record(tmp_path: Path) -> None:
    """Strict: a run whose start cannot be recorded is not executed."""
    path = tmp_path / "runs.db"
    with RunTracker(path, **LATE_HEARTBEAT, strict=True) as tracker:
        manager = RunManager(tracker, max_workers=1)
        first, second = Gate(), Gate()
        manager.start_run("import", first, run_id=1)
        first.wait()
        manager.start_run("import", second, run_id=2)
        messages = manager.register_subscriber(2)
        with locked(path):
            first.opened.set()
            warning, last = received(messages)
            assert (signal(2, "pending", failed=True), "failed") == (last, warning["outcome"])
        manager.shutdown()
        assert not second.entered.is_set()


def test_a_fault_of_ours_still_ends_with_the_signal(tmp_path: Path) -> None:
    """A store that raises what no store should raise cannot keep subscribers waiting."""
    with RunTracker(tmp_path / "runs.db", **LATE_HEARTBEAT) as tracker:
        store = tracker.store
        manager = RunManager(tracker)
        gate = Gate()
        manager.start_run("import", gate, run_id=1)
        messages = manager.register_subscriber(1)
        gate.wait()
        with pytest.MonkeyPatch.context() as patch:

            def broken(*args: Any, **kwargs: Any) -> Any:
                raise TypeError("a bug in /srv/app/store.py")

            patch.setattr(type(store), "append", broken)
            gate.opened.set()
            warning, last = received(messages)
        assert "Failed to record completed: a bug in <path>" == warning["message"]
        assert signal(1, "running", failed=True) == last
        manager.shutdown()


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From now on the system gives no thread to runs."""

    def refuse() -> None:
        start = threading.Thread.start

        def refused(thread: threading.Thread) -> None:
            if thread.name.startswith("lastword-worker"):
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refused)

    return refuse


class TestNoThread:
    def test_the_run_is_recorded_as_failed(self, tmp_path: Path, no_threads: Any) -> None:
        """The original error goes to the caller; run and signal say `failed`, without a flag."""
        with managed(tmp_path / "runs.db") as manager:
            manager._tracker.create("import", run_id=1)
            early = manager.register_subscriber(1)
            no_threads()
            with pytest.raises(RuntimeError, match="can't start new thread"):
                manager.start_run("import", Gate(), run_id=1)
            assert [signal(1, "failed")] == received(early)
            view = manager.get_run(1)
            assert ("failed", "RuntimeError", "can't start new thread") == (
                view.status,
                view.error_type,
                view.error_message,
            )
            assert [signal(1, "failed")] == received(manager.register_subscriber(1))

    def test_with_a_locked_store(self, tmp_path: Path, no_threads: Any) -> None:
        """Neither a thread nor a store: the signal says `pending` with a flag."""
        path = tmp_path / "runs.db"
        with managed(path, **LATE_HEARTBEAT) as manager:
            no_threads()
            with locked(path), pytest.raises(RuntimeError, match="can't start new thread"):
                manager.start_run("import", Gate(), run_id=1)
            warning, last = received(manager.register_subscriber(1))
            assert (signal(1, "pending", failed=True), "failed") == (last, warning["outcome"])

    def test_a_busy_manager_keeps_the_run_for_later(self, tmp_path: Path, no_threads: Any) -> None:
        """Where another thread of the manager is at work, the run waits for it."""
        with RunTracker(tmp_path / "runs.db") as tracker:
            manager = RunManager(tracker, max_workers=2)
            gate = Gate()
            manager.start_run("import", gate, run_id=1)
            gate.wait()
            no_threads()
            manager.start_run("import", lambda context: None, run_id=2)
            messages = manager.register_subscriber(2)
            gate.opened.set()
            assert [signal(2, "completed")] == received(messages)
            manager.shutdown()


def test_a_pending_run_is_cancelled_while_the_store_is_locked(tmp_path: Path) -> None:
    """It is told at once that it never will run, although nothing of that can be recorded; later the store has it."""
    path = tmp_path / "runs.db"
    with RunTracker(path, **LATE_HEARTBEAT) as tracker:
        manager = RunManager(tracker, max_workers=1)
        first, second = Gate(), Gate()
        manager.start_run("import", first, run_id=1)
        first.wait()
        manager.start_run("import", second, run_id=2)
        messages = manager.register_subscriber(2)
        with locked(path):
            manager.cancel_run(2, reason="not needed")
            warning, last = received(messages)
            assert (signal(2, "pending", failed=True), "cancelled") == (last, warning["outcome"])
        first.opened.set()
        manager.shutdown()
        tracker.beat()
        assert "cancelled" == tracker.get(2).status
        assert not second.entered.is_set()


def test_a_start_that_could_not_be_recorded_is_recorded_with_the_outcome(tmp_path: Path) -> None:
    """A fault of ours at the start costs neither the work nor its outcome."""
    with RunTracker(tmp_path / "runs.db") as real:
        store = FaultyStore(real.store)
        tracker = RunTracker(store=cast("RunStore", store), heartbeat=3600)
        manager = RunManager(tracker)
        tracker.create("import", run_id=1)
        store.fail("append", error=TypeError("a bug"))
        manager.start_run("import", lambda context: {"rows": 10}, run_id=1)
        assert [signal(1, "completed")] == received(manager.register_subscriber(1))
        history = [item.type for item in tracker.history(1)]
        assert ["RunCreated", "RunStarted", "RunCompleted"] == history
        manager.shutdown()


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """Whatever the application's log raises, the run gets its outcome, the subscribers their signal, and the worker goes on."""

    def broken(*_: Any) -> Any:
        raise OSError("no space left for logs")

    with managed(tmp_path / "runs.db") as manager:
        gate = Gate()
        manager.start_run("import", gate, run_id=1)
        messages = manager.register_subscriber(1)
        gate.wait()
        structlog.configure(processors=[broken])
        try:
            gate.opened.set()
            assert [signal(1, "completed")] == received(messages)
            manager.start_run("import", lambda context: None, run_id=2)
            assert signal(2, "completed") == received(manager.register_subscriber(2))[-1]
        finally:
            manager.shutdown()
            structlog.reset_defaults()


def test_a_second_end_changes_nothing(tmp_path: Path) -> None:
    """What was told and remembered of an end stays, should anybody report another one."""
    path = tmp_path / "runs.db"
    with managed(path, **LATE_HEARTBEAT) as manager:
        gate = Gate()
        manager.start_run("import", gate, run_id=1)
        gate.wait()
        with locked(path):
            gate.opened.set()
            received(manager.register_subscriber(1))
            manager._notifier.end(Claim(1, error="something else"))
            warning, last = received(manager.register_subscriber(1))
            assert (signal(1, "running", failed=True), "completed") == (last, warning["outcome"])
