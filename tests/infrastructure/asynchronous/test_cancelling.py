"""Tasks that are cancelled, and many at once: every run gets its last word, and the event loop goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from faults.kit import FaultyStore
from lastword import AsyncRunTracker, RunStatus, RunTracker
from managing import PATIENCE, QUICK, finished, locked, until


class Cancelling:
    """Awaits some work and cancels the task at its n-th suspension."""

    def __init__(self, work: Awaitable[Any], at: int) -> None:
        self._work = work
        self._at = at
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._work.__await__()
        answer: Any = None
        while True:
            try:
                waiting = inner.send(answer)
            except StopIteration as over:
                return over.value
            while True:
                self.suspensions += 1
                if self.suspensions == self._at:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                try:
                    answer = yield waiting
                    break
                except BaseException as error:  # noqa: BLE001  # thrown on into the work
                    try:
                        waiting = inner.throw(error)
                    except StopIteration as over:
                        return over.value


class TestCancellation:
    @pytest.mark.parametrize("at", range(1, 12))
    def test_a_block_that_is_cancelled_at_any_of_its_awaits(
        self, tracker: RunTracker, at: int
    ) -> None:
        """The run has its last word, whenever the cancellation comes; the task is cancelled."""

        async def block() -> None:
            async with AsyncRunTracker(tracker).run("import", run_id=1) as run:
                run.progress(1, 2)
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        async def work() -> Any:
            cancelling = Cancelling(block(), at)

            async def drive() -> None:
                await cancelling

            (ended,) = await asyncio.gather(asyncio.create_task(drive()), return_exceptions=True)
            return cancelling.suspensions >= at, isinstance(ended, asyncio.CancelledError)

        came, cancelled = finished(work())
        assert came == cancelled
        view = tracker.get(1)
        assert view.status in ({"cancelled", "completed"} if came else {"completed"})
        assert view.status.is_terminal
        assert 1 == len([*tracker.completions()])

    @pytest.mark.parametrize("append", range(1, 5))
    def test_while_the_store_takes_it(
        self, tracker: RunTracker, store: FaultyStore, append: int
    ) -> None:
        """Cancelled twice in the middle of the n-th append: it is waited for, then the cancellation goes on."""
        entered, may_go = threading.Event(), threading.Event()

        def hold() -> None:
            entered.set()
            assert may_go.wait(PATIENCE)

        for _ in range(append - 1):
            store.first("append", lambda: None)
        store.first("append", hold)

        async def block() -> None:
            async with AsyncRunTracker(tracker).run("import", run_id=1) as run:
                run.progress(1, 2)

        async def work() -> None:
            task = asyncio.create_task(block())
            await until(lambda: entered.is_set() or task.done())
            for _ in range(2):
                task.cancel()
                await asyncio.sleep(0)
            assert task.done() is not entered.is_set()
            may_go.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        finished(work())
        assert ("cancelled" if append < 3 else "completed") == tracker.get(1).status

    def test_a_bare_command(self, tracker: RunTracker, store: FaultyStore) -> None:
        """`await tracker.complete(...)` in a cancelled task records the outcome, and the task ends cancelled."""
        tracker.create("import", run_id=1)
        tracker.start(1)
        entered, may_go = threading.Event(), threading.Event()
        store.first("append", lambda: (entered.set(), may_go.wait(PATIENCE)))

        async def work() -> None:
            task = asyncio.create_task(AsyncRunTracker(tracker).complete(1))
            await asyncio.to_thread(entered.wait, PATIENCE)
            task.cancel()
            await asyncio.sleep(0)
            may_go.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        finished(work())
        assert "completed" == tracker.get(1).status

    def test_a_question(self, tracker: RunTracker, store: FaultyStore) -> None:
        """Is left at once, though the store does not answer."""
        entered, may_go = threading.Event(), threading.Event()
        store.first("view", lambda: (entered.set(), may_go.wait(PATIENCE)))

        async def work() -> bool:
            task = asyncio.create_task(AsyncRunTracker(tracker).get(1))
            await asyncio.to_thread(entered.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return may_go.is_set()

        try:
            assert not finished(work())
        finally:
            may_go.set()

    def test_a_timeout_around_a_block(self, tracker: RunTracker) -> None:
        """`asyncio.timeout` gets its own cancellation back: the run is cancelled, the caller sees a timeout."""

        async def work() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), AsyncRunTracker(tracker).run("import", run_id=1):
                    await asyncio.Event().wait()

        finished(work())
        assert "cancelled" == tracker.get(1).status

    def test_the_end_of_the_loop(self, tracker: RunTracker) -> None:
        """Tasks that are left when the program's main function returns are recorded as cancelled."""
        begun = set[int]()

        async def block(number: int) -> None:
            async with AsyncRunTracker(tracker).run("import", run_id=number):
                begun.add(number)
                await asyncio.Event().wait()

        async def main() -> list[asyncio.Task[None]]:
            tasks = [asyncio.create_task(block(number)) for number in range(3)]
            await until(lambda: len(begun) == 3)
            return tasks

        finished(main())
        assert ["cancelled"] * 3 == [view.status for view in tracker.list()]


