"""What it costs to begin: importing Lastword beside what it is made of, the first answer of the command line, opening a store."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contenders import Lastword
from harness import quartiles
from report import Column, Options, Section, Table, Target

PARTS = "import eventsourcing.application, eventsourcing.sqlite, pydantic, structlog"
OWN = "from lastword import RunManager, RunTracker"
OPENED = "import lastword; lastword.RunTracker('sqlite:///:memory:').close()"

NOT_WANTED = frozenset({"typer", "click", "rich", "psycopg", "fastapi", "starlette", "uvicorn"})
"""Only the command line and the extras need these."""

_CHILD = """
import json, sys, time
before = set(sys.modules)
wall, cpu = time.perf_counter(), time.process_time()
{statement}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
loaded = {{name.partition('.')[0] for name in set(sys.modules) - before}}
third = sorted(name for name in loaded - set(sys.stdlib_module_names) if not name.startswith('_'))
print(json.dumps([wall * 1000, cpu * 1000, third]))
"""


@dataclass
class Import:
    """What was measured of one statement, in fresh processes."""

    name: str
    statement: str
    wall: list[float] = field(default_factory=list[float])
    """Milliseconds, without the start of the interpreter."""
    cpu: list[float] = field(default_factory=list[float])
    """Milliseconds."""
    loaded: list[str] = field(default_factory=list[str])
    """Top-level modules that are not of the standard library."""

    def run(self) -> None:
        """Once more, in a fresh process."""
        answer = _output([sys.executable, "-c", _CHILD.format(statement=self.statement)])
        wall, cpu, self.loaded = json.loads(answer)
        self.wall.append(wall)
        self.cpu.append(cpu)

    def summary(self, floor: Import) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "wall_ms": round(statistics.median(self.wall), 1),
            "cpu_ms": round(statistics.median(self.cpu), 1),
            "ratio": round(_ratio(self.wall, floor.wall), 3),
            "cpu_ratio": round(_ratio(self.cpu, floor.cpu), 3),
            "loaded": self.loaded,
            "not_wanted": sorted(NOT_WANTED.intersection(self.loaded)),
        }


def measure(options: Options) -> list[Table]:
    """Imports, and where their time goes; the first answer of the command line."""
    rounds = 1 if options.smoke else 15
    found = measure_imports(rounds)
    own = next(one for one in found if one["name"] == OWN)
    shares = import_shares(1 if options.smoke else 3)
    told = ", ".join(f"{name} {spent:.0f}" for name, spent in list(shares.items())[:8])
    table = Table(
        name="imports",
        title="Imports in fresh processes",
        columns=(
            Column("wall_ms", "wall ms"),
            Column("ratio", "ratio", ".2f"),
            Column("cpu_ms", "CPU ms"),
            Column("cpu_ratio", "ratio", ".2f"),
        ),
        rows=found,
        drawn=("wall_ms",),
        notes=[
            f"The third one loads: {', '.join(own['loaded'])}",
            f"Its ms by package (-X importtime): {told}",
        ],
        targets=[
            Target("import, of its parts (CPU)", own["cpu_ratio"], 1.3, "at most", gross=4),
            Target(
                "modules that only the command line or an extra needs",
                len(own["not_wanted"]),
                0,
                "at most",
                gross=0,
            ),
        ],
    )
    store = Lastword(options.folder)
    for _ in range(100):
        store.lifecycle()
    store.close()
    cold = list_cold_ms(store.path, rounds)
    table.notes.append(
        f"lastword list: {'not installed' if cold is None else f'{cold:,.0f} ms'}, cold"
    )
    table.targets.append(Target("lastword list, cold, ms", cold, 500, "at most", gross=20_000))
    return [table]


def measure_imports(rounds: int) -> list[dict[str, Any]]:
    """The statements in turns, each in a fresh process; ratios are to the first one."""
    imports = [
        Import("eventsourcing + pydantic + structlog", PARTS),
        Import("import lastword (no name of it yet)", "import lastword"),
        Import(OWN, OWN),
        Import("the same, and open a tracker", OPENED),
    ]
    for one in imports if rounds > 1 else ():
        one.run()  # writes the .pyc files and warms the page cache; does not count
        one.wall.clear()
        one.cpu.clear()
    for number in range(rounds):
        for offset in range(len(imports)):
            imports[(number + offset) % len(imports)].run()
    return [one.summary(imports[0]) for one in imports]


def import_shares(rounds: int = 3) -> dict[str, float]:
    """Milliseconds of `OWN` by top-level module, from ``python -X importtime``: the fastest of some rounds."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        shares: dict[str, float] = {}
        command = [sys.executable, "-X", "importtime", "-c", OWN]
        for line in _output(command, stream="stderr").splitlines():
            own, _, name = line.removeprefix("import time:").split("|")
            if own.strip().isdigit():
                top = name.strip().partition(".")[0]
                key = "standard library" if top in sys.stdlib_module_names else top
                shares[key] = shares.get(key, 0) + int(own) / 1000
        if not best or sum(shares.values()) < sum(best.values()):
            best = shares
    return dict(sorted(best.items(), key=lambda item: -item[1]))


def list_cold_ms(store: Path, rounds: int) -> float | None:
    """Milliseconds of wall time of ``lastword list`` in a fresh process; None where there is no command line."""
    command = [sys.executable, "-m", "lastword", "--url", str(store), "list"]
    spent: list[float] = []
    for _ in range(rounds + 1):
        answer = _timed(command)
        if answer is None:
            return None
        spent.append(answer)
    return round(quartiles(spent[1:])[1], 1)


def _timed(command: list[str]) -> float | None:
    code = (
        "import subprocess, sys, time; began = time.perf_counter();"
        " done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        " print((time.perf_counter() - began) * 1000, done.returncode)"
    )
    spent, returncode = _output([sys.executable, "-c", code, *command]).split()
    return float(spent) if returncode == "0" else None


def _output(command: list[str], stream: str = "stdout") -> str:
    # Whoever forbids Python to keep bytecode would measure how long our sources take to compile: packages are installed with it.
    env = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return getattr(done, stream)


def _ratio(mine: list[float], floor: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, floor, strict=True))


SECTION = Section("imports", "importing, and the first answer of the command line", measure, 35)
