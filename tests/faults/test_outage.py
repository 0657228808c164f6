"""The store is away when the work ends, or all the while: truthful signals, no outcome lost, the job unaffected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from breaking.outage import (
    DONE,
    RUNNING,
    Fault,
    OutageReport,
    disk_full,
    file_limit,
    finish_without_store,
    gone,
    locked_for,
    read_only,
    small_disk,
    whole_run,
)
from breaking.processes import locked
from lastword import RunTracker

HASTY = {"retry_budget": 0.4, "retry_attempts": 2, "heartbeat": 0.2}
WHOLE = ["RunCreated", "RunStarted", "RunCompleted"]


def check(report: OutageReport) -> None:
    """What must be true of every outage at the finish."""
    assert [[RUNNING]] * 3 == report.signals, "one truthful signal for each subscriber"
    assert [1] * 3 == report.warnings
    assert [RUNNING] == report.late
    assert (WHOLE, [DONE], {"rows": 3}) == (report.history, report.feed, report.result)
    assert report.recovered is not None
    assert 0 == report.left


@pytest.mark.parametrize(
    "fault", [locked_for(1.0), file_limit, gone], ids=["locked", "file_limit", "gone"]
)
def test_the_store_is_away_at_the_finish(tmp_path: Path, fault: Fault) -> None:
    """Locked by another process for longer than the budget, on a disk that is full, moved away and put back."""
    report = finish_without_store(tmp_path / "runs.db", fault, settings=HASTY)
    check(report)
    assert [True] == report.kept


def test_the_file_becomes_read_only_at_the_finish(tmp_path: Path) -> None:
    """Nobody may write it any more; the folder beside it, and with it the spool, is as before."""
    report = finish_without_store(tmp_path / "runs.db", read_only, settings=HASTY, ordinary=True)
    check(report)
    assert [True] == report.kept


def test_not_a_byte_is_left_at_the_finish(tmp_path: Path) -> None:
    """The spool has no room either: that is said, and the outcome is in the store once there is room."""
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("needs the right to mount a file system of its own")
        report = finish_without_store(disk / "runs.db", disk_full, settings=HASTY)
        check(report)
        assert [False] == report.kept


def test_a_whole_run_without_the_store(tmp_path: Path) -> None:
    """Created, started, with progress and completed while the store is locked: the same history as without the outage."""
    settings = {**HASTY, "heartbeat": 3600}
    ordinary = whole_run(tmp_path / "one.db", down=False, settings=settings)
    without = whole_run(tmp_path / "two.db", down=True, settings=settings)
    assert ["RunCreated", "RunStarted", "RunProgressed", "RunCompleted"] == [
        recorded["type"] for recorded in ordinary
    ]
    assert ordinary == without


def test_a_command_keeps_its_exit_code_without_the_store(tmp_path: Path) -> None:
    """`lastword run` while the store is locked: output and exit code are the command's own, and the run gets in later."""
    store = tmp_path / "runs.db"
    environment = {
        **os.environ,
        "LASTWORD_URL": str(store),
        "LASTWORD_RETRY_BUDGET": "0.3",
        "LASTWORD_RETRY_ATTEMPTS": "2",
    }

    def lastword(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "lastword", *arguments],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )

    assert 0 == lastword("run", "--", "true").returncode
    with locked(store):
        done = lastword("run", "--name", "job", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (7, b"out\n", True) == (done.returncode, done.stdout, b"err\n" in done.stderr)
    with RunTracker(store) as tracker:  # delivers what waits
        (view,) = tracker.list(name="job")
        assert ("failed", 7) == (view.status, view.exit_code)
