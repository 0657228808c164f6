"""RunManager as a service uses it, on a real SQLite file."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import structlog

from lastword import (
    InvalidInput,
    RunAlreadyExists,
    RunContext,
    RunManager,
    RunNotFound,
    RunTracker,
    current_run,
)
from lastword.infrastructure.managing.manager import CREATE_ARGUMENTS
from managing import PATIENCE, Gate, managed, received, signal, until_cancelled


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[RunManager]:
    with managed(tmp_path / "runs.db", progress_interval=0) as manager:
        yield manager


class TestStartRun:
    def test_arguments_go_where_they_belong(self, manager: RunManager) -> None:
        """What `create` knows is the run's, all others are the function's; the result comes back."""

        def import_documents(
            context: RunContext, folder: str, *, name: str, depth: int = 1
        ) -> dict[str, Any]:
            return {"id": context.run_id, "folder": folder, "name": name, "depth": depth}

        run_id = manager.start_run(
            "import",
            import_documents,
            "in",
            name="x",
            depth=3,
            run_id=17,
            actor="api",
            tags={"team": "data"},
            params={"folder": "in"},
        )
        assert [signal(17, "completed")] == [*manager.messages(run_id)]
        view = manager.get_run(17)
        expected = {"id": 17, "folder": "in", "name": "x", "depth": 3}
        assert ("import", "api", {"team": "data"}, expected) == (
            view.name,
            view.actor,
            view.tags,
            view.result,
        )

    def test_the_names_that_go_to_create_are_all_that_it_knows(self) -> None:
        """A new argument of `create` must be given to it here, too."""
        known = set(inspect.signature(RunTracker.create).parameters) - {"self", "name"}
        assert known == CREATE_ARGUMENTS

    def test_a_partial_gives_the_function_a_name_that_create_knows(
        self, manager: RunManager
    ) -> None:
        """`functools.partial` is the way to an argument that is called like one of `create`."""

        def work(context: RunContext, tags: list[str]) -> list[str]:
            return tags

        run_id = manager.start_run("tag", functools.partial(work, tags=["a"]))
        received(manager.register_subscriber(run_id))
        assert ["a"] == manager.get_run(run_id).result

    @pytest.mark.parametrize(
        ("function", "words"),
        [
            (None, "found NoneType"),
            ("work", "found str"),
            (lambda context: (yield), "generator function"),
        ],
    )
    def test_what_cannot_be_called_is_refused(
        self, manager: RunManager, function: Any, words: str
    ) -> None:
        """Something that would never run is refused before a run is created."""
        with pytest.raises(InvalidInput, match=words):
            manager.start_run("import", function, run_id=1)
        with pytest.raises(RunNotFound):
            manager.get_run(1)

    def test_what_create_refuses_reaches_the_caller(self, manager: RunManager) -> None:
        """A run that cannot be created never runs."""
        gate = Gate()
        with pytest.raises(InvalidInput, match="params"):
            manager.start_run("import", gate, params={"a": {1}})
        assert manager.get_active_run() is None
        assert not gate.entered.is_set()

    def test_a_repeat_while_it_runs_does_nothing(self, manager: RunManager) -> None:
        """The same id, name and params give the same id, and the function runs once."""
        first, second = Gate(), Gate()
        manager.start_run("import", first, run_id=1)
        first.wait()
        assert 1 == manager.start_run("import", second, run_id="1")
        with pytest.raises(RunAlreadyExists):
            manager.start_run("import", second, run_id=1, params={"other": True})
        first.opened.set()
        assert [signal(1, "completed")] == [*manager.messages(1)]
        assert not second.entered.is_set()

    def test_a_repeat_after_its_end_does_nothing(self, manager: RunManager) -> None:
        """A run is executed once; who asks again learns how it ended."""
        calls: list[int] = []
        for _ in range(3):
            manager.start_run("import", lambda context: calls.append(1), run_id=1)
            assert [signal(1, "completed")] == [*manager.messages(1)]
        assert [1] == calls

    def test_many_starts_of_one_run_at_once_run_it_once(self, manager: RunManager) -> None:
        """Sixteen threads start the same run: one call, sixteen ids."""
        calls: list[int] = []
        ids: list[Any] = []
        together = threading.Barrier(16)

        def start() -> None:
            together.wait(PATIENCE)
            ids.append(manager.start_run("import", lambda context: calls.append(1), run_id=1))

        threads = [threading.Thread(target=start) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        manager.shutdown()
        assert ([1], [1] * 16) == (calls, ids)

    def test_a_run_that_was_only_created_is_begun(self, tmp_path: Path) -> None:
        """`create` first and `start_run` later with the same content is one run."""
        with RunTracker(tmp_path / "runs.db") as tracker, RunManager(tracker) as manager:
            tracker.create("import", run_id=1)
            early = manager.register_subscriber(1)
            manager.start_run("import", lambda context: context.log("info", "here"), run_id=1)
            assert [signal(1, "completed")] == received(early)[-1:]

    def test_two_managers_of_one_process_run_it_once(self, tmp_path: Path) -> None:
        """A second manager leaves a run alone that the first one executes, and its subscribers wait for the end."""
        with RunTracker(tmp_path / "runs.db") as tracker:
            first, second = RunManager(tracker), RunManager(tracker)
            gate, other = Gate(), Gate()
            first.start_run("import", gate, run_id=1)
            gate.wait()
            second.start_run("import", other, run_id=1)
            waiting = second.register_subscriber(1)
            gate.opened.set()
            assert [signal(1, "completed")] == received(waiting)
            first.shutdown()
            second.shutdown()
            assert not other.entered.is_set()


class TestQueries:
    def test_the_newest_active_run(self, manager: RunManager) -> None:
        """Of several active runs the newest is given, of none nothing."""
        gates = [Gate(), Gate()]
        for number, gate in enumerate(gates):
            manager.start_run("import", gate, run_id=number)
            gate.wait()
        active = manager.get_active_run()
        assert active is not None
        assert (1, "running") == (active.run_id, active.status)
        for gate in gates:
            gate.opened.set()
        manager.shutdown()
        assert manager.get_active_run() is None

    def test_an_unknown_run(self, manager: RunManager) -> None:
        """Every question about a run that is not there is answered with `RunNotFound`."""
        for ask in (
            manager.get_run,
            manager.cancel_run,
            manager.register_subscriber,
            manager.messages,
        ):
            with pytest.raises(RunNotFound, match="17"):
                ask(17)
        assert {} == manager._notifier._waiting


class TestContext:
    def test_messages_in_order(self, manager: RunManager) -> None:
        """Log messages and progress arrive in order, with level, time and fields, then the signal."""
        ready = threading.Event()

        def work(context: RunContext) -> None:
            assert ready.wait(PATIENCE)
            context.log("INFO", "reading", folder="in", sizes=(1, 2))
            context.progress(3, 10, step="extract")
            context.progress(4)

        manager.start_run("import", work, run_id=1)
        messages = manager.register_subscriber(1)
        ready.set()
        first, second, third, last = received(messages)
        assert first.pop("timestamp").endswith("+00:00")
        expected = {
            "run_id": 1,
            "level": "info",
            "message": "reading",
            "folder": "in",
            "sizes": [1, 2],
        }
        assert expected == first
        second.pop("timestamp")
        progress = {"current": 3, "total": 10, "step": "extract"}
        expected = {
            "run_id": 1,
            "level": "info",
            "message": "extract: 3 of 10",
            "progress": progress,
        }
        assert expected == second
        assert ("4", {"current": 4, "total": None, "step": None}) == (
            third["message"],
            third["progress"],
        )
        assert signal(1, "completed") == last
        view = manager.get_run(1)
        assert (4, 10, "extract") == (
            view.progress_current,
            view.progress_total,
            view.current_step,
        )

    def test_a_field_cannot_forge_the_signal(self, manager: RunManager) -> None:
        """Fields that are called like keys of the signal get other names."""
        ready = threading.Event()

        def work(context: RunContext) -> None:
            assert ready.wait(PATIENCE)
            forged = {"run_id": 2, "complete": True, "db_status": "failed", "level": "x"}
            context.log("info", "done", **forged)

        manager.start_run("import", work, run_id=1)
        messages = manager.register_subscriber(1)
        ready.set()
        message, last = received(messages)
        message.pop("timestamp")
        renamed = {"run_id_": 2, "complete_": True, "db_status_": "failed", "level_": "x"}
        assert {"run_id": 1, "level": "info", "message": "done", **renamed} == message
        assert signal(1, "completed") == last

    def test_strange_values_do_no_harm(self, manager: RunManager) -> None:
        """What is not JSON is sent as text, or named; refused progress is not raised."""

        class Strange:
            def __str__(self) -> str:
                raise ValueError("no")

        ready = threading.Event()

        def work(context: RunContext) -> str:
            assert ready.wait(PATIENCE)
            context.log("info", "look", path=Path("in"), strange=Strange(), number=float("nan"))
            context.progress(float("nan"))
            context.progress(Strange())  # type: ignore[arg-type]  # what untyped callers do
            return "fine"

        manager.start_run("import", work, run_id=1)
        messages = manager.register_subscriber(1)
        ready.set()
        first, *_ = received(messages)
        shown = (first["path"], first["strange"], first["number"])
        assert ("in", "a Strange that cannot be shown", "nan") == shown
        assert "fine" == manager.get_run(1).result

    def test_each_subscriber_has_messages_of_its_own(self, manager: RunManager) -> None:
        """One that changes a message does not change it for another."""
        gate = threading.Event()

        def work(context: RunContext) -> None:
            assert gate.wait(PATIENCE)
            context.log("info", "hello")

        manager.start_run("import", work, run_id=1)
        one, two = manager.register_subscriber(1), manager.register_subscriber(1)
        gate.set()
        one.get(timeout=PATIENCE).clear()
        assert "hello" == received(two)[0]["message"]

    def test_result_that_was_set(self, manager: RunManager) -> None:
        """A function that returns nothing may have set its result before."""
        manager.start_run("import", lambda context: context.set_result({"rows": 1}), run_id=1)
        received(manager.register_subscriber(1))
        assert {"rows": 1} == manager.get_run(1).result

    def test_logs_and_variables_of_the_caller(self, manager: RunManager) -> None:
        """The function sees the caller's context variables, its own run, and its run id in every log line."""
        request: ContextVar[str] = ContextVar("request", default="none")
        request.set("r-1")
        seen: list[Any] = []

        def work(context: RunContext) -> None:
            bound = structlog.contextvars.get_contextvars()
            seen.append((request.get(), current_run() is context, bound.get("run_id")))

        with structlog.contextvars.bound_contextvars(user="ann"):
            manager.start_run("import", work, run_id=1)
        received(manager.register_subscriber(1))
        assert [("r-1", True, 1)] == seen
        assert current_run() is None

    def test_log_lines_of_a_run(
        self, manager: RunManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A run that fails leaves its start, its error with traceback, and the signal in the log."""
        caplog.set_level("INFO")

        def work(context: RunContext) -> None:
            raise ValueError("no rows")

        manager.start_run("import", work, run_id=1)
        manager.shutdown()
        lines = [record.getMessage() for record in caplog.records]
        names = [line.split()[0] for line in lines]
        wanted = ["lastword.run.started", "lastword.signal.sent", "lastword.run.failed"]
        assert [f"event='{name}'" for name in wanted] == [
            name for name in names if name.split("'")[1] in wanted
        ]
        assert "ValueError: no rows" in lines[-1]
        assert "run_id=1" in lines[-1]


def test_cancel_run_before_the_end(manager: RunManager) -> None:
    """The request, with reason and actor, comes before the outcome in the history."""
    manager.start_run("import", until_cancelled, run_id=1)
    messages = manager.register_subscriber(1)
    manager.cancel_run(1, reason="wrong folder", actor="ann")
    assert [signal(1, "cancelled")] == received(messages)
    history = manager._tracker.history(1)
    found = [(item.type, getattr(item.event, "reason", None), item.actor) for item in history[-2:]]
    assert [
        ("CancellationRequested", "wrong folder", "ann"),
        ("RunCancelled", "wrong folder", "ann"),
    ] == found


def test_a_reason_that_cannot_be_recorded_stops_nothing(manager: RunManager) -> None:
    """Wrong input is refused before the function hears of it."""
    gate = Gate()
    manager.start_run("import", gate, run_id=1)
    gate.wait()
    with pytest.raises(InvalidInput, match="reason"):
        manager.cancel_run(1, reason="x" * 5000)
    gate.opened.set()
    assert [signal(1, "completed")] == received(manager.register_subscriber(1))
    assert manager.get_run(1).cancel_requested_at is None
