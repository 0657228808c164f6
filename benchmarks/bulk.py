"""What reads or writes a whole store: rebuild, verify, export, import, beside a bare loop that reads, decodes, folds and writes.

Each is done in a fresh process, in turns, and tells its peak memory.
"""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from report import Column, Options, Row, Section, Table, Target
from stores import cached

from lastword import RunTracker

FLOOR = "bare loop: read, decode, fold, write (the floor)"
REBUILD, VERIFY, EXPORT, IMPORT, AGAIN = (
    "Lastword, rebuild",
    "Lastword, verify",
    "Lastword, export",
    "Lastword, import",
    "Lastword, imported again",
)
BATCH = 10_000


def floor(folder: Path) -> None:
    """By hand, what a rebuild must do: every event read in the order of runs, its JSON decoded, folded, and a row a run written with its indexes."""
    from pydantic_core import from_json, to_json

    from lastword.infrastructure.sqlite.schema import indexes, projection

    raw = sqlite3.connect(folder / "a.db", isolation_level=None)
    raw.execute("PRAGMA cache_size = -32000")
    raw.execute("PRAGMA synchronous = NORMAL")
    for statement in projection("_floor"):
        raw.execute(statement)
    owners = {text: number for number, text in raw.execute("SELECT id, owner FROM owners")}
    columns = (
        "number, run_key, int_id, name, status, status_update_failed, created_at, started_at, finished_at, owner, error_type,"
        " error_message, attempt, lease_seconds, tags, result, contradicted, last_seen_at, version, position"
    )
    insert = f"INSERT INTO runs_floor ({columns}) VALUES ({', '.join('?' * 20)})"
    statement = (
        "SELECT position, originator_id, originator_version, topic, state, occurred_at FROM events"
        " ORDER BY originator_id, originator_version"
    )
    rows: list[list[Any]] = []
    row: list[Any] = []
    for position, key, version, topic, state, at in raw.execute(statement):
        facts = from_json(state)
        if topic == "RunCreated":
            row = [
                position,
                key,
                None,
                facts["name"],
                "pending",
                0,
                at,
                None,
                None,
                None,
                None,
                None,
                1,
                60.0,
                None,
                None,
                0,
            ]
            row += [None, 1, position]
            tags = facts.get("tags")
            row[14] = to_json(tags).decode() if tags else None
            rows.append(row)
            if len(rows) == BATCH // 3:
                last = rows.pop()
                raw.execute("BEGIN IMMEDIATE")
                raw.executemany(insert, rows)
                raw.execute("COMMIT")
                rows = [last]
            continue
        row[17] = at
        row[18], row[19] = version, position
        if topic == "RunStarted":
            row[4], row[7] = "running", at
            row[9] = owners.get(to_json(facts["owner"]).decode())
        elif topic == "RunCompleted":
            row[4], row[8] = "completed", at
            result = facts.get("result")
            row[15] = None if result is None else to_json(result).decode()
        elif topic == "RunFailed":
            row[4], row[8] = "failed", at
            row[10], row[11] = facts["error"]["type"], facts["error"]["message"]
        elif topic == "RunCancelled":
            row[4], row[8] = "cancelled", at
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("BEGIN IMMEDIATE")
    raw.executemany(insert, rows)
    for made in indexes("_floor"):
        raw.execute(made)
    raw.execute("COMMIT")
    raw.close()


def _drop_floor(folder: Path) -> None:
    """The floor wrote what Lastword has; then its tables go."""
    raw = sqlite3.connect(folder / "a.db", isolation_level=None)
    (same,) = raw.execute(_SAME).fetchone()
    (runs,) = raw.execute("SELECT count(*) FROM runs").fetchone()
    if same != runs:
        raise SystemExit(f"{FLOOR}: expected {runs} rows as Lastword has them, found {same}")
    for table in ("runs", "run_tags", "status_counts"):
        raw.execute(f"DROP TABLE {table}_floor")
    raw.close()


_SAME = (
    "SELECT count(*) FROM runs r JOIN runs_floor f ON f.number = r.number WHERE f.status = r.status"
    " AND f.position = r.position AND f.owner IS r.owner AND f.result IS r.result AND f.finished_at IS r.finished_at"
)


def rebuild(folder: Path) -> None:
    """All rows anew."""
    with RunTracker(folder / "a.db") as tracker:
        tracker.rebuild()


def verify(folder: Path) -> None:
    """Without a seal."""
    with RunTracker(folder / "a.db") as tracker:
        report = tracker.verify()
        assert report.ok, report.problems[:3]