class TestManyAtOnce:
    @pytest.mark.xdist_group("timing")
    def test_the_loop_goes_on_while_the_store_is_locked(self, tmp_path: Path) -> None:
        """Another connection holds the lock: twenty runs wait for it in threads, and the loop ticks as before."""
        lags = list[float]()

        async def tick(until: Callable[[], bool]) -> None:
            last = perf_counter()
            while not until():
                await asyncio.sleep(0)
                now = perf_counter()
                lags.append(now - last)
                last = now
                await asyncio.sleep(0.002)
                last = perf_counter()

        async def block(runs: AsyncRunTracker, number: int, go: asyncio.Event) -> None:
            async with runs.run("import", run_id=number) as run:
                await go.wait()
                run.progress(number)
                assert not run.cancelled

        async def main() -> float:
            async with await AsyncRunTracker.open(tmp_path / "runs.db", **QUICK) as runs:
                go = asyncio.Event()
                tasks = [asyncio.create_task(block(runs, number, go)) for number in range(20)]
                await until(lambda: runs.tracker.counts()[RunStatus.RUNNING] == 20)
                began = perf_counter()
                with locked(tmp_path / "runs.db"):
                    go.set()
                    await tick(lambda: all(task.done() for task in tasks))
                await asyncio.gather(*tasks)
                took = perf_counter() - began
                await runs.deliver_spool()
                assert 20 == (await runs.counts())[RunStatus.COMPLETED]
                return took

        took = asyncio.run(main())
        assert took > QUICK["retry_budget"]  # the store did keep them waiting
        assert max(lags) < 0.1

    def test_five_hundred_tasks(self, tracker: RunTracker, store: FaultyStore) -> None:
        """In a few threads, each run with its own outcome."""

        async def block(runs: AsyncRunTracker, number: int) -> None:
            async with runs.run("import", run_id=number) as run:
                run.set_result(number)
                if number % 5 == 0:
                    raise ValueError(number)

        async def main() -> tuple[int, int]:
            runs = AsyncRunTracker(tracker)
            ended = await asyncio.gather(
                *(block(runs, number) for number in range(500)), return_exceptions=True
            )
            failed = sum(isinstance(it, ValueError) for it in ended)
            return failed, store.real.recorder.datastore.connections

        failed, connections = finished(main())
        assert (100, 400, 100) == (
            failed,
            tracker.counts()[RunStatus.COMPLETED],
            tracker.counts()[RunStatus.FAILED],
        )
        assert connections <= 20

    def test_no_thread_to_be_had(
        self, tracker: RunTracker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Then the loop does it itself: an outcome is late rather than lost."""

        class NoThread(threading.Thread):
            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        async def work() -> None:
            async with AsyncRunTracker(tracker).run("import", run_id=1):
                pass

        monkeypatch.setattr("lastword.infrastructure.workers.threading.Thread", NoThread)
        asyncio.run(work())
        assert "completed" == tracker.get(1).status
