"""The experiments of `faults.py`, each as a table."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from faults_cost import cost
from harness import quartiles

from breaking import death
from breaking.crashing import crash
from breaking.outage import (
    DONE,
    RUNNING,
    Fault,
    OutageReport,
    disk_full,
    file_limit,
    finish_without_store,
    gone,
    locked_for,
    read_only,
    small_disk,
    whole_run,
)
from breaking.processes import locked
from lastword import RunTracker

Tick = Callable[[int], None]
Row = tuple[str, ...]

IN_MEMORY = Path("/dev/shm")
"""Where files live in memory, on Linux; so that the cost is not hidden behind the disk."""


@dataclass(frozen=True)
class Section:
    """One table, with what has to be known to read it."""

    title: str
    head: Row
    rows: list[Row]
    wrong: list[str]
    """What is not as promised; empty when all is well."""
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """How much to do."""

    kills: int
    seed: int
    quick: bool


def crashes(folder: Path, plan: Plan, tick: Tick) -> Section:
    """SIGKILL at random moments."""
    report = crash(folder, plan.kills, plan.seed, tick)
    counts = {
        "acknowledged events lost": report.lost,
        "events doubled or out of order": report.doubled,
        "rows that differ from the fold of their events, gaps, spool files left": report.problems,
        "stores that did not open": report.not_opened,
    }
    rows = [
        ("SIGKILLs", f"{report.kills:,}"),
        (
            "of these while the store was away and events went to the spool",
            f"{report.while_down:,}",
        ),
        ("acknowledged events", f"{report.acknowledged:,}"),
        *((what, f"{len(found):,}") for what, found in counts.items()),
        ("torn last lines in the spool, set aside (never acknowledged)", f"{report.torn:,}"),
    ]
    wrong = [f"{what}: {line}" for what, found in counts.items() for line in found[:10]]
    note = f"Seed {plan.seed}. Acknowledged: the call had returned, and the event was in the store or fsynced in the spool."
    return Section("A process is killed while it writes", ("what", "count"), rows, wrong, note)


def finishes(folder: Path, plan: Plan, tick: Tick) -> Section:
    """The store is away when the work ends."""
    long, longer = (2.0, 4.0) if plan.quick else (10.0, 60.0)
    ordinary: dict[str, bool] = {"ordinary": True}
    faults: list[tuple[str, Fault, dict[str, bool]]] = [
        (f"locked by another process for {long:g} s", locked_for(long), {}),
        (f"locked by another process for {longer:g} s", locked_for(longer), {}),
        ("writing fails, as on a full disk; the spool has room", file_limit, {}),
        ("file made read-only", read_only, ordinary),
        ("file moved away and put back", gone, {}),
    ]
    rows: list[Row] = []
    wrong: list[str] = []
    settings = {"retry_budget": 0.4, "heartbeat": 1} if plan.quick else {"heartbeat": 2}
    for number, (name, fault, options) in enumerate(faults):
        place = folder / f"finish-{number}"
        place.mkdir()
        report = finish_without_store(place / "runs.db", fault, settings=settings, **options)
        rows.append(_finish_row(name, report, wrong, kept=True))
        tick(len(rows))
    with small_disk(folder / "disk") as disk:
        if disk is not None:
            report = finish_without_store(disk / "runs.db", disk_full, settings=settings)
            rows.append(
                _finish_row(
                    "disk full to the last byte, for the spool too", report, wrong, kept=False
                )
            )
        else:
            rows.append(("disk full to the last byte", "not tried: needs root", "", "", "", "", ""))
    tick(len(rows))
    head = (
        "fault",
        "signals, as true then",
        "s until the signals",
        "outcome safe from the death of the process",
        "outcomes in the store afterwards",
        "s until there",
        "job's own result",
    )
    note = (
        "Three subscribers wait for each job, and a fourth comes during the outage. Signals: four times"
        " `db_status: running` with `status_update_failed`, each once; after the recovery the completion feed says `completed`."
    )
    return Section("The store is away when the work ends", head, rows, wrong, note)


def _finish_row(name: str, report: OutageReport, wrong: list[str], *, kept: bool) -> Row:
    true = sum(signals == [RUNNING] for signals in (*report.signals, report.late))
    stored = report.history.count("RunCompleted")
    if true != 4 or stored != 1 or report.feed != [DONE] or report.recovered is None or report.left:
        wrong.append(f"{name}: {report}")
    if report.kept != [kept]:
        wrong.append(f"{name}: expected the alert to say kept={kept}, found {report.kept}")
    return (
        name,
        f"{true} of 4",
        f"{report.seconds:.1f}",
        "yes" if all(report.kept) else "no, and the alert says so",
        f"{stored} of 1",
        "never" if report.recovered is None else f"{report.recovered:.1f}",
        "unchanged" if report.result == {"rows": 3} else f"{report.result!r}",
    )


def whole(folder: Path, plan: Plan, tick: Tick) -> Section:
    """From create to complete without a store; and a command."""
    settings = {"retry_budget": 0.4, "heartbeat": 3600, "progress_interval": 0.0}
    seconds = 1.0 if plan.quick else 10.0
    ordinary = whole_run(folder / "ordinary.db", down=False, settings=settings)
    without = whole_run(folder / "without.db", down=True, seconds=seconds, settings=settings)
    wrong: list[str] = []
    if ordinary != without:
        wrong.append(f"histories differ: {ordinary} and {without}")
    tick(1)
    codes, stored = _commands(folder / "command.db", plan)
    tick(2)
    if codes != [0, 7, 143] or stored != 3:
        wrong.append(
            f"expected the exit codes 0, 7 and 143 and three outcomes, found {codes} and {stored}"
        )
    rows = [
        (
            "create, start, progress, complete",
            f"{len(without)} events, {'equal' if ordinary == without else 'NOT EQUAL'} to a run without an outage",
            "unchanged",
        ),
        (
            "`lastword run` around commands that end with 0, with 7 and by SIGTERM",
            f"{stored} of 3 outcomes in the store after delivery",
            f"exit codes {', '.join(map(str, codes))}",
        ),
    ]
    head = ("while the store was locked from beginning to end", "afterwards", "the job")
    note = "Equal: type, facts, version, actor and correlation id of every event; times differ, and `recorded_at` is later."
    return Section("A whole run without the store", head, rows, wrong, note)


def _commands(store: Path, plan: Plan) -> tuple[list[int], int]:
    with RunTracker(store):
        pass
    budget = "0.3" if plan.quick else "5"
    environment = {**os.environ, "LASTWORD_URL": str(store), "LASTWORD_RETRY_BUDGET": budget}
    base = [sys.executable, "-m", "lastword", "run", "--name", "job", "--", "sh", "-c"]
    codes: list[int] = []
    with locked(store):
        for script in ("exit 0", "exit 7", "kill -TERM $$"):
            done = subprocess.run(
                [*base, script], env=environment, capture_output=True, timeout=120, check=False
            )
            codes.append(done.returncode)
    with RunTracker(store) as tracker:
        return codes, sum(view.status.is_terminal for view in tracker.list(name="job"))


def deaths(folder: Path, _plan: Plan, tick: Tick) -> Section:
    """Workers that die, freeze or never begin."""
    expected = {
        "killed": "owner_gone",
        "suspended": "silent",
        "reused": "owner_gone",
        "rebooted": "owner_gone",
        "elsewhere": "silent",
        "never_started": "never_started",
    }
    rows: list[Row] = []
    wrong: list[str] = []
    for way in death.WAYS:
        report = way(folder / f"{way.__name__}.db")
        rows.append(
            (
                report.way,
                f"`{report.flag}`",
                report.detail,
                f"{report.after:.2f}",
                report.verdict,
                report.truth or "does not come",
                ", ".join(report.feed),
            )
        )
        if report.flag != expected[way.__name__] or "failed" not in report.verdict:
            wrong.append(f"{report}")
        tick(len(rows))
    head = (
        "what happened",
        "flag",
        "in words",
        "s until a query says so",
        "verdict of a sweep",
        "when the truth comes late",
        "completion feed",
    )
    note = (
        f"Lease {death.LEASE:g} s here (60 s by default), start timeout the same. On its own host a dead process is known at once;"
        " elsewhere, and for one that is frozen, after the lease."
    )
    return Section("A worker dies, freezes, or never begins", head, rows, wrong, note)


def sweeps(folder: Path, plan: Plan, tick: Tick) -> Section:
    """Sweepers that race, and workers that live."""
    number = 500 if plan.quick else 10_000
    runs = 50 if plan.quick else 500
    report = death.sweep_a_slow_worker(folder / "slow.db", number, tick, pause=0.002)
    first, second, verdicts = death.two_sweepers(folder / "race.db", runs)
    beat = death.beat_through_an_outage(folder / "beat.db")
    wrong: list[str] = []
    if report.wrong or verdicts != runs or first + second != runs or beat.flagged or beat.verdicts:
        wrong.append(f"{report}, {first} + {second} of {runs} with {verdicts} events, {beat}")
    rows = [
        (
            f"{number:,} sweeps while a busy worker beats",
            f"{report.wrong} false verdicts; {report.beats:,} beats seen, at most {report.slowest:.2f} s apart",
        ),
        (
            f"two processes sweep the same {runs} dead runs at once",
            f"{first} + {second} verdicts, {verdicts} `RunLost` events",
        ),
        (
            "store locked for three leases, then a sweep",
            f"{beat.verdicts} verdicts; the beat was back after {beat.resumed:.2f} s; the run: {beat.status}",
        ),
    ]
    note = f"Lease {death.LEASE:g} s, a beat every {death.SETTINGS['heartbeat']:g} s; the worker keeps a core busy with Python code."
    return Section("Sweepers, and workers that live", ("what", "found"), rows, wrong, note)


def costs(folder: Path, plan: Plan, tick: Tick) -> Section:
    """Throughput on a healthy store."""
    rows: list[Row] = []
    with _places(folder) as places:
        for number, (name, place) in enumerate(places):
            without, tracked = cost(
                place, rounds=6 if plan.quick else 40, seconds=0.05 if plan.quick else 0.25
            )
            low, middle, high = quartiles(tracked.ratios(without))
            rows.append(
                (
                    name,
                    f"{without.rate:,.0f}",
                    f"{tracked.rate:,.0f}",
                    f"{middle:.2f}",
                    f"{low:.2f} to {high:.2f}",
                )
            )
            tick(number + 1)
    head = (
        "files",
        "without, lifecycles/s",
        "RunTracker, lifecycles/s",
        "ratio",
        "quartiles",
    )
    note = (
        "Without: the same tracker with retry, spool and outage watch taken out of the way of an append. Rounds in turns; the ratio is the"
        " median over the rounds."
    )
    return Section("What it costs on a healthy store", head, rows, [], note)


@contextmanager
def _places(folder: Path) -> Iterator[list[tuple[str, Path]]]:
    (folder / "cost").mkdir()
    places = [("on the disk", folder / "cost")]
    if not IN_MEMORY.is_dir():
        yield places
        return
    with tempfile.TemporaryDirectory(prefix="lastword-faults-", dir=IN_MEMORY) as memory:
        yield [*places, ("in memory", Path(memory))]


SECTIONS: tuple[Callable[[Path, Plan, Tick], Section], ...] = (
    crashes,
    finishes,
    whole,
    deaths,
    sweeps,
    costs,
)


def run(
    section: Callable[[Path, Plan, Tick], Section], folder: Path, plan: Plan, tick: Tick
) -> tuple[Section, float]:
    """One section and how long it took, in seconds."""
    place = folder / section.__name__
    place.mkdir()
    began = monotonic()
    return section(place, plan, tick), monotonic() - began
