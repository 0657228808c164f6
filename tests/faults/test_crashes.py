"""SIGKILL at any moment: what was acknowledged is there, once, and the store opens."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from breaking import crashing
from breaking.crashing import CrashReport, crash

SEED = 20260101


def found(report: CrashReport) -> dict[str, list[str]]:
    return {
        "lost": report.lost,
        "doubled": report.doubled,
        "not opened": report.not_opened,
        "problems": report.problems,
    }


NOTHING = {"lost": [], "doubled": [], "not opened": [], "problems": []}


def test_thirty_kills(tmp_path: Path) -> None:
    """A process that lives one life after the other is killed thirty times, a quarter of them while it spools."""
    report = crash(tmp_path, 30, SEED)
    assert (NOTHING, 30) == (found(report), report.kills), f"seed {SEED}"
    assert report.acknowledged > 100
    assert report.while_down == 7


def test_the_harness_sees_a_lost_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store from which somebody took an event after the kill: the report says which."""
    real = crashing._reopen

    def rob(store: Path, report: CrashReport) -> None:
        real(store, report)
        if (
            report.kills < 2
        ):  # who wrote behind an empty log would meet the row of the event that is gone
            return
        with sqlite3.connect(store) as connection:
            connection.execute(
                "DELETE FROM events WHERE position = (SELECT min(position) FROM events WHERE originator_id IN"
                " (SELECT originator_id FROM events WHERE originator_version = 2))"
            )  # a run that was started: its creation was acknowledged before
        connection.close()

    monkeypatch.setattr(crashing, "_reopen", rob)
    report = crash(tmp_path, 2, SEED)
    assert ([True], True, True) == (
        ["RunCreated" in line for line in report.lost],
        bool(report.doubled),
        bool(report.problems),
    )
