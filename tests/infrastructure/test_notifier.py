"""Every subscriber gets exactly one signal: early or late, by queue or iterator, in this process or another."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.kit import wait_until
from lastword import (
    RunAlreadyActive,
    RunContext,
    RunManager,
    RunNotFound,
)
from managing import (
    PATIENCE,
    Gate,
    Other,
    managed,
    received,
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


class TestInThisProcess:
    def test_early_and_late(self, manager: RunManager) -> None:
        """Who came before, while, and after gets the same signal once, and nothing is remembered of them."""
        gate = Gate()
        manager._tracker.create("import", run_id=1)
        subscribers = [manager.register_subscriber(1)]
        manager.start_run("import", gate, run_id=1)
        gate.wait()
        subscribers.append(manager.register_subscriber("1"))
        gate.opened.set()
        assert [signal(1, "completed")] == received(subscribers[0])
        subscribers.append(manager.register_subscriber("1"))
        for messages in subscribers[1:]:
            assert [signal(1, "completed")] == received(messages)
        assert {} == manager._notifier._waiting

    def test_a_full_queue(self, manager: RunManager) -> None:
        """A subscriber that never reads loses messages, not the signal."""
        ready = threading.Event()

        def work(context: RunContext) -> None:
            assert ready.wait(PATIENCE)
            for number in range(1500):
                context.log("info", f"line {number}")

        manager.start_run("import", work, run_id=1)
        messages = manager.register_subscriber(1)
        ready.set()
        manager.shutdown()
        found = received(messages)
        assert 1000 == len(found)
        assert ["line 502", "line 1499"] == [found[0]["message"], found[-3]["message"]]
        assert "502 messages were dropped: the queue was full" == found[-2]["message"]
        assert signal(1, "completed") == found[-1]

    def test_who_left_gets_nothing_more(self, manager: RunManager) -> None:
        """After `unregister_subscriber` no message and no signal arrives; leaving twice, or unknown, is harmless."""
        gate = Gate()
        manager.start_run("import", gate, run_id=1)
        gone, stays = manager.register_subscriber(1), manager.register_subscriber(1)
        manager.unregister_subscriber(1, gone)
        manager.unregister_subscriber(1, gone)
        manager.unregister_subscriber("unknown", queue.Queue())
        gate.opened.set()
        assert [signal(1, "completed")] == received(stays)
        assert gone.empty()

    def test_registering_while_it_ends(self, manager: RunManager) -> None:
        """Threads register while runs end: in every interleaving each gets exactly one signal."""
        for number in range(15):
            together, gate = threading.Barrier(9), Gate()
            found: queue.Queue[Any] = queue.Queue()
            manager.start_run("import", gate, run_id=number)

            def register(
                number: int = number,
                together: threading.Barrier = together,
                found: queue.Queue[Any] = found,
            ) -> None:
                together.wait(PATIENCE)
                found.put(received(manager.register_subscriber(number)))

            threads = [threading.Thread(target=register) for _ in range(8)]
            for thread in threads:
                thread.start()
            together.wait(PATIENCE)
            gate.opened.set()
            for thread in threads:
                thread.join(PATIENCE)
            assert [[signal(number, "completed")]] * 8 == [*found.queue]
        assert {} == manager._notifier._waiting

    def test_the_iterator(self, manager: RunManager) -> None:
        """`messages` gives what a queue would, the signal included, and then ends."""
        ready = threading.Event()

        def work(context: RunContext) -> None:
            assert ready.wait(PATIENCE)
            context.log("info", "hello")

        manager.start_run("import", work, run_id=1)
        stream = manager.messages(1)
        ready.set()
        hello, last = stream
        assert ("hello", signal(1, "completed")) == (hello["message"], last)
        assert [] == [*stream]

    def test_leaving_the_iterator(self, manager: RunManager) -> None:
        """Closing it, leaving its block, or letting go of it unregisters; who waits in it is released."""
        gate = Gate()
        manager.start_run("import", gate, run_id=1)
        waiting = manager.messages(1)
        ended: queue.Queue[Any] = queue.Queue()
        reader = threading.Thread(target=lambda: ended.put([*waiting]))
        reader.start()
        waiting.close()
        assert [] == ended.get(timeout=PATIENCE)
        with manager.messages(1) as stream:
            assert 1 == len(manager._notifier._waiting["1"])
        assert [] == [*stream]
        manager.messages(1)
        gc.collect()
        assert {} == manager._notifier._waiting
        gate.opened.set()

    def test_asynchronous_iterators(self, manager: RunManager) -> None:
        """Many listeners on one event loop get everything in order, without a thread each, early or late."""
        ready = threading.Event()

        def work(context: RunContext) -> None:
            assert ready.wait(PATIENCE)
            for number in range(100):
                context.log("info", f"line {number}")

        async def listen() -> list[Any]:
            return [message async for message in manager.amessages(1)]

        async def all_of_them() -> list[list[Any]]:
            tasks = [asyncio.create_task(listen()) for _ in range(40)]
            registered = manager._notifier._waiting
            await asyncio.to_thread(wait_until, lambda: len(registered.get("1", ())) == 40)
            threads = threading.active_count()
            ready.set()
            early = await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
            assert threads < 20
            return [*early, await listen()]

        manager.start_run("import", work, run_id=1)
        *early, late = asyncio.run(all_of_them())
        lines = [f"line {number}" for number in range(100)]
        for messages in early:
            assert lines == [message["message"] for message in messages[:-1]]
            assert signal(1, "completed") == messages[-1]
        assert [signal(1, "completed")] == late

    def test_leaving_an_asynchronous_iterator(self, manager: RunManager) -> None:
        """Breaking out, being cancelled, and an unknown run leave nothing behind."""
        ready, gate = threading.Event(), Gate()

        def work(context: RunContext) -> None:
            assert ready.wait(PATIENCE)
            context.log("info", "hello")
            gate(context)

        async def break_out() -> None:
            stream = manager.amessages(1)
            ready.set()
            async for _ in stream:
                break
            await stream.aclose()

        async def be_cancelled() -> None:
            stream = manager.amessages(1)
            task = asyncio.create_task(anext(stream))  # type: ignore[arg-type]  # an awaitable does
            await asyncio.to_thread(wait_until, lambda: bool(manager._notifier._waiting))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        async def ask_for_nobody() -> None:
            with pytest.raises(RunNotFound):
                await anext(manager.amessages("nobody"))

        manager.start_run("import", work, run_id=1)
        for leave in (break_out, be_cancelled, ask_for_nobody):
            asyncio.run(leave())
            assert {} == manager._notifier._waiting
        gate.opened.set()


WORKER = """
from lastword import RunManager
gate = threading.Event()
def work(context):
    print("running", flush=True)
    if not gate.wait(10):
        raise TimeoutError
