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
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=BENCHMARKS,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `make bench ARGS=--smoke` measured."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    run("lifecycle.py", "--smoke", "--json", str(file))
    return json.loads(file.read_text(encoding="utf-8"))


def contenders(report: dict[str, Any], place: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in report["lifecycles"][place]["contenders"]}


def test_lastword_is_not_grossly_slower_than_the_bare_driver(report: dict[str, Any]) -> None:
    """On a disk the driver's fsync is most of the work; below this something is wrong, not slow."""
    assert contenders(report, "disk")["Lastword"]["ratio"] >= 0.3


def test_lastword_keeps_up_with_the_library_it_is_built_on(report: dict[str, Any]) -> None:
    """It writes a row beside each event, and must still not cost much more CPU time than the library alone."""
    found = contenders(report, "disk")
    assert found["Lastword"]["cpu_ms"] <= 2 * found["eventsourcing, stock + view row"]["cpu_ms"]


def test_a_run_takes_little_room(report: dict[str, Any]) -> None:
    """A file is never much larger than the rows that the bare driver leaves behind."""
    found = contenders(report, "disk")
    floor = found["bare sqlite3 (the floor)"]
    assert found["Lastword"]["bytes_per_run"] <= 1.5 * floor["bytes_per_run"]


def test_import_loads_neither_the_command_line_nor_an_extra(report: dict[str, Any]) -> None:
    """Who imports the library does not wait for what only the command line needs."""
    own = next(one for one in report["imports"] if "RunTracker" in one["name"])
    assert [] == own["not_wanted"]
    assert "lastword" in own["loaded"]


def test_import_is_not_grossly_slower_than_its_parts(report: dict[str, Any]) -> None:
    """CPU time, for a machine that is busy with other tests."""
    own = next(one for one in report["imports"] if "RunTracker" in one["name"])
    assert own["cpu_ratio"] <= 3


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
