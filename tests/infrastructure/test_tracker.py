"""RunTracker as a service uses it, on a real SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from faults.kit import MovableClock, wait_until
from lastword import (
    CancelledByRequest,
    InvalidInput,
    InvalidTransition,
    RunHandle,
    RunTracker,
    current_run,
)

SETTINGS: dict[str, Any] = {"heartbeat": 3600, "start_timeout": 600}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def tracker(tmp_path: Path, clock: MovableClock) -> Iterator[RunTracker]:
    with RunTracker(tmp_path / "runs.db", clock=clock, **SETTINGS) as tracker:
        yield tracker


class TestRunScope:
    def test_a_block_that_ends(self, tracker: RunTracker) -> None:
        """The run is completed with what was set as its result."""
        with tracker.run("import", actor="cron", tags={"team": "data"}) as run:
            assert "running" == tracker.get(run.run_id).status
            run.set_result({"rows": 10})
        view = tracker.get(run.run_id)
        assert ("completed", {"rows": 10}, "cron", {"team": "data"}) == (
            view.status,
            view.result,
            view.actor,
            view.tags,
        )

    @pytest.mark.parametrize(
        ("error", "status", "error_type", "exit_code"),
        [
            (ValueError("no rows in /home/ann/in.csv"), "failed", "ValueError", None),
            (KeyboardInterrupt(), "cancelled", None, None),
            (asyncio.CancelledError(), "cancelled", None, None),
            (CancelledByRequest("enough"), "cancelled", None, None),
            (SystemExit(), "completed", None, None),
            (SystemExit(0), "completed", None, None),
            (SystemExit(3), "failed", "SystemExit", 3),
            (SystemExit("bad news"), "failed", "SystemExit", 1),
            (MemoryError(), "failed", "MemoryError", None),
            (GeneratorExit(), "failed", "GeneratorExit", None),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
    )
    def test_a_block_that_is_left_early(
        self,
        tracker: RunTracker,
        error: BaseException,
        status: str,
        error_type: str | None,
        exit_code: int | None,
    ) -> None:
        """Whatever leaves the block is recorded as what it is, and goes on."""
        with pytest.raises(type(error)) as raised, tracker.run("import") as run:
            raise error
        assert raised.value is error
        view = tracker.get(run.run_id)
        assert (status, error_type, exit_code) == (view.status, view.error_type, view.exit_code)

    def test_paths_do_not_leak(self, tracker: RunTracker) -> None:
        """The stored message is sanitised."""
        with pytest.raises(ValueError, match=r"in\.csv"), tracker.run("import") as run:
            raise ValueError("no rows in /home/ann/in.csv")
        assert "no rows in <path>" == tracker.get(run.run_id).error_message

    def test_an_exception_that_cannot_be_printed(self, tracker: RunTracker) -> None:
        """An error whose str() raises is still a failure on record."""

        class BrokenError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

        with pytest.raises(BrokenError), tracker.run("import") as run:
            raise BrokenError
        view = tracker.get(run.run_id)
        assert ("failed", "BrokenError") == (view.status, view.error_type)

    def test_a_result_that_is_not_json(self, tracker: RunTracker) -> None:
        """The outcome is recorded, without the payload and with a note."""
        with tracker.run("import") as run:
            run.set_result({1, 2})  # type: ignore[arg-type]  # that is the point
        view = tracker.get(run.run_id)
        assert ("completed", None) == (view.status, view.result)
        assert "result left out" in (view.note or "")

    def test_a_result_that_is_too_large(self, tracker: RunTracker) -> None:
        """64 KiB is the limit; the outcome does not pay for it."""
        run_id = tracker.create("import")
        tracker.start(run_id)
        tracker.complete(run_id, result="x" * 70_000)
        view = tracker.get(run_id)
        assert ("completed", None) == (view.status, view.result)
        assert "70,002" in (view.note or "")

    def test_cancellation_from_elsewhere(self, tracker: RunTracker, tmp_path: Path) -> None:
        """A request in another process reaches `raise_if_cancelled`."""
        with RunTracker(tmp_path / "runs.db", **SETTINGS) as other:
            with pytest.raises(CancelledByRequest), tracker.run("import") as run:  # noqa: PT012  # a life
                run.raise_if_cancelled()
                other.request_cancel(run.run_id, reason="user")
                wait_until(lambda: run.cancelled)
                run.raise_if_cancelled()
            assert "cancelled" == other.get(run.run_id).status

    def test_a_refused_create_never_enters_the_block(self, tracker: RunTracker) -> None:
        """Bad input is said before any work is done, and nothing is written."""
        with pytest.raises(InvalidInput), tracker.run("import", params={"a": object()}):
            pytest.fail("the block must not run")
        assert 0 == sum(tracker.counts().values())

    def test_the_current_run(self, tracker: RunTracker) -> None:
        """Code below the block can find its run."""
        with tracker.run("import") as run:
            inside = current_run()
        assert (run, None) == (inside, current_run())

    def test_a_block_that_ends_in_another_context(self, tracker: RunTracker) -> None:
        """As with a generator that a web framework begins in one thread and ends in another."""

        def dependency() -> Iterator[RunHandle]:
            with tracker.run("import", run_id=1) as run:
                yield run

        steps = dependency()
        copy_context().run(next, steps)
        assert copy_context().run(next, steps, None) is None
        assert "completed" == tracker.get(1).status

    def test_progress_after_a_verdict_does_not_take_the_work_down(
        self, tracker: RunTracker, clock: MovableClock, tmp_path: Path
    ) -> None:
        """A slow worker that was declared lost goes on, reports, and its outcome wins."""
        with tracker.run("import", lease=timedelta(seconds=5)) as run:
            clock.advance(seconds=60)
            with RunTracker(tmp_path / "runs.db", clock=clock, **SETTINGS) as reaper:
                reaper.sweep()
            run.progress(1, 2)
        view = tracker.get(run.run_id)
        assert ("completed", False) == (view.status, view.status_update_failed)


class TestAsync:
    def test_a_block_that_ends(self, tracker: RunTracker) -> None:
        """`async with` records the same as `with`."""

        async def work() -> Any:
            async with tracker.arun("import") as run:
                run.progress(1, 1)
                return run.run_id

        assert "completed" == tracker.get(asyncio.run(work())).status

    def test_a_cancelled_task(self, tracker: RunTracker) -> None:
        """The outcome is recorded although the task is being cancelled; the task ends cancelled."""

        async def work() -> None:
            async with tracker.arun("import", run_id=1):
                await asyncio.Event().wait()

        async def main() -> None:
            task = asyncio.create_task(work())
            while tracker.list(status="running").items == ():
                await asyncio.to_thread(lambda: None)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert "cancelled" == tracker.get(1).status


class TestTracked:
    def test_what_is_returned_is_the_result(self, tracker: RunTracker) -> None:
        """Every call is a run of its own."""

        @tracker.tracked("double", actor="test")
        def double(number: int) -> int:
            """Twice as much."""
            return 2 * number

        assert (6, 8, "double") == (double(3), double(4), double.__name__)
        assert [8, 6] == [view.result for view in tracker.list(name="double")]

    def test_an_async_function(self, tracker: RunTracker) -> None:
        """A coroutine function stays one."""

        @tracker.tracked("double")
        async def double(number: int) -> int:
            return 2 * number

        assert 6 == asyncio.run(double(3))
        latest = tracker.latest("double")
        assert latest is not None
        assert ("completed", 6) == (latest.status, latest.result)

    def test_a_generator_is_refused(self, tracker: RunTracker) -> None:
        """A run around a call that only makes a generator would end before the work begins."""

        def numbers() -> Iterator[int]:
            yield 1

        with pytest.raises(InvalidInput, match="generator"):
            tracker.tracked("numbers")(numbers)


class TestProgress:
    def test_at_most_one_a_second_and_always_the_last(
        self, tracker: RunTracker, clock: MovableClock
    ) -> None:
        """A hundred reports in a tenth of a second are two events: the first and the last."""
        with tracker.run("import", run_id=1) as run:
            for number in range(100):
                clock.advance(milliseconds=1)
                run.progress(number, 100, step=f"step {number // 50}")
        history = tracker.history(1)
        assert ["RunCreated", "RunStarted", "RunProgressed", "RunProgressed", "RunCompleted"] == [
            item.type for item in history
        ]
        view = tracker.get(1)
        assert (99, 100, "step 1") == (
            view.progress_current,
            view.progress_total,
            view.current_step,
        )

    def test_the_beat_stores_what_was_held(self, tracker: RunTracker, clock: MovableClock) -> None:
        """A screen that watches is not stuck on an old number until the end."""
        tracker.create("import", run_id=1)
        tracker.start(1)
        tracker.progress(1, 1)
        tracker.progress(1, 2)
        clock.advance(seconds=2)
        tracker.beat()
        assert 2 == tracker.get(1).progress_current

    @pytest.mark.parametrize("wrong", ["1", None, float("nan"), float("inf"), True])
    def test_progress_is_a_number(self, tracker: RunTracker, wrong: Any) -> None:
        """Anything else is refused with its value."""
        tracker.create("import", run_id=1)
        tracker.start(1)
        with pytest.raises(InvalidInput, match="finite number"):
            tracker.progress(1, wrong)


class TestRules:
    def test_a_run_is_started_once(self, tracker: RunTracker) -> None:
        """Again by its owner is harmless; after the end it is refused with the remedy."""
        tracker.create("import", run_id=1)
        tracker.start(1)
        assert () == tracker.start(1).events
        tracker.complete(1)
        with pytest.raises(InvalidTransition, match="create a new run"):
            tracker.start(1)

    def test_a_pending_run_is_cancelled_at_once(self, tracker: RunTracker) -> None:
        """Nobody owns it, so nobody else would ever answer the request."""
        tracker.create("import", run_id=1)
        tracker.request_cancel(1, reason="user", actor="ann")
        view = tracker.get(1)
        assert "cancelled" == view.status
        assert ["ann", "ann"] == [item.actor for item in tracker.history(1)[1:]]

    @pytest.mark.parametrize("lease", [timedelta(0), timedelta(seconds=-1), 60])
    def test_spans_are_positive_timedeltas(self, tracker: RunTracker, lease: Any) -> None:
        """Zero, negative, and bare numbers are refused."""
        with pytest.raises(InvalidInput, match="positive timedelta"):
            tracker.create("import", lease=lease)

    def test_a_deadline_has_a_date(self, tracker: RunTracker) -> None:
        """One that no calendar has is refused like other wrong input, not with an error of the arithmetic."""
        with pytest.raises(InvalidInput, match="deadline: expected a time before the year 10000"):
            tracker.create("import", deadline=timedelta.max)


def test_a_wrong_setting_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at once, with the name of what to change."""
    monkeypatch.setenv("LASTWORD_RETRY_ATTEMPTS", "none")
    with pytest.raises(InvalidInput, match="LASTWORD_RETRY_ATTEMPTS"):
        RunTracker("sqlite:///:memory:")


def test_an_unknown_setting_is_refused() -> None:
    """A typo in a keyword does not go unnoticed."""
    with pytest.raises(InvalidInput, match="retry_atempts"):
        RunTracker("sqlite:///:memory:", retry_atempts=3)


def test_a_url_of_another_kind_is_refused() -> None:
    """The message says what this release can do."""
    with pytest.raises(InvalidInput, match="'redis'"):
        RunTracker("redis://localhost/0")


def test_a_reason_that_is_too_long_does_not_cost_the_outcome(tracker: RunTracker) -> None:
    """The last word is recorded; its reason is cut."""
    tracker.create("import", run_id=1)
    tracker.start(1)
    tracker.cancel(1, reason="x" * 5_000)
    assert "cancelled" == tracker.get(1).status
