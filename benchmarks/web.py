"""The HTTP server under load, on the loopback: one run and a page of runs at 100,000 runs, and 1,000 clients that listen.

The floor is the least that a service could do by hand: FastAPI, a `SELECT` on the bare driver, and JSON of the same columns.
"""

from __future__ import annotations

import asyncio
import resource
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from report import Column, Options, Row, Section, Table, Target
from stores import cached

from lastword import RunTracker
from lastword.infrastructure.sqlite.rows import OF_RUN

RUNS, LISTENERS = 100_000, 1_000
_COLUMNS = (
    "run_key, int_id, name, status, status_update_failed, created_at, started_at, finished_at, error_type, error_message,"
    " attempt, lease_seconds, tags, result, version, position"
)


def serve(path: str, kind: str) -> None:
    """The server's side, in a process of its own: prints its port when it answers."""
    _allow_many_files()
    if kind == "floor":
        _serve_floor(path)
        return
    from lastword.infrastructure.web.serving import Server

    with RunTracker(path) as tracker:
        Server(
            tracker,
            port=0,
            streams_per_client=10 * LISTENERS,
            when_ready=lambda server: print(server.port, flush=True),
        ).run()


def _serve_floor(path: str) -> None:
    import uvicorn
    from fastapi import FastAPI

    app, local = FastAPI(), threading.local()

    def rows(where: str, *values: Any) -> list[dict[str, Any]]:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(path, isolation_level=None)
            local.connection.row_factory = sqlite3.Row
        found = local.connection.execute(f"SELECT {_COLUMNS} FROM runs {where}", values)
        return [dict(row) for row in found]

    @app.get("/api/runs")
    def page() -> Any:
        return rows("ORDER BY number DESC LIMIT 50")

    @app.get("/api/runs/{run_id}")
    def one(run_id: str) -> Any:
        return rows(f"WHERE {OF_RUN}", run_id)[0]

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, http="h11")).run(
        [listening]
    )


