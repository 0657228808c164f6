"""Several threads and several processes that write at one moment, beside the same work on the bare driver.

Rates alone say little here: SQLite's own waiting lets some fly while others starve. So the slowest steps stand beside them. All
contenders run in turns, in short rounds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from contenders import NAME, RESULT, Floor
from report import Column, Options, Row, Section, Table, Target

from lastword import RunTracker

COLUMNS = (
    Column("per_second", "lifecycles a second"),
    Column("ratio", "of the floor", ".2f"),
    Column("p50_ms", "step p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".1f"),
    Column("max_ms", "max ms", ".0f"),
    Column("errors", "errors"),
)


@dataclass
class Steps:
    """What one contender did: seconds of each step, and lifecycles a second of each round."""

    name: str
    seconds: list[float] = field(default_factory=list[float])
    rates: list[float] = field(default_factory=list[float])
    errors: int = 0

    def add(self, steps: Sequence[float], errors: int, spent: float) -> None:
        """One round."""
        self.seconds += steps
        self.errors += errors
        self.rates.append(len(steps) / 3 / spent)

    def row(self, floor: Sequence[float]) -> Row:
        """For the table; `floor` has a rate a round."""
        ordered = sorted(self.seconds) or [0.0]
        return {
            "name": self.name,
            "per_second": statistics.median(self.rates),
            "ratio": statistics.median(
                mine / other for mine, other in zip(self.rates, floor, strict=True)
            ),
            "p50_ms": ordered[len(ordered) // 2] * 1000,
            "p99_ms": ordered[len(ordered) * 99 // 100] * 1000,
            "max_ms": ordered[-1] * 1000,
            "errors": self.errors,
        }


class TimedFloor(Floor):
    """The bare driver, each step timed from its wish to write to the end of its commit."""

    def __init__(self, path: Path, lock: AbstractContextManager[Any] | None = None) -> None:
        super().__init__(path.parent, path.name)
        self.steps: list[float] = []
        self.lock = lock or nullcontext()

    def _begin(self, key: str, version: int, topic: str, state: str) -> tuple[int | None, int]:
        self._began = time.perf_counter()
        self.lock.__enter__()
        try:
            return super()._begin(key, version, topic, state)
        except BaseException:
            self.lock.__exit__(None, None, None)
            raise

    def _end(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            super()._end(statement, values)
        finally:
            self.lock.__exit__(None, None, None)
        self.steps.append(time.perf_counter() - self._began)


class GroupedFloor(TimedFloor):
    """The bare driver with a group commit of the simplest kind: one thread writes for all that wait."""

    def __init__(self, path: Path, queue: deque[Any], lock: threading.Lock) -> None:
        super().__init__(path)
        self._queue, self._turn = queue, lock
        self._ready = threading.Lock()

    def _begin(self, key: str, version: int, topic: str, state: str) -> tuple[int | None, int]:
        self._began = time.perf_counter()
        self._event = self._row(key, version, topic, state)
        return None, self._event[-1]

    def _end(self, statement: str, values: tuple[Any, ...]) -> None:
        ready = self._ready
        ready.acquire(blocking=False)
        self._queue.append((self._event, statement, values, ready))
        while True:
            if self._turn.acquire(blocking=False):
                try:
                    self._write_all()
                finally:
                    self._turn.release()
            if ready.acquire(timeout=0.001):
                break
        self.steps.append(time.perf_counter() - self._began)

    def _write_all(self) -> None:
        group = [self._queue.popleft() for _ in range(len(self._queue))]
        if not group:
            return
        execute = self._db.execute
        execute("BEGIN IMMEDIATE")
        for event, statement, values, _ in group:
            execute("SAVEPOINT s")
            position = execute(self._EVENT, event).lastrowid
            execute(statement, tuple(position if value is None else value for value in values))
            execute("RELEASE s")
        execute("COMMIT")
        for *_, ready in group:
            ready.release()


class TimedLastword:
    """The tracker, each call timed."""

    def __init__(self, tracker: RunTracker) -> None:
        self._tracker = tracker
        self.steps: list[float] = []

    def lifecycle(self) -> None:
        """Create, start, complete."""
        clock, tracker, steps = time.perf_counter, self._tracker, self.steps
        began = clock()
        run_id = tracker.create(NAME)
        created = clock()
        tracker.start(run_id)
        started = clock()
        tracker.complete(run_id, result=RESULT)
        steps += (created - began, started - created, clock() - started)


def live(writer: TimedFloor | TimedLastword, until: float) -> int:
    """Lifecycles until then, by `time.monotonic`; how many of them failed."""
    errors = 0
    while time.monotonic() < until:
        try:
            writer.lifecycle()
        except Exception:  # noqa: BLE001  # it is counted
            errors += 1
    return errors


def in_threads(
    writers: Sequence[TimedFloor | TimedLastword], seconds: float
) -> tuple[list[float], int]:
    """The steps of all of them, each in a thread, and errors."""
    until = time.monotonic() + seconds
    errors: list[int] = []
    threads = [
        threading.Thread(target=lambda writer=writer: errors.append(live(writer, until)))
        for writer in writers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    steps = [step for writer in writers for step in writer.steps]
    for writer in writers:
        writer.steps.clear()
    return steps, sum(errors)


def measure(options: Options) -> list[Table]:
    """Threads of one process, then processes."""
    counts = (2,) if options.smoke else (4, 8)
    return [_threads(options), *(_processes(count, options) for count in counts)]


def _threads(options: Options) -> Table:
    rounds, seconds = (1, 0.15) if options.smoke else (8, 1.0)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        tracker = RunTracker(folder / "lastword.db")
        lock, queue, turn = threading.Lock(), deque[Any](), threading.Lock()
        one = Steps("bare, one thread (the floor)")
        makers: list[tuple[Steps, Sequence[TimedFloor | TimedLastword]]] = [
            (one, [TimedFloor(folder / "one.db")]),
            (
                Steps("bare, 8 threads, busy timeout"),
                [TimedFloor(folder / "busy.db") for _ in range(8)],
            ),
            (
                Steps("bare, 8 threads, one lock"),
                [TimedFloor(folder / "lock.db", lock) for _ in range(8)],
            ),
            (
                Steps("bare, 8 threads, group commit"),
                [GroupedFloor(folder / "group.db", queue, turn) for _ in range(8)],
            ),
            (Steps("Lastword, 8 threads"), [TimedLastword(tracker) for _ in range(8)]),
        ]
        for number in range(rounds):
            for offset in range(len(makers)):
                found, writers = makers[(number + offset) % len(makers)]
                began = time.monotonic()
                steps, errors = in_threads(writers, seconds)
                found.add(steps, errors, time.monotonic() - began)
        if not tracker.verify().ok:
            raise SystemExit("Lastword, 8 threads: verify found problems")
        tracker.close()
    rows = [found.row(one.rates) for found, _ in makers]
    own = rows[-1]
    return Table(
        name="contention-threads",
        title=f"8 threads of one process, {rounds} rounds of {seconds:g} s",
        columns=COLUMNS,
        rows=rows,
        drawn=("per_second",),
        targets=[
            Target("SQLite, 8 threads: of the floor's one thread", own["ratio"], 1.5, gross=0.4),
            Target("8 threads: step p99, ms", own["p99_ms"], 6, "at most"),
            Target("8 threads: step max, ms", own["max_ms"], 50, "at most"),
            Target("8 threads: errors", own["errors"], 0, "at most", gross=0),
        ],
    )


class Child:
    """A process of its own that writes when it is told to."""

    def __init__(self, kind: str, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, kind, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: IO[str] = self._process.stdin
        self._out: IO[str] = self._process.stdout

    def wait(self) -> None:
        """Until it is there."""
        self._out.readline()

    def begin(self, until: float) -> None:
        """Write until then."""
        self._in.write(f"{until}\n")
        self._in.flush()

    def end(self) -> tuple[list[float], int]:
        """What it did."""
        steps, errors = json.loads(self._out.readline())
        return steps, errors

    def close(self) -> None:
        """Let it end."""
        self._in.close()
        self._process.wait(60)


def _processes(count: int, options: Options) -> Table:
    rounds, seconds = (1, 0.3) if options.smoke else (5, 2.0)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        contenders: list[tuple[Steps, list[Child]]] = []
        for label, kind in (("bare, busy timeout (the floor)", "bare"), ("Lastword", "lastword")):
            path = folder / f"{kind}.db"
            RunTracker(path).close()
            contenders.append((Steps(label), [Child(kind, path) for _ in range(count)]))
        for _, children in contenders:
            for child in children:
                child.wait()
        for number in range(rounds):
            for offset in range(len(contenders)):
                found, children = contenders[(number + offset) % len(contenders)]
                began = time.monotonic()
                for child in children:
                    child.begin(began + seconds)
                answers = [child.end() for child in children]
                spent = time.monotonic() - began
                steps = [step for answer, _ in answers for step in answer]
                found.add(steps, sum(errors for _, errors in answers), spent)
        for _, children in contenders:
            for child in children:
                child.close()
        with RunTracker(folder / "lastword.db") as tracker:
            if not tracker.verify().ok:
                raise SystemExit(f"Lastword, {count} processes: verify found problems")
    floor = contenders[0][0]
    rows = [found.row(floor.rates) for found, _ in contenders]
    own = rows[-1]
    return Table(
        name=f"contention-{count}-processes",
        title=f"{count} processes on one file, {rounds} rounds of {seconds:g} s",
        columns=COLUMNS,
        rows=rows,
        targets=[
            Target(f"SQLite, {count} processes: of bare", own["ratio"], 0.6, gross=0.15),
            Target(f"{count} processes: step max, ms", own["max_ms"], 50, "at most"),
            Target(f"{count} processes: errors", own["errors"], 0, "at most", gross=0),
        ],
    )


def child(kind: str, path: Path) -> None:
    """One of several writing processes: a line in is a moment until which to write, a line out what was done."""
    tracker = RunTracker(path) if kind == "lastword" else None
    writer = TimedFloor(path) if tracker is None else TimedLastword(tracker)
    print("ready", flush=True)
    for line in sys.stdin:
        errors = live(writer, float(line))
        print(json.dumps([writer.steps, errors]), flush=True)
        writer.steps.clear()
    if tracker is not None:
        tracker.close()


SECTION = Section(
    "contention",
    "threads and processes that write at one moment, and their slowest steps",
    measure,
    115,
)

if __name__ == "__main__":
    child(sys.argv[1], Path(sys.argv[2]))
