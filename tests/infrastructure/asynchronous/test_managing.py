"""The manager on an event loop: async functions are tasks of the service's own loop, and each run has one end."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from typing import Any

import pytest

from faults.kit import FaultyStore
from lastword import (
    AsyncRunManager,
    AsyncRunTracker,
    RunManager,
    RunNotFound,
    RunTracker,
    current_run,
)
from managing import finished, signal, until


async def told(manager: AsyncRunManager, run_id: Any) -> list[Any]:
    """Every message of a run, up to the signal."""
    return [message async for message in manager.messages(run_id)]


def test_every_name_of_the_manager_is_there() -> None:
    """Queues are for threads; `messages` is what they are on a loop."""
    for_threads = {
        "amessages",
        "context_type",
        "register_subscriber",
        "tracker",
        "unregister_subscriber",
    }
    sync = {name for name in dir(RunManager) if not name.startswith("_")}
    own = {name for name in dir(AsyncRunManager) if not name.startswith("_")}
    assert sync - for_threads == own - {"over"}


def test_an_async_function_runs_on_the_services_own_loop(tracker: RunTracker) -> None:
    """So that it can use what belongs to the loop; its progress is stored before its outcome."""

    async def work(context: Any, opened: asyncio.Event) -> Any:
        context.progress(1, 3, step="extract")
        await opened.wait()
        assert current_run() is context
        return asyncio.get_running_loop() is loop_of["service"]

    loop_of: dict[str, Any] = {}

    async def service() -> Any:
        loop_of["service"] = asyncio.get_running_loop()
        opened = asyncio.Event()
        async with await AsyncRunManager.over(AsyncRunTracker(tracker)) as manager:
            run_id = await manager.start_run("import", work, opened, run_id=1)
            listening = asyncio.create_task(told(manager, run_id))
            await until(lambda: tracker.get(1).status == "running")
            active = await manager.get_active_run()
            opened.set()
            return (active and active.run_id), (await listening)[-1]

    assert (1, signal(1, "completed")) == finished(service())
    view = tracker.get(1)
    assert (True, 1, "extract") == (view.result, view.progress_current, view.current_step)


def test_other_functions_run_in_threads(tracker: RunTracker) -> None:
    """As with `RunManager`."""

    def work(context: Any) -> bool:
        return threading.current_thread() is threading.main_thread()

    async def service() -> Any:
        async with await AsyncRunManager.over(tracker) as manager:
            await manager.start_run("import", work, run_id=1)
            await told(manager, 1)
            return (await manager.get_run(1)).result

    assert finished(service()) is False


@pytest.mark.parametrize("how", ["asked", "task", "error"])
def test_how_it_ends(tracker: RunTracker, how: str) -> None:
    """Asked to stop, cancelled as a task, or by an error: recorded as that."""
    tasks: list[asyncio.Task[Any] | None] = []

    async def work(context: Any) -> None:
        tasks.append(asyncio.current_task())
        if how == "error":
            raise ValueError("no")
        await asyncio.Event().wait()

    async def service() -> Any:
        async with await AsyncRunManager.over(tracker) as manager:
            await manager.start_run("import", work, run_id=1)
            await until(lambda: bool(tasks))
            if how == "asked":
                await manager.cancel_run(1, reason="user", actor="ann")
            elif how == "task" and tasks[0] is not None:
                tasks[0].cancel()
            return (await told(manager, 1))[-1]

    status = "failed" if how == "error" else "cancelled"
    assert signal(1, status) == finished(service())
    assert "OutcomeContradicted" not in [item.type for item in tracker.history(1)]


class Large:
    """Something that a run works with."""


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
def test_what_a_run_worked_with_goes_with_its_end(tracker: RunTracker, how: str) -> None:
    """However it ends, its arguments do not wait for the garbage collector."""

    async def work(context: Any, large: Large) -> str:
        if how == "failed":
            raise ValueError("no")
        if how == "cancelled":
            raise asyncio.CancelledError
        return type(large).__name__

    async def service() -> Any:
        async with await AsyncRunManager.over(tracker) as manager:
            large = Large()
            gone = weakref.ref(large)
            gc.disable()
            try:
                await manager.start_run("import", work, large, run_id=1)
                del large
                await told(manager, 1)
                await until(lambda: gone() is None)
            finally:
                gc.enable()

    finished(service())
    assert how == tracker.get(1).status


def test_a_store_that_is_away(tracker: RunTracker, store: FaultyStore) -> None:
    """The subscriber gets the truth, the outcome is kept."""

    async def work(context: Any) -> None:
        store.go_down()

    async def service() -> Any:
        async with await AsyncRunManager.over(tracker) as manager:
            listening = asyncio.create_task(told(manager, 1))
            with pytest.raises(RunNotFound):
                await listening
            await manager.start_run("import", work, run_id=1)
            return (await told(manager, 1))[-1]

    assert signal(1, "running", failed=True) == finished(service())
    store.come_back()
    tracker.deliver_spool()
    assert "completed" == tracker.get(1).status


def test_the_loop_ends_first(tracker: RunTracker) -> None:
    """The program's main function returns without waiting: its tasks are cancelled, and so are the runs."""

    async def work(context: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    begun = threading.Event()

    async def service() -> Any:
        manager = await AsyncRunManager.over(tracker)
        await manager.start_run("import", work, run_id=1)
        await until(begun.is_set)
        return manager

    manager = finished(service())
    manager._manager.shutdown()
    assert "cancelled" == tracker.get(1).status


def test_many_at_once(tracker: RunTracker) -> None:
    """A hundred runs, no more than eight at a time, each with its own signal."""
    inside, most = 0, 0

    async def work(context: Any, number: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return number

    async def service() -> Any:
        async with await AsyncRunManager.over(tracker, max_workers=8) as manager:
            for number in range(100):
                await manager.start_run("import", work, number, run_id=number)
            return await asyncio.gather(*(told(manager, number) for number in range(100)))

    ends = [messages[-1] for messages in finished(service())]
    assert [signal(number, "completed") for number in range(100)] == ends
    assert most <= 8


def test_an_exit_of_a_function_is_not_the_services(tracker: RunTracker) -> None:
    """`sys.exit` ends the run with its code, as it does in a thread; the loop, and who else is on it, goes on."""

    async def leave(context: Any) -> None:
        sys.exit(4)

    async def service() -> Any:
        async with await AsyncRunManager.over(tracker) as manager:
            run_id = await manager.start_run("import", leave, run_id=1)
            return (await told(manager, run_id))[-1]

    assert signal(1, "failed") == finished(service())
    assert 4 == tracker.get(1).exit_code
