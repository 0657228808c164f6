"""Somebody follows a store while many write to it: does every event come by, once, and in order?"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

from breaking.processes import HOST_ROLES, Child
from breaking.writers import writing
from lastword import RunTracker


@dataclass
class FollowReport:
    """What the follower saw, and what there was."""

    written: int = 0
    seen: int = 0
    skipped: list[int] = field(default_factory=list[int])
    """Positions that never came by."""
    out_of_order: list[int] = field(default_factory=list[int])
    """Positions that came behind a later one, or twice."""
    wrong: list[str] = field(default_factory=list[str])
    """What the writers left that is not as promised."""


def follow(
    url: str, folder: Path, seconds: float, number: int = 8, **settings: Any
) -> FollowReport:
    """Follow as many writers for as long; the last event is waited for."""
    report, log = FollowReport(), folder / "follower.log"
    settings = {"spool_dir": str(folder / "spool"), **settings}
    options = {"log": str(log), "settings": settings}
    with Child("follower", url, script=HOST_ROLES, **options) as follower:
        follower.hear("ready")
        with writing(url, folder, number, **settings) as finish:
            Event().wait(seconds)
            report.wrong = finish().wrong
        with RunTracker(url, **settings) as tracker:
            there = [row[0] for batch in tracker.store.log() for row in batch]
        follower.say(str(len(there)))
        report.seen = follower.answer()["seen"]
    came = [json.loads(line)[0] for line in log.read_text("utf-8").splitlines()]
    report.written = len(there)
    report.skipped = sorted(set(there) - set(came))
    report.out_of_order = [after for before, after in pairwise(came) if after <= before]
    return report