def export(folder: Path) -> None:
    """Into a file."""
    from lastword.infrastructure.exchange.exporting import write_export

    with RunTracker(folder / "a.db") as tracker:
        write_export(folder / "a.jsonl", tracker.export())


def import_(folder: Path) -> None:
    """Into an empty store."""
    for path in folder.glob("b.db*"):
        if path.is_file():
            path.unlink()
    with RunTracker(folder / "b.db") as tracker:
        tracker.import_events(folder / "a.jsonl")


def import_again(folder: Path) -> None:
    """Into the store that has it all."""
    with RunTracker(folder / "b.db") as tracker:
        report = tracker.import_events(folder / "a.jsonl")
        assert not report.added, report


STEPS: dict[str, Callable[[Path], None]] = {
    FLOOR: floor,
    REBUILD: rebuild,
    VERIFY: verify,
    EXPORT: export,
    IMPORT: import_,
    AGAIN: import_again,
}


def measure(options: Options) -> list[Table]:
    """In turns with the floor at one size; once at the largest size, for memory."""
    small = min(options.runs, 100_000)
    sizes = [small] if options.smoke else sorted({small // 3, options.runs})
    rounds = 1 if options.smoke else 3
    turns = _turns(options, small, rounds)
    memory = {
        runs: {
            what: found[0][1]
            for what, found in (turns if runs == small else _turns(options, runs, 1)).items()
        }
        for runs in sizes
    }
    events = {runs: 3 * runs - min(runs, 1000) for runs in (small, *sizes)}
    columns = (
        Column("rate", "events/s"),
        Column("ratio", "of the floor", ".2f"),
        *(Column(f"peak_{runs}", f"peak MB, {events[runs]:,} events") for runs in sizes),
    )
    table = Table(
        name="bulk",
        title=f"A whole store: {events[small]:,} events, {rounds} rounds in turns, each in a fresh process",
        columns=columns,
        drawn=("rate",),
    )
    for what, found in turns.items():
        ratios = [base / mine for (base, _), (mine, _) in zip(turns[FLOOR], found, strict=True)]
        row: Row = {
            "name": what,
            "rate": events[small] / statistics.median(seconds for seconds, _ in found),
            "ratio": statistics.median(ratios),
        }
        row |= {f"peak_{runs}": memory[runs][what] for runs in sizes}
        table.rows.append(row)
    by_name = {row["name"]: row for row in table.rows}
    table.targets = [
        Target("rebuild, of the bare loop", by_name[REBUILD]["ratio"], 0.55),
        Target("verify, of the bare loop", by_name[VERIFY]["ratio"], 0.55),
        Target("rebuild, events/s", by_name[REBUILD]["rate"], 150_000, gross=50),
        Target("verify, events/s", by_name[VERIFY]["rate"], 150_000, gross=50),
        Target("export, events/s", by_name[EXPORT]["rate"], 50_000, gross=50),
        Target("import, events/s", by_name[IMPORT]["rate"], 20_000, gross=20),
        Target(
            "imported again, of the first import",
            by_name[AGAIN]["rate"] / by_name[IMPORT]["rate"],
            0.9,
            gross=0.2,
        ),
    ]
    for what in (REBUILD, VERIFY, EXPORT, IMPORT, AGAIN):
        row = by_name[what]
        first, last = (row[f"peak_{runs}"] for runs in (sizes[0], sizes[-1]))
        table.targets += [
            Target(f"{what}: peak MB", last, 150, "at most", gross=300),
            Target(f"{what}: peak, of that of the small store", last / first, 1.25, "at most"),
        ]
    return [table]


def _turns(options: Options, runs: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and peak MB of each step, in each round."""
    folder = options.folder / str(runs)
    folder.mkdir(exist_ok=True)
    shutil.copyfile(cached(options.cache, runs), folder / "a.db")
    found: dict[str, list[tuple[float, float]]] = {what: [] for what in STEPS}
    for _ in range(rounds):
        for what in STEPS:
            found[what].append(_apart(what, folder))
            if what == FLOOR:
                _drop_floor(folder)
    shutil.rmtree(folder)
    return found


def _apart(what: str, folder: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, what, str(folder)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = json.loads(answer.stdout)
    return seconds, peak


def peak_megabytes() -> float:
    """The most memory that this process had. `getrusage` would begin with the parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """One step, in this process."""
    step, folder = STEPS[sys.argv[1]], Path(sys.argv[2])
    began = time.perf_counter()
    step(folder)
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, peak_megabytes()]))


SECTION = Section("bulk", "rebuild, verify, export and import of a whole store", measure, 400)

if __name__ == "__main__":
    main()
