"""Starting the real `lastword` command in tests, and waiting for what it does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from lastword import RunTracker, RunView

PATIENCE = 20.0
"""Seconds after which a test gives up on something that should have happened at once."""

LASTWORD = [sys.executable, "-m", "lastword"]


def environment(store: Path | str, **more: str) -> dict[str, str]:
    """This environment without settings of its own, with the store named."""
    ours = ("LASTWORD_", "COLUMNS", "NO_COLOR", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "LASTWORD_URL": str(store), **more}


def lastword(
    store: Path | str, *arguments: str, patience: float = PATIENCE, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end; `more` is environment."""
    return subprocess.run(
        [*LASTWORD, *arguments],
        env=environment(store, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=patience,
        check=False,
    )


@contextmanager
def started(
    store: Path | str,
    *arguments: str,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.PIPE,
    **more: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """The command in the background; it does not outlive the block. `more` is environment."""
    with subprocess.Popen(
        [*LASTWORD, *arguments],
        env=environment(store, **more),
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                for child in family:
                    child.kill()


def gone(pid: int) -> bool:
    """Whether the process has ended, or ends in time; nobody may have taken note of its end yet."""
    try:
        process = psutil.Process(pid)
        end = monotonic() + PATIENCE
        while process.status() != psutil.STATUS_ZOMBIE and monotonic() < end:
            with suppress(psutil.TimeoutExpired):
                process.wait(0.05)
                return True
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def only_run(store: Path | str) -> RunView:
    """The one run that the store has."""
    with RunTracker(store) as tracker:
        views = tracker.list()
        assert 1 == len(views), views
        return views[0]


def events(store: Path | str) -> list[dict[str, Any]]:
    """The history of the one run that the store has, as JSON."""
    with RunTracker(store) as tracker:
        return [recorded.as_json() for recorded in tracker.history(tracker.list()[0].run_id)]


def until(tracker: RunTracker, holds: Callable[[], bool]) -> None:
    """Wait until it holds, looking again whenever the store has something new."""
    end = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < end, "it did not happen in time"
        tracker.store.wait(tracker.store.last_position(), 0.05)


def json_lines(data: bytes | str) -> list[Any]:
    """One JSON document a line."""
    return [json.loads(line) for line in data.splitlines()]
