"""Lifecycles per second on a PostgreSQL server of the wheel: one thread, eight threads, four processes, beside the bare driver; and sizes.

The floor makes one round trip a step, with a statement that writes the event, the run's row and its key together, into tables that
Lastword made. Commits are durable. Client and server share the machine, and speak over the loopback.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from crowds import Crowd, Processes, Threads, in_turns
from harness import cpu_seconds
from report import Column, Options, Section, Table, Target

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from postgres_contenders import MAKERS  # needs the path
from postgres_size import fill, sizes, times  # needs the path

from lastword import RunTracker  # behind the others
from lastword.projections.problems import ProblemKind  # behind the others
from postgres_server import DURABLE, Server  # needs the path

MEMORY = Path("/dev/shm")
"""Where files live in memory, on Linux: there a commit is free, and what is left is the code's own time."""

CROWDS = (2, 3, 5, 8, 16, 32)
"""Threads of one process."""

SLOWER = 2_000
"""Microseconds for which a commit waits, so that this disk is as slow as others."""

LARGEST = 200_000
"""Runs in the large store."""

COLUMNS = (
    Column("per_second", "per second"),
    Column("ratio", "of the floor", ".2f"),
    Column("quartiles", "quartiles"),
)


def measure(options: Options) -> list[Table]:
    """On the disk, and where an fsync is free."""
    places: dict[str, Path | None] = {"disk": None}
    if MEMORY.is_dir() and not options.smoke:
        places["memory"] = MEMORY
    return [table for name, place in places.items() for table in _measure(name, place, options)]


def _measure(place: str, folder: Path | None, options: Options) -> Iterator[Table]:
    shapes: tuple[tuple[str, int, float, Callable[[str, str], Crowd]], ...] = (
        ("one thread", 1, 0.80, lambda name, url: _threads(name, url, 1)),
        ("8 threads", 8, 0.70, lambda name, url: _threads(name, url, 8)),
        ("4 processes", 4, 0.70, lambda name, url: _processes(name, url, 4)),
    )
    contenders = list(MAKERS)
    if options.smoke:  # processes take long to begin
        shapes, contenders = shapes[:2], contenders[:2]
    rounds, seconds = (2, 0.05) if options.smoke else (16, 0.4)
    with _server(folder) as server:
        for what, number, limit, crowd in shapes:
            series = in_turns(
                [crowd(name, server.url) for name in contenders], rounds=rounds, seconds=seconds
            )
            floor = series[0]
            table = Table(
                name=f"postgres-{place}-{number}",
                title=f"PostgreSQL, {what}, data on {place}; {rounds} rounds of {seconds:g} s",
                columns=COLUMNS,
                drawn=["per_second"],
            )
            for one in series:
                summary = one.summary(floor)
                low, high = summary["ratio_quartiles"]
                table.rows.append(summary | {"quartiles": f"{low:.2f} to {high:.2f}"})
            table.targets = [
                Target(
                    f"PostgreSQL, {what}: of the floor", table.rows[1]["ratio"], limit, gross=0.1
                )
            ]
            yield table
        _check(server.url)
        if place == "disk":
            yield _crowds(server.url, options)
            yield _cpu(server, 20 if options.smoke else 500)
            runs = min(options.runs, LARGEST)
            fill(server.url, runs)
            yield times(server.url, runs, 5 if options.smoke else 50)
            yield sizes(server.url, runs)


def _crowds(url: str, options: Options) -> Table:
    """Of the floor, by the number of threads: with commits as the disk has them, and with slow ones."""
    sizes = (3, 8) if options.smoke else CROWDS
    rounds, seconds = (2, 0.05) if options.smoke else (8, 0.3)
    table = Table(
        name="postgres-crowds",
        title=f"Lastword's part of the floor's lifecycles, by the number of threads; {rounds} rounds of {seconds:g} s",
        columns=[Column(str(number), f"{number} threads", ".2f") for number in sizes],
    )
    for slower, name in (
        (0, "commits on this disk"),
        (SLOWER, f"commits {SLOWER / 1000:g} ms slower"),
    ):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET commit_delay = {slower}")  # pyright: ignore[reportArgumentType,reportCallIssue]  # a number of ours
            connection.execute("ALTER SYSTEM SET commit_siblings = 0")
            connection.execute("SELECT pg_reload_conf()")
        table.rows.append({"name": name})
        for number in sizes:
            floor, found = in_turns(
                [_threads(one, url, number) for one in ("floor", "lastword")],
                rounds=rounds,
                seconds=seconds,
            )
            table.rows[-1][str(number)] = found.summary(floor)["ratio"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM RESET commit_delay")
        connection.execute("SELECT pg_reload_conf()")
    return table


def _cpu(server: Server, lifecycles: int) -> Table:
    """Of one step, on both sides: what machines that are busy pay for."""
    table = Table(
        name="postgres-cpu",
        title=f"CPU time of a step, microseconds, over {lifecycles} lifecycles of one thread",
        columns=(
            Column("client", "client"),
            Column("server", "server, all processes"),
            Column("journal", "bytes of WAL a lifecycle"),
        ),
    )
    steps, pid = 3 * lifecycles, server.pid
    assert pid is not None  # it runs
    for name in ("floor", "lastword"):
        worker = MAKERS[name](server.url)
        for _ in range(20):
            worker.lifecycle()
        begin, here, there = _journal(server), time.thread_time(), cpu_seconds(pid)
        for _ in range(lifecycles):
            worker.lifecycle()
        table.rows.append(
            {
                "name": MAKERS[name].name,
                "client": (time.thread_time() - here) / steps * 1e6,
                "server": (cpu_seconds(pid) - there) / steps * 1e6,
                "journal": (_journal(server) - begin) / lifecycles,
            }
        )
        worker.close()
    return table


def _journal(server: Server) -> int:
    """How many bytes the server has written into its log of changes."""
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        return int(row[0]) if row else 0


def _threads(name: str, url: str, number: int) -> Crowd:
    maker = MAKERS[name]
    return Threads(maker.name, maker.crowd(url, number))


def _processes(name: str, url: str, number: int) -> Crowd:
    return Processes(MAKERS[name].name, number, "postgres_contenders", name, url)


@contextmanager
def _server(folder: Path | None) -> Iterator[Server]:
    """One that commits durably."""
    if folder is None:
        with Server.temporary(DURABLE) as server:
            yield server
        return
    with tempfile.TemporaryDirectory(prefix="lastword-bench-", dir=folder) as name:
        place = Path(name)
        place.chmod(0o755)
        server = Server(place / "server", DURABLE)
        server.folder.mkdir()
        try:
            yield server.create()
        finally:
            server.remove()


def _check(url: str) -> None:
    """The floor and Lastword wrote the same: Lastword itself finds every run whole, in both schemas.

    But the order of the floor's log: with several writers its times go back, as nothing orders them.
    """
    for schema, missing in (("lastword", ()), ("floor", (ProblemKind.ORDER,))):
        with RunTracker(f"{url}?schema={schema}") as tracker:
            wrong = [it for it in tracker.verify().problems if it.kind not in missing]
            if wrong or not tracker.counts()["completed"]:  # pyright: ignore[reportArgumentType]  # RunStatus is a str
                raise SystemExit(f"{schema}: {wrong[:3]}")


SECTION = Section(
    "postgres", "the same on PostgreSQL: one thread, 8 threads, 4 processes", measure, 320
)

if __name__ == "__main__":
    from bench import main

    sys.argv.insert(1, "postgres")
    sys.exit(main())
