"""From a URL to a store in PostgreSQL: many at once, without rights, after a fork, on hosts whose clocks differ."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import psycopg
import pytest

from contracts.kit import LONG, Writer
from faults.kit import wait_until
from lastword import RunTracker
from lastword.domain.errors import InvalidInput, StoreCorrupt, StoreUnavailable, UnsupportedSchema
from lastword.domain.events import RunCreated
from lastword.infrastructure import clock, opening
from lastword.infrastructure.postgres import PostgresStore
from lastword.infrastructure.postgres.address import parse
from lastword.infrastructure.postgres.clock import ServerClock
from lastword.infrastructure.postgres.waiting import channel_of, listening, notify
from lastword.projections.run_view import PROJECTION_VERSION
from postgres_server import with_option

CREATED = RunCreated(name="import")


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with contextlib.closing(PostgresStore(postgres_url)) as store:
        yield store


def test_ten_processes_that_begin_at_once_make_one_store(postgres_url: str):
    """None of them fails, and all have the same store."""
    code = "import sys; from lastword import RunTracker; print(RunTracker(sys.argv[1]).store.store_id())"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, postgres_url], stdout=subprocess.PIPE, text=True
        )
        for _ in range(10)
    ]
    told = [process.communicate(timeout=120)[0] for process in processes]
    assert [0] * 10 == [process.returncode for process in processes]
    assert 1 == len(set(told))


def test_a_role_that_may_not_create_is_told_what_to_grant(postgres_url: str, postgres_server: str):
    """With what it has, once an owner has made the store, it can do the rest."""
    role = f"role_{parse(postgres_url).schema}"
    schema = parse(postgres_url).schema
    url = postgres_url.replace("postgres@", f"{role}@")
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN".encode())
        try:
            with pytest.raises(
                StoreUnavailable, match=f'CREATE SCHEMA "{schema}" AUTHORIZATION "{role}"'
            ) as caught:
                PostgresStore(url)
            assert not caught.value.transient
            PostgresStore(postgres_url).close()
            for grant in (
                f"GRANT USAGE ON SCHEMA {schema} TO {role}",
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
                f"GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
            ):
                admin.execute(grant.encode())
            with RunTracker(url) as tracker:
                tracker.create("import", run_id=1)
                tracker.start(1)
                tracker.complete(1)
                assert tracker.verify().ok
        finally:
            admin.execute(f"DROP OWNED BY {role}".encode())
            admin.execute(f"DROP ROLE {role}".encode())


def test_a_store_of_a_newer_release_is_refused(store: PostgresStore, postgres_url: str):
    """It says which."""
    store.connections.run("UPDATE meta SET value = '99' WHERE key = 'schema'")
    with pytest.raises(UnsupportedSchema, match="99"):
        PostgresStore(postgres_url)


def test_a_schema_of_something_else_is_left_alone(postgres_url: str, postgres_server: str):
    """Its tables are not touched."""
    schema = parse(postgres_url).schema
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {schema}".encode())
        admin.execute(f"CREATE TABLE {schema}.events (number int)".encode())
        with pytest.raises(StoreCorrupt, match="something else"):
            PostgresStore(postgres_url)
        assert admin.execute(f"SELECT count(*) FROM {schema}.events".encode()).fetchone() == (0,)


def test_rows_of_an_older_fold_are_computed_anew(store: PostgresStore, postgres_url: str):
    """At the next opening, before anybody reads them."""
    view = Writer(store).start("a", tags={"k": "v"}).view
    store.connections.run("UPDATE runs SET name = 'old'")
    store.connections.run("UPDATE meta SET value = '0' WHERE key = 'projection'")
    with contextlib.closing(PostgresStore(postgres_url)) as again:
        assert again.view("a") == view
        found = again.connections.fetch("SELECT value FROM meta WHERE key = 'projection'")
        assert found == [(str(PROJECTION_VERSION),)]


def test_another_isolation_is_refused(postgres_url: str):
    """Readers would see one state for ever, where they have to see more with each statement."""
    url = with_option(postgres_url, "options", "-cdefault_transaction_isolation%3Dserializable")
    with pytest.raises(StoreUnavailable, match="ALTER ROLE") as caught:
        PostgresStore(url)
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("schema=no-name", "schema"),
        ("pool_size=0", "pool_size"),
        ("prepare=maybe", "prepare"),
        ("nonsense=1", "nonsense"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: str, said: str):
    """Before anything is asked of a server."""
    with pytest.raises(InvalidInput, match=said):
        PostgresStore(f"postgresql://127.0.0.1:1/runs?{options}")


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """The extra by its name."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnavailable, match=r"pip install 'lastword\[postgres\]'"):
        opening.open_store("postgresql://127.0.0.1/runs")


def test_a_child_uses_no_connection_of_its_parent(store: PostgresStore):
    """It opens its own, and the parent's go on when it has ended."""
    Writer(store).add("parent", CREATED)
    pid = os.fork()
    if pid == 0:
        try:
            Writer(store).add("child", CREATED)
            os._exit(0)
        except BaseException:  # noqa: BLE001  # the child must not run the parent's tests
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    Writer(store).add("after", CREATED)
    assert {event.run_id for event in store.read(0, 10)} == {"parent", "child", "after"}


