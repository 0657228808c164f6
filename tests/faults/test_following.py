"""Somebody follows a store while several processes write to it; and the harness that says so can tell when it is not so."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from breaking.following import follow
from breaking.writers import writing

HASTY: dict[str, Any] = {"retry_budget": 1.0, "heartbeat": 0.5}


@pytest.mark.xdist_group("timing")
def test_a_follower_of_a_file_skips_nothing(tmp_path: Path) -> None:
    """Positions come in order while processes commit at once, and each event comes by once."""
    report = follow(f"sqlite:///{tmp_path}/runs.db", tmp_path, 1.0, 3, **HASTY)
    assert [] == report.wrong
    assert ([], [], report.written) == (report.skipped, report.out_of_order, report.seen)
    assert report.written > 30


def test_the_harness_sees_a_lost_event(tmp_path: Path) -> None:
    """Somebody takes events out of the log behind everybody's back: the report names each."""

    def rob() -> None:
        with closing(sqlite3.connect(tmp_path / "runs.db")) as raw, raw:
            raw.execute("DELETE FROM events WHERE originator_version = 3")

    with writing(f"sqlite:///{tmp_path}/runs.db", tmp_path, 1, **HASTY) as finish:
        report = finish(rob)
    assert report.lives == sum("RunCompleted" in line for line in report.lost)
    assert report.lives
    assert report.problems
