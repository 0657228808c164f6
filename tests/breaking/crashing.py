"""SIGKILL at any moment of a process that writes, again and again; and what is there afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from breaking.processes import Child
from lastword import LastwordError, RunTracker

ORDER = ("RunCreated", "RunStarted", "RunCompleted")
BATCH = 50
"""Kills on one store; then its content is compared and the next one is begun."""
LONGEST_LIFE = 0.15
"""Seconds, from the first event on; of every fifth process from its birth, so that it dies while it makes or opens the store."""


@dataclass
class CrashReport:
    """What was found after all the kills."""

    kills: int = 0
    while_down: int = 0
    """Of these, while the store was away and events went to the spool."""
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list[str])
    """Acknowledged and not there."""
    doubled: list[str] = field(default_factory=list[str])
    """There twice, or in another order."""
    not_opened: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    """What `verify` found: rows that are not the fold of their events, and gaps."""
    torn: int = 0
    """Spool files with a torn last line, which was never acknowledged."""


def crash(folder: Path, kills: int, seed: int, tick: Callable[[int], object] = int) -> CrashReport:
    """Kill as often; `tick` is told how many are done. The folder is used for the stores."""
    chance, report = random.Random(seed), CrashReport()
    while report.kills < kills:
        store = folder / f"crash-{report.kills}" / "runs.db"
        store.parent.mkdir()
        acknowledged: set[tuple[str, str]] = set()
        settings = {"heartbeat": 3600, "retry_attempts": 1}
        with Child("nursery", store, settings=settings) as child:
            assert child.answer() == "ready"
            for _ in range(min(BATCH, kills - report.kills)):
                down = report.kills % 4 == 3
                order, life = "down" if down else "up", chance.uniform(0, LONGEST_LIFE)
                _kill(child, order, life, acknowledged, at_birth=report.kills % 5 == 0)
                report.kills += 1
                report.while_down += down
                _reopen(store, report)
                tick(report.kills)
        _compare(store, acknowledged, report)
    return report


def _kill(
    child: Child, order: str, life: float, acknowledged: set[tuple[str, str]], *, at_birth: bool
) -> None:
    child.say(order)
    pid, before = 0, len(acknowledged)
    while not pid or not (at_birth or len(acknowledged) > before):
        pid = _note(child.answer(), acknowledged).get("pid", pid)
    ends = monotonic() + life
    while (left := ends - monotonic()) > 0:
        line = child.line(left)
        if line is not None:
            _note(json.loads(line), acknowledged)
    os.kill(pid, signal.SIGKILL)
    while "ended" not in _note(child.answer(), acknowledged):
        continue


def _note(answer: object, acknowledged: set[tuple[str, str]]) -> dict[str, int]:
    if isinstance(answer, dict):
        return answer
    assert isinstance(answer, list)
    run_id, event = answer
    acknowledged.add((run_id, event))
    return {}


def _reopen(store: Path, report: CrashReport) -> None:
    try:
        with RunTracker(store, heartbeat=3600):
            return
    except LastwordError as error:
        report.not_opened.append(str(error))


def _compare(store: Path, acknowledged: set[tuple[str, str]], report: CrashReport) -> None:
    report.acknowledged += len(acknowledged)
    with RunTracker(store, heartbeat=3600) as tracker:
        tracker.deliver_spool()
        found: dict[str, list[str]] = {}
        position = 0
        while events := tracker.store.read(position, 1000):
            position = events[-1].position
            for recorded in events:
                found.setdefault(str(recorded.run_id), []).append(recorded.type)
        report.problems += [f"run {it.run_id}: {it.what}" for it in tracker.verify().problems]
        if tracker.spool_status().files:
            report.problems.append(f"left in the spool: {tracker.spool_status()}")
    for run_id, story in found.items():
        if tuple(story) != ORDER[: len(story)]:
            report.doubled.append(f"run {run_id}: {story}")
    for run_id, event in sorted(acknowledged):
        if event not in found.get(run_id, ()):
            report.lost.append(f"run {run_id}: {event}")
    folder = Path(f"{store}.spool")
    report.torn += len([*folder.glob("*.torn")]) if folder.exists() else 0
