"""Measuring side by side: short rounds, taken in turns, compared within the round.

A machine is never as fast in one second as in the next, least of all its disk. So no figure stands alone here: all contenders
run in every round, each round starts with another one, and a ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import psutil

PACKAGES = ("lastword", "eventsourcing", "pydantic", "pydantic_core", "structlog", "uuid_utils")


class Contender(Protocol):
    """One way to record the lifecycle of a run."""

    @property
    def name(self) -> str:
        """As it stands in the table."""
        ...

    @property
    def path(self) -> Path | None:
        """The database file; None when it is not one file of this process."""
        ...

    def lifecycle(self) -> None:
        """Create, start and complete one run; each step is durable before the next begins."""
        ...

    def close(self) -> None:
        """Let go of the file, so that its size can be read."""
        ...


@dataclass
class Series:
    """What was measured of one contender, a number a round."""

    name: str
    rates: list[float] = field(default_factory=list[float])
    """Lifecycles per second of wall time."""
    cpu: list[float] = field(default_factory=list[float])
    """Milliseconds of CPU time (of the measuring thread, the kernel's part included) per lifecycle."""
    lifecycles: int = 0
    """In all rounds together."""
    bytes_per_run: float | None = None
    """The file's size after the last round, divided by the lifecycles."""

    @property
    def rate(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rates)

    @property
    def cpu_ms(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.cpu)

    def ratios(self, floor: Series) -> list[float]:
        """Round by round: this one's rate over the floor's."""
        return [mine / other for mine, other in zip(self.rates, floor.rates, strict=True)]

    def summary(self, floor: Series) -> dict[str, Any]:
        """JSON-ready."""
        ratios = self.ratios(floor)
        low, middle, high = quartiles(ratios)
        return {
            "name": self.name,
            "per_second": round(self.rate, 1),
            "ratio": round(middle, 3),
            "ratio_quartiles": [round(low, 3), round(high, 3)],
            "cpu_ms": round(self.cpu_ms, 4) if self.cpu else None,
            "bytes_per_run": None if self.bytes_per_run is None else round(self.bytes_per_run),
            "lifecycles": self.lifecycles,
        }


def interleaved(contenders: Sequence[Contender], *, rounds: int, seconds: float) -> list[Series]:
    """Run the contenders in turns: in each round every one of them for this many seconds."""
    series = [Series(contender.name) for contender in contenders]
    for contender in contenders:
        for _ in range(20):
            contender.lifecycle()
    for number in range(rounds):
        for offset in range(len(contenders)):
            turn = (number + offset) % len(contenders)
            _measure(contenders[turn], series[turn], seconds)
    for contender, found in zip(contenders, series, strict=True):
        contender.close()
        if contender.path is None:
            found.cpu = []  # it was spent elsewhere
        else:
            found.bytes_per_run = contender.path.stat().st_size / (found.lifecycles + 20)
    return series


def _measure(contender: Contender, series: Series, seconds: float) -> None:
    lifecycle = contender.lifecycle
    done = 0
    cpu, began = time.thread_time(), time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or not done:
        lifecycle()
        done += 1
    series.cpu.append((time.thread_time() - cpu) / done * 1000)
    series.rates.append(done / spent)
    series.lifecycles += done


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The value that a quarter, a half and three quarters of them lie below.

    >>> quartiles([1, 2, 3, 4, 5])
    (2.0, 3.0, 4.0)
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def fsync_ms(folder: Path, times: int = 200) -> tuple[float, float]:
    """What it costs to make 4 KiB durable in this folder: median and 90th percentile, in milliseconds."""
    spent: list[float] = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(times):
            file.seek(0)
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            spent.append((time.perf_counter() - began) * 1000)
    spent.sort()
    return round(spent[times // 2], 3), round(spent[times * 9 // 10], 3)


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on."""

    cpu: str
    cores: int
    system: str
    python: str
    sqlite: str
    packages: dict[str, str]
    load: float
    """Processes that wanted a core in the last minute, when the measuring began."""

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        return cls(
            cpu=_cpu(),
            cores=len(os.sched_getaffinity(0)),
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            python=f"{platform.python_implementation()} {sys.version.split()[0]}",
            sqlite=sqlite3.sqlite_version,
            packages={name: metadata.version(name) for name in PACKAGES},
            load=round(os.getloadavg()[0], 2),
        )

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and all its children have had until now, those that have ended too."""
    process, found = psutil.Process(pid), 0.0
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # just ended: its parent has its time
            found += sum(child.cpu_times()[:2])
    return found + sum(process.cpu_times()[:4])
