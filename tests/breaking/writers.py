"""Processes that write to one store while something happens to it; and what is there afterwards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from breaking.processes import HOST_ROLES, Child
from lastword import RunTracker

ORDER = ["RunCreated", "RunStarted", "RunCompleted"]
LONG = 180.0
"""Seconds that a writer may take to bring in what it has spooled."""


@dataclass
class WritersReport:
    """What was found when all writers had ended."""

    lives: int = 0
    acknowledged: int = 0
    spooled: int = 0
    """Events of these that waited in a spool for a while."""
    lost: list[str] = field(default_factory=list[str])
    """Acknowledged and not there."""
    doubled: list[str] = field(default_factory=list[str])
    """There twice, or in another order."""
    signals: int = 0
    """Managed runs, each with one subscriber."""
    wrong_signals: list[str] = field(default_factory=list[str])
    """Not exactly one, or one that is not true."""
    problems: list[str] = field(default_factory=list[str])
    """What `verify` found: rows that are not the fold of their events, gaps, wrong order."""
    left: int = 0
    """Events in the spool at the end."""

    @property
    def wrong(self) -> list[str]:
        """Everything that is not as promised."""
        left = [f"left in the spool: {self.left} events"] if self.left else []
        return [*self.lost, *self.doubled, *self.wrong_signals, *self.problems, *left]


@contextmanager
def writing(
    url: str, folder: Path, number: int = 4, *, threads: int = 1, **settings: Any
) -> Iterator[Callable[..., WritersReport]]:
    """Writers are at work inside the block; call what it gives to end them and to learn what they left.

    It takes what to do between the two.

    All are one host: they share the spool in the folder.
    """
    settings = {"spool_dir": str(folder / "spool"), **settings}
    logs = [folder / f"writer-{n}.log" for n in range(number)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                Child(
                    "writer",
                    url,
                    script=HOST_ROLES,
                    name=f"w{n}",
                    threads=threads,
                    log=str(log),
                    settings=settings,
                )
            )
            for n, log in enumerate(logs)
        ]
        for child in children:
            child.hear("ready")

        def finish(then: Callable[[], object] = int) -> WritersReport:
            report = WritersReport()
            for child in children:
                child.say("stop")
            for child in children:
                answer = child.answer(LONG)
                report.lives += answer["lives"]
                report.spooled += answer["spooled"]
            then()
            _compare(url, logs, settings, report)
            return report

        yield finish


def _compare(url: str, logs: list[Path], settings: dict[str, Any], report: WritersReport) -> None:
    lines = [json.loads(line) for log in logs for line in log.read_text("utf-8").splitlines()]
    with RunTracker(url, **settings) as tracker:
        tracker.deliver_spool()
        report.left = tracker.spool_status().events
        found: dict[str, list[str]] = {}
        position = 0
        ids: Counter[str] = Counter()
        while events := tracker.store.read(position, 5000):
            position = events[-1].position
            for recorded in events:
                found.setdefault(str(recorded.run_id), []).append(recorded.type)
                ids[recorded.event_id] += 1
        report.problems += [str(problem) for problem in tracker.verify().problems]
    report.doubled += [
        f"event {event_id}: {times} times" for event_id, times in ids.items() if times > 1
    ]
    report.doubled += [
        f"run {run}: {story}" for run, story in found.items() if story != ORDER[: len(story)]
    ]
    for kind, run_id, fact in lines:
        if kind == "signals":
            report.signals += 1
            if not _true(run_id, fact):
                report.wrong_signals.append(f"run {run_id}: {fact}")
            continue
        report.acknowledged += 1
        if fact not in found.get(run_id, ()):
            report.lost.append(f"run {run_id}: {fact}")


def _true(run_id: str, signals: list[dict[str, Any]]) -> bool:
    """One signal: either the outcome is stored, or it says that the store did not take it."""
    (signal, *others) = signals or [{}]
    known = {"run_id": run_id, "complete": True}
    done = known | {"db_status": "completed"}
    unsent = [
        known | {"db_status": status, "status_update_failed": True}
        for status in ("pending", "running")
    ]
    return not others and (signal == done or signal in unsent)
