"""The tracker on an event loop: the same names awaited, nothing blocks the loop, nothing is lost to a cancellation."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from faults.kit import FaultyStore, wait_until
from lastword import (
    AsyncRunTracker,
    CancelledByRequest,
    InvalidInput,
    InvalidTransition,
    RunNotFound,
    RunTracker,
    StoreUnavailable,
    current_run,
)
from lastword.infrastructure.tracking import ascoped, asynchronous
from managing import QUICK, finished, signal, until

NOT_AWAITED = {
    "arun",  # `run` is it
    "batch",  # belongs to a thread
    "current_batch",
    "beat",  # the background thread's
    "report",  # does not ask the store; `progress` does the rest, too
    "store",  # for code in threads: `tracker.tracker.store`
    "threads",
    "watch",
}
WITHOUT_THE_STORE = {"clock", "closed", "delivered", "last_known", "outcome_of", "spool_folder"}
ITERATED = {"completions", "export", "follow"}
AROUND_CODE = {"run", "tracked"}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def watchers() -> list[threading.Thread]:
    """The threads that watch a store for those who follow on an event loop."""
    return [it for it in threading.enumerate() if it.name == "lastword-watch"]


class TestNames:
    def test_every_public_name_of_the_tracker_is_there(self) -> None:
        """A method that the sync tracker gets is missing here until somebody decides what it is."""
        assert public(RunTracker) - NOT_AWAITED == public(AsyncRunTracker) - {"open", "settings"}

    def test_what_asks_the_store_is_awaited(self) -> None:
        """With the sync method's signature and text, and without its examples, which are of sync code."""
        awaited = public(RunTracker) - NOT_AWAITED - WITHOUT_THE_STORE - ITERATED - AROUND_CODE
        for name in sorted(awaited):
            sync, method = getattr(RunTracker, name), getattr(AsyncRunTracker, name)
            assert inspect.iscoroutinefunction(method), name
            assert inspect.signature(sync) == inspect.signature(method), name
            first_line = inspect.cleandoc(sync.__doc__).splitlines()[0]
            assert method.__doc__.startswith(first_line), name
            assert ">>>" not in method.__doc__, name

    def test_a_url_is_no_tracker(self) -> None:
        """Opening a store takes time, which a constructor on the loop must not take."""
        with pytest.raises(InvalidInput, match=r"await AsyncRunTracker\.open\(url\)"):
            AsyncRunTracker("runs.db")  # type: ignore[arg-type]  # that is the mistake


