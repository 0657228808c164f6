"""Two services on one store, as on two hosts: each hears of what the other one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from breaking.processes import HOST_ROLES, Child

SETTINGS: dict[str, Any] = {"heartbeat": 0.5, "lease": 30}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that both can reach."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def hosts(url: str, tmp_path: Path) -> Iterator[tuple[Child, Child]]:
    """Each is a process with a manager, and a spool of its own."""

    def host(name: str) -> Child:
        settings = {**SETTINGS, "spool_dir": str(tmp_path / name)}
        return Child("host", url, script=HOST_ROLES, settings=settings)

    with host("a") as a, host("b") as b:
        a.hear("ready")
        b.hear("ready")
        yield a, b


def test_cancelling_on_one_host_stops_the_run_on_the_other(hosts: tuple[Child, Child]) -> None:
    """The work notices by itself, and the store says so."""
    a, b = hosts
    a.hear_after("run job", "running")
    b.hear_after("cancel job", "cancelled")
    ended = [{"run_id": "job", "complete": True, "db_status": "cancelled"}]
    assert (ended, ended) == (a.ask("listen job"), b.ask("listen job"))
    assert ["cancelled", None, False] == b.ask("status job")


def test_a_subscriber_on_another_host_gets_the_signal(hosts: tuple[Child, Child]) -> None:
    """It waits while the run goes on elsewhere, and is told of its end; one that comes later is told at once."""
    a, b = hosts
    a.hear_after("run job", "running")
    b.say("listen job")
    a.hear_after("end job", "told")
    done = [{"run_id": "job", "complete": True, "db_status": "completed"}]
    assert done == b.answer()
    assert done == b.ask("listen job")
    assert done == a.ask("feed job") == b.ask("feed job")


def test_a_host_whose_process_is_killed_is_found_out_by_the_other(
    hosts: tuple[Child, Child],
) -> None:
    """Its run is flagged, and given up once; the subscriber on the other host hears of the verdict."""
    a, b = hosts
    a.hear_after("run job", "running")
    a.kill()
    assert "owner_gone" == b.ask("flagged job")
    assert ["job"] == b.ask("sweep")
    lost = {"run_id": "job", "complete": True, "db_status": "failed", "status_update_failed": True}
    assert [lost] == b.ask("listen job")
