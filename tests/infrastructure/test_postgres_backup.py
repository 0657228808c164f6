"""What docs/how-to/postgresql.md says of backups and roles holds on a real server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lastword import RunTracker, StoreUnavailable
from postgres_server import INSTALLED, Server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "postgresql.md"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A fresh one, whose transaction ids begin anew."""
    with Server.temporary() as found:
        yield found


def tool(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [INSTALLED / "bin" / name, *arguments], capture_output=True, timeout=60, check=False
    )
    assert 0 == done.returncode, done.stderr


def test_a_dump_comes_to_life_in_another_cluster(
    postgres_url: str, server: Server, tmp_path: Path
) -> None:
    """One that has seen fewer transactions: followers see every event, seals hold, and writing goes on behind."""
    dump, schema = str(tmp_path / "dump"), postgres_url.rpartition("=")[2]
    with RunTracker(postgres_url) as tracker:
        for number in range(5):
            with tracker.run("import", run_id=number):
                pass
        tracker.seal(tmp_path / "before.seal")
        before = tracker.list()
        newest = tracker.store.last_position()
    tool(
        "pg_dump",
        "--format=custom",
        f"--schema={schema}",
        f"--file={dump}",
        postgres_url.split("?", maxsplit=1)[0],
    )
    tool("pg_restore", "--no-owner", f"--dbname={server.url}", dump)
    with RunTracker(f"{server.url}?schema={schema}") as tracker:
        assert (15, newest) == (len(tracker.store.read(0, 100)), tracker.store.last_position())
        assert tracker.verify(seal=tmp_path / "before.seal").ok
        assert before == tracker.list()
        with tracker.run("import", run_id="new"):
            pass
        assert ["new"] == [signal["run_id"] for _, signal in tracker.completions(after=newest)]


def test_each_role_can_do_its_part_and_no_more(server: Server, tmp_path: Path) -> None:
    """The owner makes the tables, services write, readers look."""
    grants, tuning = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(grants.encode())

    def url(role: str) -> str:
        return server.url.replace("postgres@", f"lastword_{role}@")

    with pytest.raises(StoreUnavailable, match="expected to make the tables of a store"):
        RunTracker(url("service"), spool_dir=tmp_path)
    RunTracker(url("owner"), spool_dir=tmp_path).close()
    with RunTracker(url("service"), spool_dir=tmp_path, heartbeat=0.1) as service:
        with service.run("import", run_id=1, tags={"team": "data"}, exclusive="key"):
            service.beat()
        service.sweep()
        assert service.verify().ok
    with RunTracker(url("reader"), spool_dir=tmp_path, retry_attempts=1, strict=True) as reader:
        assert ["completed"] == [view.status.value for view in reader.list()]
        assert ([], True) == (reader.flagged(), reader.verify().ok)
        assert 3 == len(list(reader.export()))
        with pytest.raises(StoreUnavailable, match="lacks a right"):
            reader.create("import")
    with RunTracker(url("owner"), spool_dir=tmp_path) as owner:
        assert 1 == owner.rebuild()
    with RunTracker(url("service"), spool_dir=tmp_path, strict=True) as service:
        service.create("import", run_id="behind the rebuild")
    with psycopg.connect(url("owner"), autocommit=True) as owner_alone:
        owner_alone.execute(tuning.encode())
