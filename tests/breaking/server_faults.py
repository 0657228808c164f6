"""What can befall a PostgreSQL server while processes write to it. Each fault says how often it struck."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from threading import Event
from time import monotonic

import psycopg

from breaking.outage import small_disk
from breaking.proxy import Proxy
from postgres_server import DURABLE, Server, new_folder

_pause = Event().wait
"""A length of time that is part of the fault."""

Tick = Callable[[int], object]


@contextlib.contextmanager
def server_on_a_small_disk() -> Iterator[Server | None]:
    """A server that commits durably, on a file system of its own; None where that is not permitted."""
    place = new_folder()  # not below the tests' own, which an ordinary user may not enter
    try:
        with small_disk(place / "disk", "160m") as disk:
            if disk is None:
                yield None
                return
            server = Server(disk / "server", (*DURABLE, "max_wal_size=48MB", "min_wal_size=32MB"))
            server.folder.mkdir()
            try:
                yield server.create()
            finally:
                server.remove()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def stops(server: Server, times: int, seed: int, tick: Tick = int) -> int:
    """Crash the server and start it again, at random moments."""
    chance = random.Random(seed)
    for number in range(times):
        _pause(chance.uniform(0.1, 0.6))
        server.stop("immediate")
        server.start()
        tick(number + 1)
    return times


def terminations(server: Server, seconds: float, seed: int, tick: Tick = int) -> int:
    """End the connections of clients one after the other, chosen at random."""
    chance, ended, ends = random.Random(seed), 0, monotonic() + seconds
    with psycopg.connect(server.url, autocommit=True) as admin:
        while monotonic() < ends:
            _pause(chance.uniform(0.01, 0.1))
            others = admin.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
            if others:
                admin.execute("SELECT pg_terminate_backend(%s)", chance.choice(others))
                ended += 1
                tick(ended)
    return ended


def freeze(server: Server, seconds: float) -> int:
    """Stop every process of it for a while: it takes connections, and says nothing."""
    _pause(1)
    server.freeze()
    _pause(seconds)
    server.thaw()
    return 1


def fill_the_disk(server: Server, seconds: float) -> int:
    """Leave no byte on the file system of the server for a while. It may crash of it; then it is started again."""
    _pause(1)
    filler = server.folder / "filler"
    ends = monotonic() + seconds
    with filler.open("wb", buffering=0) as file:
        while monotonic() < ends:  # it recycles files, so that some room comes back
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
            _pause(0.05)
    filler.unlink()
    if not server.answers():
        server.stop("immediate")
        server.start()
    return 1


def lose_answers(proxy: Proxy, seconds: float, chance: float = 0.02) -> int:
    """Cut the wire between commit and answer, again and again."""
    proxy.chance = chance
    _pause(seconds)
    proxy.chance = 0.0
    return proxy.lost
