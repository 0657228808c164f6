"""The store cannot be reached when the work ends: what subscribers are told, and what is in the store once it is back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from breaking.processes import Child, locked
from lastword import RunReader
from lastword.infrastructure.clock import now_utc
from lastword.infrastructure.opening import open_store

RUNNING = {"run_id": 1, "complete": True, "db_status": "running", "status_update_failed": True}
"""What is true while the outcome could not be stored."""
DONE = {"run_id": 1, "complete": True, "db_status": "completed"}
"""What is true once it is."""

Fault = Callable[[Child, Path], Any]
"""A context manager: inside, the store cannot be written."""


@dataclass
class OutageReport:
    """What became of one job whose store was away when it ended."""

    signals: list[list[dict[str, Any]]] = field(default_factory=list[list[dict[str, Any]]])
    """Per subscriber, every completion signal that it got."""
    late: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The signals of a subscriber that came during the outage, after the end."""
    warnings: list[int] = field(default_factory=list[int])
    seconds: float = 0.0
    """From the end of the function to the last signal."""
    kept: list[bool] = field(default_factory=list[bool])
    """For each alert, whether the event was safe from the death of the process."""
    history: list[str] = field(default_factory=list[str])
    """In the store, after the recovery."""
    feed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    result: Any = None
    recovered: float | None = None
    """Seconds from the recovery until the store had the outcome; None when it never had."""
    left: int = 0
    """Spool files afterwards."""


def finish_without_store(store: Path, fault: Fault, **options: Any) -> OutageReport:
    """Run a job under a manager in another process; the store goes away before it ends, and comes back after it."""
    report = OutageReport()
    with Child("managed", store, **options) as child:
        assert child.answer() == "running"
        with fault(child, store):
            told = child.ask("finish", timeout=120)
            report.late = child.ask("late")
        report.signals, report.warnings = told["signals"], told["warnings"]
        report.seconds, report.kept = told["seconds"], told["kept"]
        began = monotonic()
        with reader(store) as looking:
            while monotonic() - began < 60:
                if looking.get(1).status.is_terminal:
                    report.recovered = monotonic() - began
                    break
                Event().wait(0.02)
            report.history = [recorded.type for recorded in looking.history(1)]
            report.feed = [dict(signal) for _, signal in looking.completions()]
            report.result = looking.get(1).result
        report.left = _settled(store)
    return report


def _settled(store: Path) -> int:
    """How many spool files are left a moment later: the store commits before the file is removed."""
    ends = monotonic() + 10
    folder = Path(f"{store}.spool")
    while (left := len([*folder.glob("*")])) and monotonic() < ends:
        Event().wait(0.02)
    return left


@contextmanager
def reader(store: Path) -> Iterator[RunReader]:
    """Somebody who only looks: it neither delivers nor beats."""
    opened = open_store(store)
    try:
        yield RunReader(opened, clock=now_utc)
    finally:
        opened.close()


# -- the faults


def locked_for(seconds: float) -> Fault:
    """Another process holds the write lock; for as long, or until the signals are out if that takes longer."""

    @contextmanager
    def fault(_child: Child, store: Path) -> Iterator[None]:
        began = monotonic()
        with locked(store):
            yield
            Event().wait(max(0.0, seconds - (monotonic() - began)))

    return fault


@contextmanager
def file_limit(child: Child, _store: Path) -> Iterator[None]:
    """No file of the process may grow: writing fails as on a full disk. Small files, such as the spool's, still fit."""
    assert child.ask("limit") == "limit"
    yield
    assert child.ask("unlimit") == "unlimit"


@contextmanager
def disk_full(_child: Child, store: Path) -> Iterator[None]:
    """Not a byte is left on the file system of the store, and of the spool."""
    filler = store.parent / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def gone(_child: Child, store: Path) -> Iterator[None]:
    """Somebody moves the file away, and puts it back."""
    away = store.with_name("away.db")
    store.rename(away)
    yield
    away.rename(store)


@contextmanager
def read_only(child: Child, store: Path) -> Iterator[None]:
    """The file may not be written any more. Who has it open still can, so the process has to connect anew."""
    store.chmod(0o444)
    assert child.ask("reconnect") == "reconnect"
    yield
    store.chmod(0o644)


@contextmanager
def small_disk(folder: Path, size: str = "4m") -> Iterator[Path | None]:
    """A file system of its own, in memory; None where that is not permitted."""
    folder.mkdir()
    made = (
        os.getuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            check=False,
            capture_output=True,
            timeout=10,
        ).returncode
    )
    try:
        yield folder if made else None
    finally:
        if made:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=10)


# -- a whole run


def whole_run(
    store: Path, *, down: bool, seconds: float = 0.0, **options: Any
) -> list[dict[str, Any]]:
    """From create to complete in another process, with the store locked all the while when `down`; what the history says then."""
    with Child("worker", store, **options) as child:
        assert child.answer() == "started"
        if down:
            began = monotonic()
            with locked(store):
                kept = child.ask("whole")["kept"]
                Event().wait(max(0.0, seconds - (monotonic() - began)))
            assert kept == [True] * 4, f"expected four events in the spool, found {kept}"
        else:
            child.ask("whole")
        child.ask("deliver")
        with reader(store) as looking:
            return [_facts(recorded.as_json()) for recorded in looking.history("whole")]


def _facts(recorded: dict[str, Any]) -> dict[str, Any]:
    """What is the same for two processes that did the same: neither times, nor ids, nor positions."""
    assert recorded["occurred_at"] <= recorded["recorded_at"]
    for name in ("position", "event_id", "occurred_at", "recorded_at"):
        del recorded[name]
    recorded["event"].pop("owner", None)
    return recorded
