"""The benchmarks run, measure what they say, and show no gross loss of speed."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"

pytestmark = pytest.mark.xdist_group("timing")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python process that finds the benchmarks' modules, as `make bench` does."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=BENCHMARKS,
        check=False,
        capture_output=True,
        text=True,
        timeout=400,  # twenty times what it takes on a quiet machine
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


@pytest.mark.soak
def test_nothing_is_grossly_slow(tmp_path: Path) -> None:
    """`make bench ARGS=--smoke` measures every section, draws each table, and fails where something is wrong, not slow."""
    file, pictures = tmp_path / "figures.json", tmp_path / "pictures"
    run("bench.py", "--smoke", "--json", str(file), "--pictures", str(pictures))
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    modules = run("-c", "import bench; print(*bench.MODULES)").stdout.split()
    assert modules == list(report["sections"])
    tables = [table for found in report["sections"].values() for table in found["tables"]]
    drawn = {f"{table['name']}.svg" for table in tables if table["drawn"]}
    assert drawn == {path.name for path in pictures.iterdir()}
    assert all(table["rows"] for table in tables)


def test_cpu_time_counts_children_that_end_meanwhile() -> None:
    """A server's process may end between the list of them and the look at it, and its time is not lost."""
    code = (
        "import os, psutil, subprocess, sys; from harness import cpu_seconds\n"
        "ended = subprocess.Popen([sys.executable, '-c', 'sum(range(3_000_000))'])\n"
        "children = [psutil.Process(ended.pid)]; ended.wait()\n"
        "psutil.Process.children = lambda self: children\n"
        "here = sum(os.times()[:2])\n"
        "assert cpu_seconds(os.getpid()) >= here + 0.02"
    )
    run("-c", code)


def test_the_floor_writes_the_rows_that_lastword_writes(tmp_path: Path) -> None:
    """A floor that left a column out would make every ratio a lie."""
    code = (
        "import sys; from pathlib import Path; from contenders import Floor, Lastword\n"
        "for make in (Floor, Lastword):\n"
        "    one = make(Path(sys.argv[1])); one.lifecycle(); one.close()"
    )
    run("-c", code, str(tmp_path))
    assert shapes(tmp_path / "lastword.db") == shapes(tmp_path / "floor.db")


def shapes(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """Per table, the storage class of each value in each row."""
    found: dict[str, list[tuple[str, ...]]] = {}
    database = sqlite3.connect(path)
    for table in ("events", "runs", "owners", "status_counts"):
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        kinds = ", ".join(f"typeof({column})" for column in columns)
        found[table] = database.execute(f"SELECT {kinds} FROM {table}").fetchall()
    database.close()
    return found


@pytest.mark.parametrize("kind", ["plain", "mixed"])
def test_a_generated_store_is_what_appending_makes(tmp_path: Path, kind: str) -> None:
    """Figures of a store that no tracker would have written say nothing: every value of every row is the same."""
    run("stores.py", str(tmp_path / "made.db"), "1100", kind)
    run("-c", APPENDING, str(tmp_path / "appended.db"), "1100", kind)
    for table in ("events", "runs", "run_tags", "status_counts", "owners"):
        assert contents(tmp_path / "appended.db", table) == contents(tmp_path / "made.db", table)


APPENDING = """
import sys
from stores import BEGIN, STEP, log
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.ports import Append, NewEvent

position, views = 0, {}
store = SQLiteStore(sys.argv[1], clock=lambda: BEGIN + STEP * position)
store.recorder.datastore.link().raw.execute("PRAGMA synchronous = OFF")
for position, (run_id, version, event) in enumerate(log(int(sys.argv[2]), sys.argv[3]), start=1):
    new = NewEvent(f"{position:032x}", event, BEGIN + STEP * position, getattr(event, "actor", None))
    view = views[run_id] = store.append(Append(run_id, version - 1, (new,), views.get(run_id))).view
store.close()
"""


def contents(path: Path, table: str) -> list[tuple[Any, ...]]:
    """All rows, in order of all columns."""
    database = sqlite3.connect(path)
    rows = database.execute(f"SELECT * FROM {table}").fetchall()
    database.close()
    return sorted(rows, key=repr)
