"""What the manager adds, how soon the signal is heard, and what a beat costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contenders import NAME
from harness import cpu_seconds, quartiles
from report import Column, Options, Section, Table, Target

from lastword import Receipt, RunContext, RunManager, RunTracker

ACTIVE = 1_000
"""Runs that one beat renews."""


class Noting(RunTracker):
    """Notes when an outcome had been committed."""

    committed: dict[object, float]

    def finish(self, run_id: Any, outcome: Any) -> Receipt:
        """See `RunTracker.finish`."""
        receipt = super().finish(run_id, outcome)
        self.committed[run_id] = time.monotonic()
        return receipt


def nothing(_: RunContext) -> None:
    """The work."""


def measure(options: Options) -> list[Table]:
    """One table; the rows are of different kinds, so each has its own unit in its name."""
    times = 20 if options.smoke else 300
    path = options.folder / "signals.db"
    tracker = Noting(path)
    tracker.committed = {}
    with RunManager(tracker, max_workers=1) as manager:
        lifecycles, managed, heard = _managed(tracker, manager, times)
    there, idle = _other_process(tracker, path, times // 5, 0.3 if options.smoke else 10.0)
    beats = _beats(tracker, 5 if options.smoke else 50)
    tracker.close()
    ratio = statistics.median(a / b for a, b in zip(managed, lifecycles, strict=True))
    rows = [
        _row("a lifecycle by hand", lifecycles),
        _row("start_run of an empty function, until its signal", managed),
        _row("signal after the commit, same process", heard),
        _row("signal after the commit, another process", there),
        _row(f"a beat that renews {ACTIVE:,} runs", beats),
    ]
    return [
        Table(
            name="signals",
            title=f"The manager, signals and beats ({times} times)",
            columns=(
                Column("p50_ms", "p50 ms", ".2f"),
                Column("p99_ms", "p99 ms", ".2f"),
                Column("max_ms", "max ms", ".1f"),
            ),
            rows=rows,
            notes=[f"A process that follows an idle store: {idle:.2%} of a core."],
            targets=[
                Target("start_run to signal, in lifecycles", ratio, 1.3, "at most", gross=6),
                Target("signal, same process: p99 ms", rows[2]["p99_ms"], 2, "at most"),
                Target("signal, another process: p99 ms", rows[3]["p99_ms"], 50, "at most"),
                Target("idle follower: part of a core", idle, 0.01, "at most"),
                Target("beat: p50 ms", rows[4]["p50_ms"], 20, "at most"),
            ],
        )
    ]


def _row(name: str, seconds: list[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "name": name,
        "p50_ms": quartiles(ordered)[1] * 1000,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1000,
        "max_ms": ordered[-1] * 1000,
    }


def _managed(
    tracker: Noting, manager: RunManager, times: int
) -> tuple[list[float], list[float], list[float]]:
    """In turns: a lifecycle by hand, and one of the manager's; and how long its signal took."""
    lifecycles: list[float] = []
    managed: list[float] = []
    heard: list[float] = []
    for _ in range(times):
        lifecycles.append(_timed(lambda: _life(tracker)))
        began = time.monotonic()
        run_id = manager.start_run(NAME, nothing)
        for _message in manager.messages(run_id):
            pass
        ended = time.monotonic()
        managed.append(ended - began)
        heard.append(ended - tracker.committed[run_id])
    return lifecycles, managed, heard


def _life(tracker: RunTracker) -> None:
    run_id = tracker.create(NAME)
    tracker.start(run_id)
    tracker.complete(run_id)


def _timed(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def _other_process(
    tracker: Noting, path: Path, times: int, idle: float
) -> tuple[list[float], float]:
    """Seconds from commit to the signal in a process that follows the feed, and its part of a core while nothing happens."""
    command = [sys.executable, __file__, str(path), str(tracker.store.last_position())]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        delays: list[float] = []
        for _ in range(times):
            run_id = tracker.create(NAME)
            tracker.start(run_id)
            tracker.complete(run_id)
            heard = float(process.stdout.readline())
            delays.append(heard - tracker.committed[run_id])
        before = cpu_seconds(process.pid)  # now that it has begun, and has imported what it needs
        time.sleep(idle)
        spent = (cpu_seconds(process.pid) - before) / idle
        process.kill()
    return delays, spent


def _beats(tracker: RunTracker, times: int) -> list[float]:
    run_ids = tracker.create_many([NAME] * ACTIVE)
    with tracker.batch():
        for run_id in run_ids:
            tracker.start(run_id)
    return [_timed(tracker.beat) for _ in range(times)]


def follow(path: str, after: int) -> None:
    """A line with `time.monotonic` for each signal."""
    with RunTracker(path) as tracker:
        print("ready", flush=True)
        for _position, _signal in tracker.follow(after):
            print(time.monotonic(), flush=True)


SECTION = Section(
    "signals", "what the manager adds, how soon a signal is heard, what a beat costs", measure, 25
)

if __name__ == "__main__":
    follow(sys.argv[1], int(sys.argv[2]))
