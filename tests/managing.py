"""What the tests of the manager and the notifier share: patience, locks held by others, other processes."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lastword import RunContext, RunManager, RunTracker

PATIENCE = 10.0
"""Seconds after which what has not happened never will."""

QUICK: dict[str, Any] = {"retry_attempts": 1, "retry_budget": 0.1, "retry_base_delay": 0.01}
"""Settings of a tracker that gives a locked store up soon."""


class Gate:
    """A function for the manager that says when it runs, and waits until it may go on."""

    def __init__(self, result: Any = None, error: BaseException | None = None) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.result = result
        self.error = error

    def __call__(self, context: RunContext) -> Any:
        self.entered.set()
        assert self.opened.wait(PATIENCE), "expected somebody to open the gate"
        if self.error is not None:
            raise self.error
        return self.result

    def wait(self) -> None:
        """Until the function runs."""
        assert self.entered.wait(PATIENCE), "expected the function to run"


def until_cancelled(context: RunContext) -> None:
    """A function for the manager that ends when it is asked to."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        context.raise_if_cancelled()
        pause.wait(0.005)
    raise AssertionError("expected a request to stop")


def received(messages: queue.Queue[Any]) -> list[Any]:
    """All messages up to the signal; and there is nothing behind it."""
    found = []
    while not found or not found[-1].get("complete"):
        found.append(messages.get(timeout=PATIENCE))
    assert messages.empty()
    return found


def signal(run_id: Any, status: str, *, failed: bool = False) -> dict[str, Any]:
    """The signal as it must be."""
    plain = {"run_id": run_id, "complete": True, "db_status": status}
    return plain | ({"status_update_failed": True} if failed else {})


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection holds the write lock of the store."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@contextmanager
def removed(path: Path) -> Iterator[None]:
    """The store's file is not where it was."""
    away = path.with_name("away.db")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


@contextmanager
def managed(path: Path, **settings: Any) -> Iterator[RunManager]:
    """A manager of its own tracker, as another process would have."""
    with RunTracker(path, **settings) as tracker, RunManager(tracker) as manager:
        yield manager


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """What the work gives, in time, on a loop of its own."""

    async def in_time() -> Any:
        return await asyncio.wait_for(work, PATIENCE)

    return asyncio.run(in_time())


async def until(condition: Callable[[], bool]) -> None:
    """Give way to other tasks until the condition holds."""
    while not condition():  # noqa: ASYNC110  # any condition, also of other threads
        await asyncio.sleep(0.001)


class Other:
    """Another Python process with a tracker on the same store: it prints lines, and goes on when it gets one."""

    def __init__(self, path: Path, script: str) -> None:
        lines = [
            "import sys, threading",
            "from lastword import *",
            f"tracker = RunTracker({str(path)!r})",
            script,
            "tracker.close()",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", "\n".join(lines)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def line(self) -> str:
        """The next line that it prints; empty when it is gone."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let its ``input()`` return."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