@contextmanager
def server(path: Path, kind: str = "lastword") -> Iterator[tuple[int, psutil.Process]]:
    """Its port and its process."""
    command = [sys.executable, __file__, str(path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            process.kill()  # what it still had to say to its clients is of no interest


class Client:
    """One connection that is kept; sends a request and reads the answer, as bare as can be."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._connection.makefile("rb")
        self._host = f"127.0.0.1:{port}"

    def get(self, path: str) -> bytes:
        """The body; anything but 200 is an error."""
        self._connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        status, length = self._file.readline(), 0
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self._file.read(length)
        if b" 200 " not in status:
            raise RuntimeError(f"{path}: {status!r} {body!r}")
        return body

    def close(self) -> None:
        """Let go."""
        self._file.close()
        self._connection.close()


def timed(port: int, paths: list[str], clients: int) -> list[float]:
    """Milliseconds of each request, with so many clients at once, each with its part of the paths."""
    found: list[float] = []

    def drive(mine: list[str]) -> None:
        client = Client(port)
        client.get(mine[0])
        for path in mine:
            began = time.perf_counter()
            client.get(path)
            found.append((time.perf_counter() - began) * 1000)
        client.close()

    threads = [threading.Thread(target=drive, args=(paths[n::clients],)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def requests(store: Path, runs: int, count: int) -> Table:
    """Latencies of one run and of a page."""
    with RunTracker(store) as tracker:
        page, deep = tracker.list(limit=50), None
        step = sum(tracker.counts().values()) // 100
        for _ in range(20):
            deep = tracker.list(limit=step, cursor=deep).next_cursor
        ids = [view.run_id for view in tracker.list(limit=1000, cursor=page.next_cursor)]
    one = [f"/api/runs/{ids[number % len(ids)]}" for number in range(count)]
    tables = {
        "one run": one,
        "the newest 50": ["/api/runs"] * (count // 4),
        "50 at a cursor, a fifth of the runs back": [f"/api/runs?cursor={deep}"] * (count // 4),
        "50 failed ones": ["/api/runs?status=failed"] * (count // 4),
    }
    rows: list[Row] = []
    for kind, name in (("floor", "by hand (the floor)"), ("lastword", "Lastword")):
        with server(store, kind) as (port, _):
            for what, paths in tables.items():
                if kind == "floor" and ("?" in paths[0]):
                    continue
                for clients in (1, 4):
                    found = sorted(timed(port, paths, clients))
                    rows.append(
                        {
                            "name": f"{name}: {what}",
                            "clients": clients,
                            "p50": statistics.median(found),
                            "p99": found[int(len(found) * 0.99)],
                        }
                    )
    return Table(
        "web-requests",
        f"GET at {runs:,} runs",
        (
            Column("clients", "clients at once"),
            Column("p50", "p50 ms", ".2f"),
            Column("p99", "p99 ms", ".2f"),
        ),
        rows,
        notes=[
            "One server process, connections that are kept, client and server on the same two cores."
        ],
    )


async def _listen(
    port: int, number: int
) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async def one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = "/api/completions/stream?after=latest"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        await reader.readuntil(b": connected\n\n")
        return reader, writer

    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(0, number, 50):
        opened += await asyncio.gather(*(one() for _ in range(50)))
    return opened


async def _arrivals(
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]], complete: Any
) -> list[float]:
    """Milliseconds from the commit to each client."""

    async def heard(reader: asyncio.StreamReader) -> float:
        await reader.readuntil(b"event: complete\n")
        at = time.perf_counter()
        await reader.readuntil(b"\n\n")
        return at

    waiting = [asyncio.create_task(heard(reader)) for reader, _ in streams]
    await asyncio.sleep(0.2)
    began = await asyncio.to_thread(complete)
    return sorted((at - began) * 1000 for at in await asyncio.gather(*waiting))


def streams(store: Path, listeners: int, rounds: int, watch: float) -> Table:
    """What idle listeners cost over `watch` seconds, and how long a completion takes to the last of them."""
    _allow_many_files()
    with RunTracker(store) as tracker, server(store) as (port, process):

        def complete() -> float:
            run_id = tracker.create("bench")
            tracker.start(run_id)
            tracker.complete(run_id)
            return time.perf_counter()

        async def measure() -> Row:
            warm = await _listen(port, 50)
            await _arrivals(warm, complete)
            idle = process.memory_info().rss
            opened = await _listen(port, listeners)
            await asyncio.sleep(watch / 2)
            used, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
            await asyncio.sleep(watch)
            busy = (sum(process.cpu_times()[:2]) - cpu) / watch * 100
            threads = process.num_threads()
            found = [await _arrivals(opened, complete) for _ in range(rounds)]
            for _, writer in (*warm, *opened):
                writer.close()
            return {
                "name": f"{listeners:,} clients of the completion feed",
                "kib": (used - idle) / listeners / 1024,
                "mib": (used - idle) / 1024**2,
                "cpu": busy,
                "threads": threads,
                "first": statistics.median(one[0] for one in found),
                "median": statistics.median(statistics.median(one) for one in found),
                "last": statistics.median(one[-1] for one in found),
            }

        row = asyncio.run(measure())
    return Table(
        "web-streams",
        "Server-sent events, one server process",
        (
            Column("kib", "KiB per idle client", ".1f"),
            Column("mib", "MiB above idle", ".1f"),
            Column("cpu", "CPU % while idle", ".1f"),
            Column("threads", "threads"),
            Column("first", "first client, ms", ".1f"),
            Column("median", "median, ms", ".1f"),
            Column("last", "last client, ms", ".1f"),
        ),
        [row],
        [
            Target(f"MiB for {listeners:,} idle clients", row["mib"], 100, "at most", gross=300),
            Target("ms until the last client has it", row["last"], 1_000, "at most", gross=10_000),
        ],
        ["From the commit in another process to the arrival at the client; medians of the rounds."],
    )


def measure(options: Options) -> list[Table]:
    """All of it."""
    runs = 1_000 if options.smoke else RUNS
    store = options.folder / "web.db"
    shutil.copy(cached(options.cache, runs, "mixed"), store)
    if options.smoke:
        return [requests(store, runs, 20), streams(store, 50, 1, watch=0.2)]
    return [requests(store, runs, 1_000), streams(store, LISTENERS, 5, watch=4)]


SECTION = Section(
    "web", "the HTTP server: latencies at 100,000 runs, 1,000 clients that listen", measure, 60
)


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))


if __name__ == "__main__":
    serve(*sys.argv[1:])
