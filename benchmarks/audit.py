"""What audits cost: the status of all runs at an earlier moment, verification, seals; and what they find.

    .venv/bin/python benchmarks/audit.py                  100,000 runs
    .venv/bin/python benchmarks/audit.py --runs 1000000
    .venv/bin/python benchmarks/audit.py --tampering      the tamper table alone

Runs are made by stores.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bulk import peak_megabytes
from stores import BEGIN, STEP, build

from lastword import RunReader, RunTracker
from lastword.infrastructure.clock import now_utc
from lastword.infrastructure.sqlite import SQLiteStore

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from tampering import TAMPERINGS, story_of, try_out  # the suite tries them out, too


def measure(path: Path) -> dict[str, float]:
    """Each figure on its own; peak memory from a process of its own."""
    figures: dict[str, float] = {}
    with closing(SQLiteStore(path)) as store:
        reader = RunReader(store, clock=now_utc)
        newest = store.last_position()
        for label, share in (("early", 0.01), ("half way", 0.5), ("late", 0.99)):
            moment = BEGIN + STEP * int(newest * share)
            for by in ("recorded", "occurred"):
                ask = partial(reader.status_at, moment, by)
                spent = [_timed(ask) for _ in range(3)]
                figures[f"status_at, {label}, by {by} (s)"] = round(statistics.median(spent), 3)
        figures["events"] = newest
    for what in ("verify", "seal", "verify --seal"):
        seconds, megabytes = _apart(what, path)
        figures[f"{what} (s)"] = round(seconds, 2)
        figures[f"{what} (events/s)"] = round(newest / seconds)
        figures[f"{what}, peak memory (MB)"] = round(megabytes)
    figures["seal, size (bytes an event)"] = round(_seal_of(path).stat().st_size / newest, 2)
    return figures


def _timed(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def _seal_of(path: Path) -> Path:
    return path.with_suffix(".seal")


def _apart(what: str, path: Path) -> tuple[float, float]:
    """Seconds and peak memory of one of them in a fresh process."""
    command = [sys.executable, __file__, "--only", what, "--store", str(path)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, megabytes = json.loads(answer.stdout)
    return seconds, megabytes


def only(what: str, path: Path) -> tuple[float, float]:
    """Do it here."""
    with RunTracker(path) as tracker:
        seal = None if what == "verify" else _seal_of(path)
        if what == "seal":
            spent = _timed(lambda: tracker.seal(_seal_of(path)))
        else:

            def check() -> None:
                report = tracker.verify(seal=seal)
                assert report.ok, report.problems[:3]

            spent = _timed(check)
    return spent, peak_megabytes()


def tamper_table(folder: Path) -> Iterator[str]:
    """The rows of the table in docs/explanation/audit.md."""
    yield "| what was done | `verify` alone | with a seal | first position named |"
    yield "| --- | --- | --- | --- |"
    for tampering in TAMPERINGS:
        found = try_out(tampering, folder / tampering.name.replace(" ", "-"))
        alone, sealed = ("found" if it else "not found" for it in (found.alone, found.sealed))
        named = "-" if found.position is None else str(found.position)
        yield f"| {tampering.name}: {tampering.what} | {alone} | {sealed} | {named} |"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--tampering", action="store_true", help="the tamper table alone")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(only(arguments.only, arguments.store)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"The store of the tamper table: {story_of()}\n")
        print("\n".join(tamper_table(folder)))
        if arguments.tampering:
            return
        path = folder / "runs.db"
        spent = _timed(lambda: build(path, arguments.runs))
        print(f"\n{arguments.runs:,} runs, built in {spent:.0f} s\n")
        for what, figure in measure(path).items():
            print(f"{what:40} {figure:>12,}")


if __name__ == "__main__":
    main()
