"""Behind a real pgbouncer in transaction mode, whose few connections all threads and processes share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from contracts.kit import LONG, Writer, at_once
from faults.kit import wait_until
from lastword import RunManager, RunTracker
from lastword.domain.errors import RunAlreadyActive, StoreUnavailable
from lastword.domain.events import RunCreated
from lastword.domain.status import RunStatus
from lastword.infrastructure.postgres import PostgresStore
from lastword.infrastructure.postgres.schema import LOCK
from lastword.projections.importing import Placed
from lastword.testing import recorded
from postgres_pooler import PGBOUNCER, pooler, through

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")

THREADS, LIVES = 8, 6


@pytest.fixture(params=["", "off", "on"])
def url(request: pytest.FixtureRequest, pooler_url: str, postgres_url: str) -> str:
    """With `prepare=on` and a pgbouncer older than 1.21, prepared statements get lost, and the store has to notice."""
    return through(pooler_url, postgres_url, request.param)


@pytest.mark.parametrize(("prepare", "prepares"), [("", False), ("off", False), ("on", True)])
def test_behind_a_pooler_nothing_is_prepared_unless_told(
    pooler_url: str, postgres_url: str, prepare: str, prepares: bool
):
    """Two clients that share a connection may mean different statements by one name, and neither would hear of it."""
    with closing(PostgresStore(through(pooler_url, postgres_url, prepare))) as store:
        assert prepares == store.connections.prepares


def test_without_a_pooler_statements_are_prepared(postgres_url: str):
    """They are sent to the server itself."""
    with closing(PostgresStore(postgres_url)) as store:
        assert store.connections.prepares
        assert not store.connections.pooled


def test_an_error_leaves_no_lock_with_the_pooler(postgres_server: str, postgres_url: str):
    """The session goes on to somebody else; had it kept the lock under which positions are taken, nobody would write any more."""
    begin = "SET lock_timeout = 200"
    with pooler(postgres_server, connections=1, begin=begin) as url, ExitStack() as opened:
        store = opened.enter_context(closing(PostgresStore(through(url, postgres_url))))
        direct = opened.enter_context(closing(PostgresStore(postgres_url)))
        blocked = opened.enter_context(direct.connections.separate())
        blocked.execute(b"BEGIN")
        schema = direct.connections.address.schema
        blocked.execute(f'ALTER SEQUENCE "{schema}".positions CACHE 1'.encode())
        with pytest.raises(StoreUnavailable):
            store.append(Writer(store).request("a", RunCreated(name="import")))
        blocked.execute(b"ROLLBACK")
        wait_until(lambda: not _locks(direct))
        assert store.append(Writer(store).request("b", RunCreated(name="import"))) is not None


def _locks(store: PostgresStore) -> int:
    """How many sessions hold, or want, the lock under which positions of this store are taken."""
    statement = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = ?"
        " AND objid::bigint = 'positions'::regclass::oid::bigint % 2147483648"
    )
    (row,) = store.connections.fetch(statement, (LOCK,))
    return row[0]


def test_threads_share_a_few_connections(url: str, tmp_path: Path):
    """Every step is stored at once, none of them twice, and a reader elsewhere sees all of them in order."""
    with RunTracker(url, spool_dir=tmp_path) as tracker, RunTracker(url) as reader:

        def live(number: int) -> None:
            for life in range(LIVES):
                run_id = tracker.create("import", run_id=f"{number}-{life}")
                assert tracker.start(run_id).stored
                assert tracker.complete(run_id, result=life).stored

        at_once(THREADS, live)
        assert THREADS * LIVES == tracker.counts()[RunStatus.COMPLETED]
        assert tracker.verify().ok
        feed = reader.follow()
        positions = [next(feed)[0] for _ in range(THREADS * LIVES)]
        assert sorted(set(positions)) == positions


def test_the_signal_of_a_run_elsewhere_arrives(url: str, tmp_path: Path):
    """No notification passes the pooler: whoever waits looks by itself."""
    with (
        RunTracker(url, spool_dir=tmp_path) as here,
        RunTracker(url, spool_dir=tmp_path) as there,
        RunManager(there) as manager,
    ):
        run_id = here.create("import")
        here.start(run_id)
        queue = manager.register_subscriber(run_id)
        here.complete(run_id)
        signal = queue.get(timeout=LONG)
        while not signal.get("complete"):
            signal = queue.get(timeout=LONG)
        assert "completed" == signal["db_status"]
        assert "status_update_failed" not in signal


def test_an_exclusive_key_has_one_run(url: str, tmp_path: Path):
    """Of eight that want it at one moment."""
    with RunTracker(url, spool_dir=tmp_path) as tracker:
        refused: list[int] = []

        def want(number: int) -> None:
            try:
                tracker.create("import", run_id=number, exclusive="nightly")
            except RunAlreadyActive:
                refused.append(number)

        at_once(THREADS, want)
        assert THREADS - 1 == len(refused)
        assert 1 == tracker.counts()[RunStatus.PENDING]


def test_an_import_that_loses_its_session_takes_nothing_in(postgres_server: str, postgres_url: str):
    """Somebody else is given its connection between two statements: it is refused with the remedy, and the next one finds nothing in its way."""
    history = [Placed("line 1", event) for event in recorded(RunCreated(name="import"))]
    with pooler(postgres_server, connections=3) as url, ExitStack() as held:
        store = held.enter_context(closing(PostgresStore(through(url, postgres_url))))
        first, second, third = (held.enter_context(connect(url)) for _ in range(3))
        thief = Thread(target=first.execute, args=("SELECT 1",))

        def source() -> Iterator[Placed]:
            yield from history  # while this is read, the import has one connection, and these take the others
            for other in (second, third):
                other.execute("SELECT 1")
            thief.start()
            wait_until(lambda: clients_waiting(url) == 1)

        with ThreadPoolExecutor(1) as pool:
            importing = pool.submit(store.import_runs, source())
            wait_until(lambda: first.info.transaction_status == TransactionStatus.INTRANS, LONG)
            second.rollback()
            with pytest.raises(
                StoreUnavailable, match="nothing was taken in: give a URL"
            ) as caught:
                importing.result(LONG)
        thief.join(LONG)
        assert not caught.value.transient
        assert 0 == store.last_position()
        for other in (first, third):
            other.rollback()
        assert 1 == store.import_runs(history).added


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, prepare_threshold=None)


def clients_waiting(url: str) -> int:
    """How many clients wait for the pooler to have a connection for them."""
    console = psycopg.connect(
        urlunsplit(urlsplit(url)._replace(path="/pgbouncer")), autocommit=True
    )
    with console, psycopg.ClientCursor(console) as cursor:
        rows = cursor.execute("SHOW POOLS").fetchall()
        columns = [column.name for column in cursor.description or ()]
    return sum(dict(zip(columns, row, strict=True))["cl_waiting"] for row in rows)
