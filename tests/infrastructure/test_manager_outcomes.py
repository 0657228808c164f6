"""Whatever a function does, its run gets one outcome and its subscribers one signal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lastword import CancelledByRequest, RunContext, RunManager
from managing import PATIENCE, Gate, managed, received, signal, until_cancelled


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class HostileError(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[RunManager]:
    with managed(tmp_path / "runs.db") as manager:
        yield manager


OUTCOMES = [
    (ValueError("no rows in /home/ann/in.csv"), "failed", "ValueError", "no rows in <path>"),
    (SystemExit(), "completed", None, None),
    (SystemExit(0), "completed", None, None),
    (SystemExit(3), "failed", "SystemExit", "exit code 3"),
    (SystemExit(10**5000), "failed", "SystemExit", "an exit code that is too long to show"),
    (SystemExit("no disk"), "failed", "SystemExit", "no disk"),
    (KeyboardInterrupt(), "cancelled", None, None),
    (GeneratorExit(), "failed", "GeneratorExit", ""),
    (CancelledByRequest("enough"), "cancelled", None, None),
    (asyncio.CancelledError(), "cancelled", None, None),
    (StopIteration(), "failed", "StopIteration", ""),
    (ExceptionGroup("two", [ValueError("a")]), "failed", "ExceptionGroup", "two (1 sub-exception)"),
    (UnprintableError(), "failed", "UnprintableError", "(its message cannot be shown: ValueError)"),
    (HostileError(), "failed", "HostileError", "(its message cannot be shown: KeyboardInterrupt)"),
]


@pytest.mark.parametrize(("error", "status", "kind", "message"), OUTCOMES, ids=lambda value: None)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_raised(
    manager: RunManager,
    error: BaseException,
    status: str,
    kind: str | None,
    message: str | None,
    asynchronous: bool,
) -> None:
    """Anything at all that a function raises becomes an outcome, and the process lives on."""
    if asynchronous and isinstance(error, StopIteration):
        kind, message = "RuntimeError", "coroutine raised StopIteration"

    def work(context: RunContext) -> None:
        raise error

    async def awork(context: RunContext) -> None:
        await asyncio.sleep(0)
        raise error

    manager.start_run("import", awork if asynchronous else work, run_id=1)
    assert signal(1, status) == received(manager.register_subscriber(1))[-1]
    view = manager.get_run(1)
    assert (kind, message) == (view.error_type, view.error_message)


def test_a_result_that_is_not_json(manager: RunManager) -> None:
    """The outcome is recorded without the result, with a note."""
    manager.start_run("import", lambda context: {1, 2}, run_id=1)
    assert [signal(1, "completed")] == received(manager.register_subscriber(1))
    view = manager.get_run(1)
    assert (None, True) == (view.result, "result left out" in str(view.note))


def test_wrong_arguments_fail_the_run(manager: RunManager) -> None:
    """A function that cannot be called like this is a failed run, not a lost one."""
    manager.start_run("import", lambda context: None, "unexpected", run_id=1)
    assert [signal(1, "failed")] == received(manager.register_subscriber(1))
    assert "TypeError" == manager.get_run(1).error_type


class CallableObject:
    async def __call__(self, context: RunContext, folder: str) -> str:
        await asyncio.sleep(0)
        return folder


async def read(context: RunContext, folder: str) -> str:
    await asyncio.to_thread(context.log, "info", "from a thread")
    return folder


def returns_a_coroutine(context: RunContext, *folders: str) -> Any:
    return read(context, folders[0])


@pytest.mark.parametrize("function", [read, CallableObject(), returns_a_coroutine])
def test_whatever_gives_something_to_await(
    manager: RunManager, function: Callable[..., Any]
) -> None:
    """Coroutine functions, objects with an asynchronous call, and functions that return a coroutine run on an event loop."""
    manager.start_run("import", function, "in", run_id=1)
    assert signal(1, "completed") == received(manager.register_subscriber(1))[-1]
    assert "in" == manager.get_run(1).result


def test_tasks_left_behind_are_cancelled(manager: RunManager) -> None:
    """A coroutine that ends leaves no task running after the run."""
    ended = threading.Event()

    async def forgotten() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def work(context: RunContext) -> None:
        context.task = asyncio.create_task(forgotten())  # type: ignore[attr-defined]  # so that it is referenced
        await asyncio.sleep(0)

    manager.start_run("import", work, run_id=1)
    assert [signal(1, "completed")] == received(manager.register_subscriber(1))
    assert ended.is_set()


class TestCancelling:
    def test_a_function_that_looks(self, manager: RunManager) -> None:
        """A function that asks `raise_if_cancelled` ends, and its run is cancelled."""
        manager.start_run("import", until_cancelled, run_id=1)
        messages = manager.register_subscriber(1)
        manager.cancel_run(1)
        assert [signal(1, "cancelled")] == received(messages)

    def test_a_coroutine_that_waits(self, manager: RunManager) -> None:
        """A coroutine need not look: its task is cancelled, and it may clean up."""
        entered, cleaned = threading.Event(), threading.Event()

        async def work(context: RunContext) -> None:
            try:
                entered.set()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                cleaned.set()

        manager.start_run("import", work, run_id=1)
        messages = manager.register_subscriber(1)
        assert entered.wait(PATIENCE)
        manager.cancel_run(1, reason="enough", actor="ann")
        assert [signal(1, "cancelled")] == received(messages)
        assert cleaned.is_set()
        last = manager._tracker.history(1)[-1]
        assert ("RunCancelled", "enough", "ann") == (last.type, last.event.reason, last.actor)  # type: ignore[attr-defined]  # it is a RunCancelled

    def test_a_function_that_ends_before_it_looks(self, manager: RunManager) -> None:
        """Asked to stop and done all the same: the outcome wins."""
        gate = Gate(result=10)
        manager.start_run("import", gate, run_id=1)
        messages = manager.register_subscriber(1)
        gate.wait()
        manager.cancel_run(1)
        gate.opened.set()
        assert [signal(1, "completed")] == received(messages)
        assert manager.get_run(1).cancel_requested_at is not None

    def test_a_coroutine_that_does_not_want_to_stop(self, manager: RunManager) -> None:
        """A coroutine that swallows the cancellation and returns is completed."""
        entered = threading.Event()

        async def work(context: RunContext) -> str:
            try:
                entered.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "done anyway"
            return "never"

        manager.start_run("import", work, run_id=1)
        messages = manager.register_subscriber(1)
        assert entered.wait(PATIENCE)
        manager.cancel_run(1)
        assert [signal(1, "completed")] == received(messages)
        assert "done anyway" == manager.get_run(1).result

    def test_a_late_request_changes_nothing(self, manager: RunManager) -> None:
        """A run that has completed stays completed, without a new event."""
        manager.start_run("import", lambda context: None, run_id=1)
        assert [signal(1, "completed")] == received(manager.register_subscriber(1))
        manager.cancel_run(1)
        assert [signal(1, "completed")] == received(manager.register_subscriber(1))
        history = [item.type for item in manager._tracker.history(1)]
        assert ["RunCreated", "RunStarted", "RunCompleted"] == history

    @pytest.mark.parametrize("error", [None, ValueError("too late")])
    def test_a_cancelled_run_is_not_overwritten(
        self, manager: RunManager, error: BaseException | None
    ) -> None:
        """Somebody recorded `cancelled` while the function ran: that stays, is signalled without a flag, and the rest is evidence."""
        gate = Gate(error=error)
        manager.start_run("import", gate, run_id=1)
        messages = manager.register_subscriber(1)
        gate.wait()
        manager._tracker.cancel(1, reason="user")
        gate.opened.set()
        assert [signal(1, "cancelled")] == received(messages)
        view = manager.get_run(1)
        assert ("cancelled", True, None) == (view.status, view.contradicted, view.error_type)

    def test_the_verdict_of_a_sweeper_is_not_the_last_word(self, manager: RunManager) -> None:
        """A run declared lost while its function runs is signalled with the real outcome, without a flag."""
        gate = Gate()
        run_id = manager.start_run("import", gate, run_id=1)
        messages = manager.register_subscriber(run_id)
        gate.wait()
        view = manager.get_run(1)
        lost = manager._tracker.sweep(view.created_at + timedelta(days=1))
        assert [("failed", True)] == [(run.status, run.status_update_failed) for run in lost]
        assert messages.empty()
        gate.opened.set()
        assert [signal(1, "completed")] == received(messages)