# -- clocks


def test_hosts_whose_clocks_differ_agree(postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    """Nobody's wall clock counts: a beat of a host that is late is no silence, and one of a host that is early hides none."""

    def host(minutes: int) -> RunTracker:
        class Wrong(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # what our clock calls
                return datetime.now(UTC) + timedelta(minutes=minutes)

        monkeypatch.setattr(clock, "datetime", Wrong)
        return RunTracker(postgres_url, lease=30)

    with host(-7) as late, host(7) as early:
        late.create("import", run_id=1)
        late.start(1)
        early.create("import", run_id=2)
        early.start(2)
        for tracker in (late, early):
            assert tracker.flagged() == []
            assert tracker.sweep() == []
            away = abs(tracker.get(1).created_at - datetime.now(UTC))
            assert away < timedelta(seconds=30)
        soon = early.clock() + timedelta(minutes=5)
        assert {view.run_id for view in late.flagged(soon)} == {1, 2}


def test_the_servers_clock_goes_on_by_what_has_passed(store: PostgresStore):
    """It is asked once, and then measured."""
    elapsed = [100.0]
    server = ServerClock(lambda: elapsed[0])
    with store.connections.held() as link:
        server.set(link)
    first = server()
    elapsed[0] += 12.5
    assert server() - first == timedelta(seconds=12.5)
    assert server.is_fresh
    elapsed[0] += 60
    assert not server.is_fresh


# -- waiting


def test_another_process_is_heard_soon(store: PostgresStore, postgres_url: str):
    """By a notification, long before it would look by itself."""
    listener = listening(store.connections)
    wait_until(lambda: listener.works)
    with contextlib.closing(PostgresStore(postgres_url)) as other:
        taken: list[float] = []
        for number in range(5):
            heard = Event()
            after = store.last_position()
            began: list[float] = []

            def wait(after: int = after, heard: Event = heard, began: list[float] = began) -> None:
                if store.wait(after, LONG):
                    taken.append(monotonic() - began[0])
                    heard.set()

            thread = Thread(target=wait)
            thread.start()
            began.append(monotonic())
            Writer(other).add(number, CREATED)
            assert heard.wait(LONG)
            thread.join(LONG)
    assert sorted(taken)[2] < 0.5  # it looks by itself once a second


def test_a_notification_that_is_lost_loses_nothing(store: PostgresStore, postgres_url: str):
    """Who waits looks by itself, too."""
    with contextlib.closing(PostgresStore(postgres_url)) as other:
        other._ringer._send = lambda: None  # type: ignore[method-assign]  # nobody is told
        heard = Event()
        thread = Thread(target=lambda: store.wait(0, LONG) and heard.set())
        thread.start()
        Writer(other).add("a", CREATED)
        assert heard.wait(LONG)
        thread.join(LONG)


def test_nobody_is_notified_while_nobody_listens(store: PostgresStore, postgres_url: str):
    """Who writes learns within moments that somebody does, and that he has gone."""
    channel = channel_of(store.connections)
    assert not notify(store.connections, channel)
    other = PostgresStore(postgres_url)
    listener = listening(other.connections)
    wait_until(lambda: listener.works)
    assert notify(store.connections, channel)
    other.close()
    wait_until(lambda: not notify(store.connections, channel))


def test_who_begins_to_listen_waits_for_no_writer_to_notice(
    store: PostgresStore, postgres_url: str
):
    """A writer whom nobody heard so far is heard at once."""
    writer = Writer(store)
    writer.add("a", CREATED)
    with contextlib.closing(PostgresStore(postgres_url)) as other:
        after = other.last_position()
        for number in range(10):
            thread = Thread(target=writer.add, args=(number, CREATED))
            began = monotonic()
            thread.start()
            assert other.wait(after + number, LONG)
            assert monotonic() - began < 1
            thread.join(LONG)


def test_a_listener_that_is_cut_off_connects_again(store: PostgresStore, postgres_server: str):
    """And hears what comes then."""
    listener = listening(store.connections)
    wait_until(lambda: listener.works)
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        ended = admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = %s",
            (f'LISTEN "{channel_of(store.connections)}"',),
        ).fetchone()
        assert ended == (1,)
    wait_until(lambda: not listener.works)
    wait_until(lambda: listener.works)


def test_the_pool_has_an_end(postgres_url: str):
    """Who gets no connection in time is told how many there are."""
    url = with_option(postgres_url, "pool_size", "1")
    with contextlib.closing(PostgresStore(url, busy_timeout=0.2)) as store:
        with store.connections.held(), pytest.raises(StoreUnavailable, match="all 1 in use"):
            store.append(Writer(store).request("a", CREATED))
        Writer(store).add("a", CREATED)


def test_the_spool_of_a_server_lies_in_the_users_folder(postgres_url: str, tmp_path: Path):
    """Or below the one that is named; by the store's name, without credentials."""
    with RunTracker(postgres_url, spool_dir=tmp_path) as tracker:
        assert tracker.spool_folder is not None
        assert tracker.spool_folder.parent == tmp_path
