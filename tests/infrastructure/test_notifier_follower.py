"""Who waits for a run of somebody else gets its signal over the store, whatever happens in between."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.kit import wait_until
from lastword import (
    RunManager,
    RunTracker,
    StoreUnavailable,
)
from lastword.infrastructure.managing import follower
from managing import (
    PATIENCE,
    QUICK,
    Gate,
    locked,
    managed,
    received,
    removed,
    signal,
    until_cancelled,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def manager(path: Path) -> Iterator[RunManager]:
    with managed(path) as manager:
        yield manager


class TestTheFollower:
    """Two trackers on one file stand for two processes."""

    def test_a_fault_in_between(self, path: Path) -> None:
        """The store goes away while somebody waits, the run ends unseen, the store comes back: the signal arrives."""
        with managed(path, **QUICK) as here, RunTracker(path) as there:
            there.create("import", run_id=1)
            there.start(1)
            messages = here.register_subscriber(1)
            wait_until(lambda: here._notifier._follower.is_alive)
            with removed(path):
                with pytest.raises(StoreUnavailable):
                    here.get_run(1)
                wait_until(lambda: here._notifier._follower.faults > 0)
                assert messages.empty()
            there.complete(1)
            assert [signal(1, "completed")] == received(messages)

    def test_a_lock_in_between(self, path: Path) -> None:
        """A lock on the store does not disturb it."""
        with managed(path, **QUICK) as here, RunTracker(path, **QUICK) as there:
            there.create("import", run_id=1)
            there.start(1)
            messages = here.register_subscriber(1)
            with locked(path):
                assert not there.complete(1).stored
                assert messages.empty()
            there.beat()
            assert [signal(1, "completed")] == received(messages)

    def test_registering_while_it_ends_elsewhere(self, path: Path) -> None:
        """Subscribers come while another tracker ends the run: each gets exactly one signal."""
        with managed(path) as here, RunTracker(path) as there:
            for number in range(10):
                there.create("import", run_id=number)
                there.start(number)
                together = threading.Barrier(5)
                found: queue.Queue[Any] = queue.Queue()

                def register(
                    number: int = number,
                    together: threading.Barrier = together,
                    found: queue.Queue[Any] = found,
                ) -> None:
                    together.wait(PATIENCE)
                    found.put(received(here.register_subscriber(number)))

                threads = [threading.Thread(target=register) for _ in range(4)]
                for thread in threads:
                    thread.start()
                together.wait(PATIENCE)
                there.complete(number)
                for thread in threads:
                    thread.join(PATIENCE)
                assert [[signal(number, "completed")]] * 4 == [*found.queue]
            assert {} == here._notifier._waiting

    def test_it_goes_when_there_is_nothing_to_watch(
        self, manager: RunManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its thread is there while runs are, and leaves after a while; the next run gets another one."""
        monkeypatch.setattr(follower, "_LINGER_SECONDS", 0.05)
        for number in range(2):
            gate = Gate()
            manager.start_run("import", gate, run_id=number)
            gate.wait()
            assert manager._notifier._follower.is_alive
            gate.opened.set()
            wait_until(lambda: not manager._notifier._follower.is_alive)

    def test_shutdown_while_a_run_goes_on_elsewhere(self, path: Path) -> None:
        """A queue gets a warning, iterators raise: nothing that could be taken for the end of the run."""
        with RunTracker(path) as there, RunTracker(path) as tracker:
            here = RunManager(tracker)
            there.create("import", run_id=1)
            there.start(1)
            messages, stream = here.register_subscriber(1), here.messages(1)
            here.shutdown()
            warning = messages.get(timeout=PATIENCE)
            assert {"run_id", "level", "message"} == set(warning)
            assert "the manager was shut down" in warning["message"]
            with pytest.raises(StoreUnavailable, match="the manager was shut down"):
                next(stream)
            with pytest.raises(StoreUnavailable, match="the manager was shut down"):
                here.register_subscriber(1)
            there.complete(1)
            assert [signal(1, "completed")] == received(here.register_subscriber(1))
            assert not here._notifier._follower.is_alive

    def test_without_a_thread_the_function_asks_the_store_itself(
        self, path: Path, manager: RunManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When no follower can be started, a request from elsewhere still reaches the function."""
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "lastword-follower":
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with RunTracker(path) as there:
            manager.start_run("import", until_cancelled, run_id=1)
            messages = manager.register_subscriber(1)
            wait_until(lambda: there.get(1).status == "running")
            there.request_cancel(1)
            assert [signal(1, "cancelled")] == received(messages)
            there.create("import", run_id=2)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                manager.register_subscriber(2)
        assert {} == manager._notifier._waiting
