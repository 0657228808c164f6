"""What a stream hears of a run of its own process, message by message."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commandline import PATIENCE
from lastword import RunContext, RunManager, RunTracker
from lastword.infrastructure.web.streaming.local import LocalMessages


class Ear:
    """In place of a stream's listener, which is woken in the loop's thread."""

    def wake(self) -> None:
        """There is something to hear."""


def test_a_warning_is_not_told_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the warning and the signal behind it, the stream waits for the signal; only then the end is known from elsewhere, too."""
    path, found = tmp_path / "runs.db", list[Any]()
    begun, go = threading.Event(), threading.Event()

    def work(_: RunContext) -> None:
        begun.set()
        go.wait(PATIENCE)

    async def hear(manager: RunManager) -> None:
        local = LocalMessages(manager, Ear(), 1)  # pyright: ignore[reportArgumentType]  # all that it needs of a listener
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        enter = loop.call_soon_threadsafe

        def woken(action: Callable[[], object]) -> asyncio.Handle:
            """In the sender's thread, after each message."""
            found.append(([message["level"] for message in local.arrived()], local.unrecorded()))
            if local.signal is not None:
                enter(over.set)
            return enter(action)

        monkeypatch.setattr(loop, "call_soon_threadsafe", woken)
        go.set()
        await asyncio.wait_for(over.wait(), PATIENCE)
        monkeypatch.undo()

    with (
        RunTracker(path, retry_attempts=1, retry_budget=0.1, heartbeat=3600) as tracker,
        RunManager(tracker) as manager,
    ):
        manager.start_run("import", work, run_id=1)
        assert begun.wait(PATIENCE)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        asyncio.run(hear(manager))
        claim = manager.notifier.unrecorded(1)
        other.execute("ROLLBACK")
        other.close()
    assert claim is not None
    assert [(["warning"], None), ([], claim)] == found