class TestAnswers:
    def test_a_life(self, tracker: RunTracker) -> None:
        """Create, start, progress, complete, and every question afterwards."""

        async def life() -> Any:
            runs = AsyncRunTracker(tracker)
            await runs.create("import", run_id=1, params={"folder": "in"})
            await runs.start(1)
            await runs.progress(1, 3, 10, step="extract")
            await runs.complete(1, result={"rows": 10})
            view = await runs.get(1)
            return (
                view.status,
                view.result,
                [it.run_id for it in await runs.list(name="import")],
                await runs.counts() == tracker.counts(),
                await runs.active(),
                [item.type for item in await runs.history(1)],
                (await runs.verify()).ok,
            )

        events = ["RunCreated", "RunStarted", "RunProgressed", "RunCompleted"]
        assert ("completed", {"rows": 10}, [1], True, [], events, True) == finished(life())

    @pytest.mark.parametrize(
        ("ask", "error"),
        [
            (lambda runs: runs.get(17), RunNotFound),
            (lambda runs: runs.complete(1), InvalidTransition),
            (lambda runs: runs.create(""), InvalidInput),
            (lambda runs: runs.list(limit=0), InvalidInput),
        ],
        ids=["unknown run", "against the rules", "a command's input", "a question's input"],
    )
    def test_errors_are_those_of_the_tracker(
        self,
        tracker: RunTracker,
        ask: Callable[[AsyncRunTracker], Awaitable[Any]],
        error: type[Exception],
    ) -> None:
        """Raised where the call is awaited."""
        tracker.create("import", run_id=1)

        async def work() -> None:
            with pytest.raises(error):
                await ask(AsyncRunTracker(tracker))

        finished(work())

    def test_a_store_that_is_away(self, tracker: RunTracker, store: FaultyStore) -> None:
        """Questions say so; an outcome is kept."""

        async def work() -> Any:
            runs = AsyncRunTracker(tracker)
            async with runs.run("import", run_id=1):
                store.go_down()
            with pytest.raises(StoreUnavailable):
                await runs.get(1)
            store.come_back()
            before = (await runs.get(1)).status
            await runs.deliver_spool()
            return before, (await runs.get(1)).status

        assert ("running", "completed") == finished(work())

    def test_from_a_url(self, tmp_path: Path) -> None:
        """`open` makes the tracker in a thread; the end of the block closes it."""

        async def work() -> Any:
            async with await AsyncRunTracker.open(tmp_path / "own.db", lease=30) as runs:
                await runs.create("import", run_id=1)
            return runs.closed, runs.settings.lease

        assert (True, 30) == finished(work())
        with RunTracker(tmp_path / "own.db") as again:
            assert "pending" == again.get(1).status

    def test_a_url_that_cannot_be_opened(self, tmp_path: Path) -> None:
        """Raises what the tracker raises."""

        async def work() -> None:
            with pytest.raises(StoreUnavailable):
                await AsyncRunTracker.open(tmp_path / "no" / "such" / "folder" / "runs.db")

        finished(work())

    def test_a_task_that_is_cancelled_while_it_opens(self, tmp_path: Path) -> None:
        """The tracker that nobody gets is closed again."""
        threads = {it.name for it in threading.enumerate()}

        async def work() -> None:
            task = asyncio.create_task(AsyncRunTracker.open(tmp_path / "own.db"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        finished(work())
        gc.collect()  # an open connection would be warned of
        assert (tmp_path / "own.db").exists()
        assert {it.name for it in threading.enumerate()} - threads <= {"lastword-tell"}


class TestScopes:
    def test_a_block(self, tracker: RunTracker) -> None:
        """Progress is stored by the time that the block has ended, and the loop's code can be asked which run it is."""

        async def work() -> Any:
            async with AsyncRunTracker(tracker).run("import", run_id=1) as run:
                run.progress(1, 3, step="extract")
                run.set_result("done")
                return current_run() is run

        assert finished(work())
        view = tracker.get(1)
        assert ("completed", 1, "extract", "done") == (
            view.status,
            view.progress_current,
            view.current_step,
            view.result,
        )

    def test_an_exception(self, tracker: RunTracker) -> None:
        """Recorded as failed, and raised again."""

        async def work() -> None:
            with pytest.raises(ZeroDivisionError):
                async with AsyncRunTracker(tracker).run("import", run_id=1):
                    raise ZeroDivisionError

        finished(work())
        assert ("failed", "ZeroDivisionError") == (
            tracker.get(1).status,
            tracker.get(1).error_type,
        )

    def test_an_async_function(self, tracker: RunTracker) -> None:
        """Typed as before; other functions are refused with the way to go."""
        runs = AsyncRunTracker(tracker)

        @runs.tracked("double")
        async def double(number: int) -> int:
            return 2 * number

        assert 6 == finished(double(3))
        latest = tracker.latest("double")
        assert latest is not None
        assert ("completed", 6) == (latest.status, latest.result)
        with pytest.raises(InvalidInput, match=r"RunTracker\.tracked takes others"):
            runs.tracked("double")(lambda: None)  # type: ignore[arg-type, return-value]  # that is the mistake

    def test_a_request_to_stop(self, tracker: RunTracker, monkeypatch: pytest.MonkeyPatch) -> None:
        """Noticed by the look that the asking sets off; the run is cancelled."""
        monkeypatch.setattr("lastword.infrastructure.tracking.handle._CANCEL_POLL_SECONDS", 0)

        async def work() -> None:
            runs = AsyncRunTracker(tracker)
            async with runs.run("import", run_id=1) as run:
                assert not run.cancelled
                await runs.request_cancel(1, reason="user")
                while True:
                    run.raise_if_cancelled()
                    await asyncio.sleep(0)

        with pytest.raises(CancelledByRequest):
            finished(work())
        assert "cancelled" == tracker.get(1).status

    def test_threads_that_the_block_starts(self, tracker: RunTracker) -> None:
        """There the handle works as in sync code."""

        def deep() -> tuple[bool, Any]:
            run = current_run()
            assert run is not None
            run.progress(7)
            return run.cancelled, tracker.get(1).progress_current

        async def work() -> Any:
            async with AsyncRunTracker(tracker).run("import", run_id=1):
                return await asyncio.to_thread(deep)

        assert (False, 7) == finished(work())

    def test_a_strict_tracker(self, store: FaultyStore) -> None:
        """A report that could not be stored is raised by the next one, or at the end of the block."""

        async def work(reports: int) -> None:
            async with AsyncRunTracker(tracker).run("import") as run:
                store.fail("append", times=2)  # the second one is the fresh connection's
                for number in range(reports):
                    run.progress(number)
                    await run.settled()  # type: ignore[attr-defined]  # it is a LoopHandle

        with RunTracker(store=store, strict=True, progress_interval=0, **QUICK) as tracker:
            for reports in (1, 2):
                with pytest.raises(StoreUnavailable, match="fault kit"):
                    finished(work(reports))
            assert ["failed", "failed"] == [view.status for view in tracker.list()]

    def test_a_flood_of_reports(self, tracker: RunTracker) -> None:
        """All but one a second are held without a thread; the last one is stored with the outcome."""

        async def work() -> None:
            async with AsyncRunTracker(tracker).run("import", run_id=1) as run:
                for number in range(10_000):
                    run.progress(number, 10_000)
                assert isinstance(run, ascoped.LoopHandle)
                assert len(run._under_way) <= 3

        finished(work())
        assert 9_999 == tracker.get(1).progress_current


class TestFeed:
    def test_long_answers_come_in_chunks(
        self, tracker: RunTracker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`async for` gives what the sync iterator gives; leaving it early closes that one."""
        monkeypatch.setattr(asynchronous, "_CHUNK", 3)
        for number in range(10):
            with tracker.run("import", run_id=number):
                pass

        async def work() -> Any:
            runs = AsyncRunTracker(tracker)
            feed = [item async for item in runs.completions()]
            lines = [line async for line in runs.export([1, 2])]
            export = runs.export()
            first = await anext(export)
            await export.aclose()
            return feed, lines, first

        feed, lines, first = finished(work())
        assert [*tracker.completions()] == feed
        assert [*tracker.export([1, 2])] == lines
        assert next(iter(tracker.export())) == first

    def test_followers_share_one_thread_and_end_with_the_tracker(self, tracker: RunTracker) -> None:
        """Each of fifty gets what was there and what comes; closing ends them."""
        wait_until(lambda: not watchers())  # that of an earlier test may still be ending
        with tracker.run("import", run_id=1):
            pass

        async def follow(runs: AsyncRunTracker, seen: list[Any]) -> None:
            async for _, told in runs.follow():
                seen.append(told)

        async def work() -> Any:
            runs = AsyncRunTracker(tracker)
            lists: list[list[Any]] = [[] for _ in range(50)]
            tasks = [asyncio.create_task(follow(runs, seen)) for seen in lists]
            await until(lambda: all(lists))
            async with runs.run("import", run_id=2):
                pass
            await until(lambda: all(len(seen) == 2 for seen in lists))
            watching = watchers()
            leaver = tasks.pop()
            leaver.cancel()
            await asyncio.gather(leaver, return_exceptions=True)
            await runs.close()
            await asyncio.gather(*tasks)
            return lists, len(watching)

        lists, watching = finished(work())
        assert [[signal(1, "completed"), signal(2, "completed")]] * 50 == lists
        assert 1 == watching
        wait_until(lambda: not watchers())

    def test_a_fault_reaches_who_follows(self, tracker: RunTracker, store: FaultyStore) -> None:
        """They go on from their position when they like."""

        async def work() -> None:
            store.fail("wait")
            with pytest.raises(StoreUnavailable, match="fault kit"):
                async for _ in AsyncRunTracker(tracker).follow():
                    pass

        finished(work())
