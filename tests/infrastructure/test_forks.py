"""Forked children of a process that tracks runs: its runs stay its own, and what it made works in the child."""

from __future__ import annotations

import os
import signal as signals
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lastword import RunContext, RunManager, RunTracker
from managing import PATIENCE, QUICK, Gate, received, signal


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[RunTracker]:
    """On a file, which a child opens anew."""
    with RunTracker(tmp_path / "runs.db", **QUICK) as tracker:
        yield tracker


def leave(how: str) -> None:
    """End a block or a function in one of the ways that there are."""
    if how == "exit":
        sys.exit(0)
    if how == "exception":
        raise ValueError("the child's own")


def in_child(action: Callable[[], object]) -> str:
    """What the action gave in a forked child, as text; the child is killed when it takes too long."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signals.alarm(int(PATIENCE))
        os.close(reader)
        try:
            os.write(writer, repr(action()).encode())
        except BaseException:  # noqa: BLE001  # the child must not go on with the tests
            os.write(writer, traceback.format_exc().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    _, status = os.waitpid(pid, 0)
    return text if status == 0 else f"ended with {status}"


def types(tracker: RunTracker, run_id: int) -> list[str]:
    return [item.type for item in tracker.history(run_id)]


@pytest.mark.parametrize("how", ["exit", "exception", "fall through"])
def test_a_child_that_leaves_the_block_does_not_end_the_run(tracker: RunTracker, how: str) -> None:
    """The run is its parent's, which is still at work."""
    parent = os.getpid()
    try:
        with tracker.run("import", run_id=1):
            pid = os.fork()
            if pid == 0:
                leave(how)
            else:
                os.waitpid(pid, 0)
                assert "running" == tracker.get(1).status
    finally:
        if os.getpid() != parent:
            os._exit(0)
    assert ["RunCreated", "RunStarted", "RunCompleted"] == types(tracker, 1)


def test_a_child_that_outlives_the_owner_ends_the_run(tmp_path: Path) -> None:
    """A process that makes itself a daemon inside of the block: the work goes on in the child, and so does the run."""
    path = tmp_path / "runs.db"
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        tracker = RunTracker(path, **QUICK)
        with suppress(BaseException), tracker.run("import", run_id=1):
            if os.fork() != 0:
                os._exit(0)
            while os.getppid() == pid_of_owner(tracker):
                os.sched_yield()
        tracker.close()
        os.write(writer, b"done")
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    assert b"done" == os.read(reader, 10)
    with RunTracker(path) as tracker:
        assert ["RunCreated", "RunStarted", "RunCompleted"] == types(tracker, 1)
    os.close(reader)


def pid_of_owner(tracker: RunTracker) -> int:
    owner = tracker.get(1).owner
    assert owner is not None
    return owner.pid


@pytest.mark.parametrize("how", ["exit", "exception", "fall through"])
def test_a_child_of_a_managed_function_says_nothing_of_its_run(
    tracker: RunTracker, how: str
) -> None:
    """Only the parent's end is the run's; and the child does none of the work that waits in the parent."""
    done = tracker.spool_folder.parent / "done"  # type: ignore[union-attr]

    def forks(context: RunContext) -> str:
        pid = os.fork()
        if pid == 0:
            leave(how)
            return "the child's"
        os.waitpid(pid, 0)
        return "the parent's"

    def notes(context: RunContext) -> None:
        with done.open("a") as file:
            file.write(f"{os.getpid()}\n")

    gate = Gate()
    with RunManager(tracker, max_workers=1) as manager:
        manager.start_run("first", gate)
        messages = manager.register_subscriber(manager.start_run("forks", forks, run_id=1))
        for number in range(2, 5):
            manager.start_run("notes", notes, run_id=number)
        gate.opened.set()
        assert signal(1, "completed") == received(messages)[-1]
    assert ("the parent's", False) == (tracker.get(1).result, tracker.get(1).contradicted)
    assert [str(os.getpid())] * 3 == done.read_text().split()
    assert {"completed"} == {tracker.get(number).status.value for number in range(2, 5)}


def test_a_manager_works_on_in_a_child(tracker: RunTracker) -> None:
    """As in a server that forks its workers after it has loaded the application: no thread of the parent's is counted on."""
    busy = Gate()
    with RunManager(tracker) as manager:
        manager.start_run("parent's", busy, run_id=1)
        busy.wait()
        received(manager.register_subscriber(manager.start_run("quick", lambda _context: None)))

        def work() -> object:
            run_id = manager.start_run("child's", lambda _context: os.getpid(), run_id=2)
            *_, last = manager.messages(run_id)
            assert os.getpid() == tracker.get(2).result
            manager.shutdown()  # waits for the child's runs only
            return last

        assert repr(signal(2, "completed")) == in_child(work)
        busy.opened.set()


def test_a_child_hears_how_a_run_of_its_parent_ends(tracker: RunTracker) -> None:
    """For the child it is a run of another process."""
    gate = Gate()
    with RunManager(tracker) as manager:
        manager.start_run("parent's", gate, run_id=1)
        gate.wait()
        reader, writer = os.pipe()

        def listen() -> object:
            messages = manager.register_subscriber(1)
            os.write(writer, b"!")
            return messages.get(timeout=PATIENCE)

        opener = threading.Thread(target=lambda: (os.read(reader, 1), gate.opened.set()))
        opener.start()
        told = in_child(listen)
        os.close(writer)
        opener.join()
        os.close(reader)
        assert repr(signal(1, "completed")) == told
