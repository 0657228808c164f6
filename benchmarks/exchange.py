"""The round trip of a store: export into a file, import into an empty store, and compare what they hold.

    .venv/bin/python benchmarks/exchange.py                 10,000 and 100,000 runs
    .venv/bin/python benchmarks/exchange.py --runs 1000000

Export, import and the import again run in processes of their own, which tell their peak memory. Runs are made by stores.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stores import build

from lastword import RunTracker
from lastword.infrastructure.exchange.exporting import write_export

MEGABYTE = 1_000_000
OF_THE_STORE = ("source", "position", "recordedat")
"""Attributes that say where an event lies; all others are what happened."""


def export(folder: Path) -> None:
    """The store ``a.db`` into a file."""
    with RunTracker(folder / "a.db") as tracker:
        write_export(folder / "a.jsonl", tracker.export())


def import_(folder: Path) -> None:
    """The file into the store ``b.db``."""
    with RunTracker(folder / "b.db") as tracker:
        tracker.import_events(folder / "a.jsonl")


STEPS: dict[str, Callable[[Path], None]] = {"export": export, "import": import_}


def measure(folder: Path, runs: int) -> dict[str, Any]:
    """Figures of one round trip."""
    build(folder / "a.db", runs)
    RunTracker(folder / "b.db").close()
    figures: dict[str, Any] = {"runs": runs}
    for label, step in (("export", "export"), ("import", "import"), ("import again", "import")):
        figures[label] = _apart(step, folder)
    size = (folder / "a.jsonl").stat().st_size
    with RunTracker(folder / "a.db") as here, RunTracker(folder / "b.db") as there:
        events = figures["events"] = there.store.last_position()
        figures["megabytes"] = size / MEGABYTE
        figures["content equal"] = _content(here) == _content(there)
        sealed = [
            store.seal(folder / f"{name}.seal").end for store, name in ((here, "a"), (there, "b"))
        ]
        figures["seals equal"] = sealed[0] == sealed[1]
        figures["verified"] = there.verify().ok
    for label in ("export", "import", "import again"):
        seconds, peak = figures[label]
        figures[label] = {
            "seconds": round(seconds, 2),
            "events_per_second": round(events / seconds),
            "megabytes_per_second": round(size / MEGABYTE / seconds, 1),
            "peak_megabytes": round(peak),
        }
    return figures


def _content(tracker: RunTracker) -> str:
    """A fingerprint of all events, without what belongs to the store."""
    digest = hashlib.sha256()
    for line in tracker.export():
        event = json.loads(line)
        for name in OF_THE_STORE:
            del event[name]
        digest.update(json.dumps(event).encode())
    return digest.hexdigest()


def _apart(step: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak memory, in megabytes, of a step in a fresh process."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = json.loads(answer.stdout)
    return seconds, peak


def _step(step: str, folder: Path) -> None:
    began = time.perf_counter()
    STEPS[step](folder)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE
    sys.stdout.write(json.dumps([seconds, peak]))


def _told(figures: dict[str, Any]) -> str:
    lines = [
        f"{figures['runs']:,} runs, {figures['events']:,} events, {figures['megabytes']:.0f} MB of lines"
    ]
    for label in ("export", "import", "import again"):
        found = figures[label]
        lines.append(
            f"  {label:<13}{found['events_per_second']:>8,} events/s {found['megabytes_per_second']:>6} MB/s"
            f" {found['seconds']:>7} s, peak memory {found['peak_megabytes']} MB"
        )
    answers = (
        f"{what}: {'yes' if figures[what] else 'NO'}"
        for what in ("content equal", "seals equal", "verified")
    )
    return "\n".join([*lines, f"  {', '.join(answers)}", ""])


def main() -> int:
    """Measure, and fail when something did not come back as it was."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])  # type: ignore[union-attr]  # there is one
    parser.add_argument("--runs", type=int, action="append")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        _step(asked.step, asked.folder)
        return 0
    fine = True
    for runs in asked.runs or (10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(Path(folder), runs)
        sys.stdout.write(json.dumps(figures) + "\n" if asked.json else _told(figures))
        sys.stdout.flush()
        fine = fine and all(figures[what] for what in ("content equal", "seals equal", "verified"))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