manager = RunManager(tracker)
manager.start_run("import", work, run_id=1, exclusive="nightly")
input()
gate.set()
manager.shutdown()
"""

CANCELLER = """
from lastword import RunManager
input()
RunManager(tracker).cancel_run(1, reason="from elsewhere", actor="ann")
"""

RIVAL = """
from lastword import RunManager
manager = RunManager(tracker)
print("ready", flush=True)
input()
try:
    manager.start_run("import", lambda context: input(), exclusive="nightly")
    print("won", flush=True)
except RunAlreadyActive:
    print("lost", flush=True)
    input()
manager.shutdown()
"""


class TestOverProcesses:
    def test_a_subscriber_here_of_a_run_there(self, path: Path, manager: RunManager) -> None:
        """The signal arrives when the other process finishes the run; afterwards the projection answers."""
        with Other(path, WORKER) as other:
            assert "running" == other.line()
            subscribers = [manager.register_subscriber(1) for _ in range(3)]
            stream = manager.messages(1)
            other.go_on()
            for messages in subscribers:
                assert [signal(1, "completed")] == received(messages)
            assert [signal(1, "completed")] == [*stream]
        assert [signal(1, "completed")] == received(manager.register_subscriber(1))
        assert {} == manager._notifier._waiting

    def test_after_a_restart(self, path: Path) -> None:
        """A manager that never saw the run tells its end from the store."""
        with managed(path) as before:
            before.start_run("import", lambda context: None, run_id=1)
        with managed(path) as after:
            assert [signal(1, "completed")] == received(after.register_subscriber(1))

    def test_a_run_whose_process_died(self, path: Path, manager: RunManager) -> None:
        """Its verdict is signalled with a flag, after a warning that nothing was reported."""
        script = 'import os\ntracker.create("import", run_id=1)\ntracker.start(1)\nos._exit(9)'
        with Other(path, script) as other:
            assert "" == other.line()
        messages = manager.register_subscriber(1)
        assert ["owner_gone"] == [run.flag.reason for run in manager._tracker.flagged() if run.flag]
        manager._tracker.sweep()
        warning, last = received(messages)
        assert signal(1, "failed", failed=True) == last
        assert None is warning["outcome"]
        assert warning["message"].startswith("No outcome was recorded: declared lost (owner_gone)")

    def test_a_request_from_another_process(self, path: Path, manager: RunManager) -> None:
        """The function learns of it soon, and reason and actor are those of the request."""
        with Other(path, CANCELLER) as other:
            manager.start_run("import", until_cancelled, run_id=1)
            messages = manager.register_subscriber(1)
            wait_until(lambda: manager.get_run(1).status == "running")
            other.go_on()
            assert [signal(1, "cancelled")] == received(messages)
        last = manager._tracker.history(1)[-1]
        assert ("from elsewhere", "ann") == (last.event.reason, last.actor)  # type: ignore[attr-defined]  # it is a RunCancelled

    def test_one_of_two_processes_wins_an_exclusive_key(
        self, path: Path, manager: RunManager
    ) -> None:
        """Two managers in two processes start with the same key at once: one run exists."""
        with Other(path, RIVAL) as one, Other(path, RIVAL) as two:
            assert ("ready", "ready") == (one.line(), two.line())
            one.go_on()
            two.go_on()
            assert ["lost", "won"] == sorted([one.line(), two.line()])
            assert 1 == len(manager._tracker.active())
            one.go_on()
            two.go_on()
        assert 1 == len(manager._tracker.list())

    def test_one_of_two_threads_wins_an_exclusive_key(self, manager: RunManager) -> None:
        """The same in one process."""
        gate, together = Gate(), threading.Barrier(8)
        answers: queue.Queue[str] = queue.Queue()

        def start() -> None:
            together.wait(PATIENCE)
            try:
                manager.start_run("import", gate, exclusive="nightly")
                answers.put("won")
            except RunAlreadyActive:
                answers.put("lost")

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        gate.opened.set()
        assert [*["lost"] * 7, "won"] == sorted(answers.queue)
        assert 1 == len(manager._tracker.list())
