"""What PostgreSQL can do to its users: each fault passes, and nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from breaking.proxy import Proxy, port_of, through
from contracts.kit import LONG, Writer
from faults.kit import wait_until
from lastword import RunTracker
from lastword.domain.errors import InvalidInput, LastwordError, StoreCorrupt, StoreUnavailable
from lastword.domain.events import RunCompleted, RunCreated
from lastword.infrastructure.postgres import PostgresStore
from lastword.infrastructure.postgres.faults import translate
from postgres_server import Server, with_option

CREATED = RunCreated(name="import")
URL = "postgresql://db/runs"


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with contextlib.closing(PostgresStore(postgres_url)) as store:
        yield store


def kill_backends(server_url: str, application: str = "lastword") -> int:
    """End every session of ours, as an administrator would; how many."""
    with psycopg.connect(server_url, autocommit=True, application_name="killer") as connection:
        found = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s",
            (application,),
        ).fetchone()
        return found[0] if found else 0


def named(url: str, name: str) -> str:
    """The URL with a name for its sessions, so that a test ends only its own."""
    return with_option(url, "application_name", name)


# -- what errors mean


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.AdminShutdown,
        psycopg.errors.CrashShutdown,
        psycopg.errors.CannotConnectNow,
        psycopg.errors.ConnectionFailure,
        psycopg.errors.DeadlockDetected,
        psycopg.errors.DiskFull,
        psycopg.errors.IoError,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.OutOfMemory,
        psycopg.errors.QueryCanceled,
        psycopg.errors.ReadOnlySqlTransaction,
        psycopg.errors.SerializationFailure,
        psycopg.errors.TooManyConnections,
        psycopg.OperationalError,
        psycopg.InterfaceError,
    ],
)
def test_what_may_pass_is_worth_another_try(error: type[psycopg.Error]):
    """The journal retries it, takes a fresh connection, and spools."""
    found = translate(error("said the server"), URL)
    assert isinstance(found, StoreUnavailable)
    assert found.transient
    assert URL in str(found)
    assert "said the server" in str(found)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.errors.InsufficientPrivilege(), StoreUnavailable),
        (psycopg.errors.InvalidCatalogName(), StoreUnavailable),
        (psycopg.errors.InvalidPassword(), StoreUnavailable),
        (
            psycopg.OperationalError('FATAL:  password authentication failed for user "me"'),
            StoreUnavailable,
        ),
        (psycopg.OperationalError('FATAL:  database "none" does not exist'), StoreUnavailable),
        (psycopg.errors.UndefinedTable(), StoreCorrupt),
        (psycopg.errors.UndefinedColumn(), StoreCorrupt),
        (psycopg.errors.DataCorrupted(), StoreCorrupt),
        (psycopg.errors.NumericValueOutOfRange(), InvalidInput),
        (psycopg.errors.ProgramLimitExceeded(), InvalidInput),
    ],
)
def test_what_stays_is_said_at_once(error: psycopg.Error, kind: type[LastwordError]):
    """It is not retried."""
    found = translate(error, URL)
    assert type(found) is kind
    assert not getattr(found, "transient", False)


# -- connections that are gone


def test_an_idle_connection_that_was_ended_is_not_used(postgres_url: str, postgres_server: str):
    """Neither reading nor writing notices: it is looked at first, and replaced."""
    with contextlib.closing(PostgresStore(named(postgres_url, "idle"))) as store:
        view = Writer(store).start("a").view
        assert kill_backends(postgres_server, "idle")
        wait_until(lambda: not kill_backends(postgres_server, "idle"))
        assert store.view("a") == view
        assert kill_backends(postgres_server, "idle")
        wait_until(lambda: not kill_backends(postgres_server, "idle"))
        Writer(store).start("b")


def test_an_answer_that_got_lost_is_found_by_the_id_of_the_event(postgres_url: str, tmp_path: Path):
    """The commit went through, the connection ended before the answer came: neither lost nor doubled."""
    with (
        Proxy(port_of(postgres_url)) as proxy,
        RunTracker(through(proxy, postgres_url), spool_dir=tmp_path) as tracker,
    ):
        for run_id in ("run-one", "run-two"):
            for act in (
                partial(tracker.create, "import", run_id=run_id),
                partial(tracker.start, run_id),
                partial(tracker.complete, run_id, result="done"),
            ):
                proxy.marker = run_id.encode()
                act()
            history = [item.type for item in tracker.history(run_id)]
            assert history == ["RunCreated", "RunStarted", "RunCompleted"]
        assert proxy.lost == 6
        assert tracker.verify().ok


def test_the_store_alone_says_that_it_does_not_know(postgres_url: str):
    """Whoever uses it without the journal gets a fault that may pass, and finds the event there."""
    with (
        Proxy(port_of(postgres_url)) as proxy,
        contextlib.closing(PostgresStore(through(proxy, postgres_url))) as store,
    ):
        writer = Writer(store)
        writer.start("run-a")
        proxy.marker = b"run-a"
        with pytest.raises(StoreUnavailable) as caught:
            writer.add("run-a", RunCompleted())
        assert caught.value.transient
        assert len(store.read_run("run-a")) == 3


def test_connections_that_end_all_the_time_cost_nothing(
    postgres_url: str, postgres_server: str, tmp_path: Path
):
    """Each step is stored once, whatever was ended meanwhile."""
    with RunTracker(named(postgres_url, "often"), spool_dir=tmp_path) as tracker:
        for number in range(20):
            tracker.create("import", run_id=number)
            kill_backends(postgres_server, "often")
            tracker.start(number)
            tracker.complete(number)
        assert [len(tracker.history(number)) for number in range(20)] == [3] * 20
        assert tracker.verify().ok


# -- a server that is gone


def test_a_server_that_stops_and_comes_back(tmp_path: Path):
    """Meanwhile the work goes on, its outcome waits on the disk, and gets in when the server is there again."""
    with Server.temporary() as server:
        url = with_option(server.url, "schema", "kept")
        with RunTracker(url, spool_dir=tmp_path, retry_attempts=2, retry_budget=0.5) as tracker:
            tracker.create("import", run_id=1)
            tracker.start(1)
            server.stop("immediate")
            receipt = tracker.complete(1, result="done")
            assert not receipt.stored
            assert isinstance(receipt.error, StoreUnavailable)
            assert receipt.error.transient
            assert list(tmp_path.rglob("*.jsonl"))
            server.start()
            tracker.deliver_spool()
            assert tracker.get(1).result == "done"


def test_a_server_that_is_frozen_is_given_up_in_time(tmp_path: Path):
    """The work goes on; when the server goes on, too, each event is there once, whatever became of the statement that waited."""
    with Server.temporary() as server:
        given = {"retry_attempts": 2, "retry_budget": 0.6, "spool_dir": tmp_path}
        with RunTracker(server.url, **given) as tracker:
            tracker.create("import", run_id=1)
            tracker.start(1)
            server.freeze()
            try:
                receipt = tracker.complete(1, result="done")
            finally:
                server.thaw()
            assert not receipt.stored
            wait_until(
                lambda: bool(tracker.deliver_spool()) or tracker.get(1).finished_at is not None
            )
            assert [item.type for item in tracker.history(1)] == [
                "RunCreated",
                "RunStarted",
                "RunCompleted",
            ]


def test_nobody_is_shown_a_password(postgres_url: str):
    """Neither in the store's URL nor in an error."""
    secret = postgres_url.replace("postgres@", "postgres:s3cret@")
    with contextlib.closing(PostgresStore(secret)) as store:
        assert "s3cret" not in store.url
        assert "postgres@" not in store.url
    for url in (
        secret.replace("/postgres?", "/none?"),
        "postgresql://me:s3cret@127.0.0.1:1/x",
        f"{secret}&nonsense=1",
    ):
        with pytest.raises(LastwordError) as failed:
            PostgresStore(url)
        assert "s3cret" not in str(failed.value)


def test_an_interrupt_ends_the_statement_that_a_thread_waits_for(postgres_url: str):
    """Who is interrupted leaves nothing at work behind, and a store that goes on."""
    waiting = b"SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    me = threading.get_ident()
    with contextlib.closing(PostgresStore(postgres_url, busy_timeout=LONG)) as store:
        writer = Writer(store)
        writer.start("a")
        with store.connections.separate() as link:
            link.execute(b"BEGIN")
            lock = "SELECT 1 FROM runs WHERE run_key = ? FOR UPDATE"
            link.execute(store.connections.sql(lock), ("a",))

            def interrupt() -> None:
                wait_until(lambda: link.execute(waiting).fetchone() == (1,), LONG)
                signal.pthread_kill(me, signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                writer.add("a", RunCompleted())
            thread.join(LONG)
            assert (0,) == link.execute(waiting).fetchone()
        assert [1, 2] == [event.version for event in store.read_run("a")]
        assert 3 == writer.add("a", RunCompleted()).view.version
