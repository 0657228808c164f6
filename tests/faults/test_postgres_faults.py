"""PostgreSQL fails while processes write: what was acknowledged is there, once; every signal was sent; nothing is left in a spool.

The long form is `benchmarks/faults.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from breaking import server_faults
from breaking.following import follow
from breaking.hosts import partition
from breaking.proxy import Proxy
from breaking.writers import WritersReport, writing
from lastword.infrastructure.opening import open_store
from postgres_server import DURABLE, Server

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("postgres-faults")]

SEED = 20260101
HASTY = {"retry_budget": 1.0, "heartbeat": 0.5}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that commits durably, for this module alone."""
    with Server.temporary(DURABLE) as found:
        yield found


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    """With a schema for each test."""
    return f"{server.url}?schema={request.node.originalname}"


def struck(
    url: str, folder: Path, fault: Callable[[], int], writers: int = 2, threads: int = 1
) -> WritersReport:
    """What is there after a fault in the middle of writing."""
    open_store(url).close()  # writers that are hasty would not wait for tables on a busy machine
    with writing(url, folder, writers, threads=threads, **HASTY) as finish:
        assert fault() > 0
        report = finish()
    assert [] == report.wrong
    assert report.signals > 0
    assert report.acknowledged == 3 * report.lives
    return report


def test_crashes(server: Server, url: str, tmp_path: Path) -> None:
    """`pg_ctl stop -m immediate`, and start."""
    struck(url, tmp_path, lambda: server_faults.stops(server, 2, SEED))


def test_crashes_while_threads_share_commits(server: Server, url: str, tmp_path: Path) -> None:
    """What was told to each thread of a group holds."""
    struck(url, tmp_path, lambda: server_faults.stops(server, 2, SEED), 2, threads=6)


def test_terminated_connections(server: Server, url: str, tmp_path: Path) -> None:
    """An administrator ends them at random."""
    struck(url, tmp_path, lambda: server_faults.terminations(server, 1.5, SEED))


def test_a_frozen_server(server: Server, url: str, tmp_path: Path) -> None:
    """It takes connections and says nothing."""
    struck(url, tmp_path, lambda: server_faults.freeze(server, 2.0))


def test_answers_that_are_lost(server: Server, url: str, tmp_path: Path) -> None:
    """The commit is done, and the connection ends before anybody hears of it: not lost, and not doubled."""
    with Proxy(server.port, seed=SEED) as proxy:
        through = url.replace(f":{server.port}/", f":{proxy.port}/")
        struck(through, tmp_path, lambda: server_faults.lose_answers(proxy, 1.5, 0.1))
        assert proxy.lost > 5


def test_answers_that_a_whole_group_loses(server: Server, url: str, tmp_path: Path) -> None:
    """Each of them finds out by the ids of its own events what became of them."""
    with Proxy(server.port, seed=SEED) as proxy:
        through = url.replace(f":{server.port}/", f":{proxy.port}/")
        struck(through, tmp_path, lambda: server_faults.lose_answers(proxy, 1.5, 0.1), 1, threads=6)
        assert proxy.lost > 5


def test_a_full_disk(tmp_path: Path) -> None:
    """The server refuses to write, or crashes of it."""
    with server_faults.server_on_a_small_disk() as server:
        if server is None:
            pytest.skip("a file system of its own needs root")
        url = f"{server.url}?schema=runs"
        struck(url, tmp_path, lambda: server_faults.fill_the_disk(server, 2.0))


def test_a_follower_skips_nothing(url: str, tmp_path: Path) -> None:
    """Positions come in order while many commit at once, and each event comes by once."""
    report = follow(url, tmp_path, 2.0, 4, **HASTY)
    assert [] == report.wrong
    assert ([], [], report.written) == (report.skipped, report.out_of_order, report.seen)
    assert report.written > 100


def test_a_host_that_is_cut_off(tmp_path: Path) -> None:
    """The other one gives its run up; when the wire is back, the real outcome takes the verdict's place."""
    report = partition(tmp_path, lease=1.5, seconds=0.5)
    if report is None:
        pytest.skip("network namespaces need root, and `ip`")
    assert ("silent", ["job"]) == (report.flag, report.swept)
    assert ["failed", None, True] == report.meanwhile
    (signal,) = report.told
    assert ("job", True, True) == (
        signal["run_id"],
        signal["complete"],
        signal["status_update_failed"],
    )
    assert all(report.kept)
    assert ["completed", None, False] == report.afterwards
    assert {"run_id": "job", "complete": True, "db_status": "completed"} == report.feed[-1]
