"""Connections to a server that gives fewer of them than the pool would take."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import pytest

from contracts.grouping import taken
from contracts.kit import LONG, Writer
from faults.kit import wait_until
from lastword.domain.errors import StoreUnavailable
from lastword.domain.events import RunCompleted, RunCreated
from lastword.infrastructure.postgres import PostgresStore, connections
from lastword.infrastructure.postgres.address import parse
from lastword.infrastructure.postgres.clock import ServerClock
from lastword.infrastructure.postgres.links import Link
from lastword.projections.ports import Append, Appended

CREATED = RunCreated(name="import")


@dataclass
class Cramped:
    """A store whose role may have two connections at once."""

    url: str
    role: str
    admin: psycopg.Connection

    def allow(self, number: int) -> None:
        """Let the role have so many from now on."""
        self.admin.execute(f"ALTER ROLE {self.role} CONNECTION LIMIT {number}".encode())

    def end_all(self) -> None:
        """End the sessions of the role."""
        self.admin.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s",
            (self.role,),
        )

    def opened(self, patience: float = LONG) -> contextlib.closing[PostgresStore]:
        """The store, whose threads wait so many seconds for a connection."""
        return contextlib.closing(PostgresStore(self.url, busy_timeout=patience))


@pytest.fixture
def cramped(postgres_url: str, postgres_server: str) -> Iterator[Cramped]:
    role = f"role_{parse(postgres_url).schema}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2".encode())
        schema = parse(postgres_url).schema
        admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {role}".encode())
        cramped = Cramped(postgres_url.replace("postgres@", f"{role}@"), role, admin)
        try:
            yield cramped
        finally:
            cramped.end_all()
            admin.execute(f"DROP OWNED BY {role}".encode())
            admin.execute(f"DROP ROLE {role}".encode())


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@contextlib.contextmanager
def crowded(
    store: PostgresStore, pool: ThreadPoolExecutor, request: Append
) -> Iterator[tuple[Link, Link, Future[Appended | None]]]:
    """The two connections that there are, in use, and an append that waits for one of them."""
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(store.connections.held()) for _ in range(2))
        future = pool.submit(store.append, request)
        wait_until(lambda: store.connections.waiting == 1)
        yield first, second, future


def test_who_gets_no_more_waits_for_one_of_ours(cramped: Cramped, pool: ThreadPoolExecutor):
    """It is no fault of the store, and nothing is put into the spool for it."""
    with cramped.opened() as store:
        with crowded(store, pool, Writer(store).request("a", CREATED)) as (_, _, future):
            assert not future.done()
        assert "a" == taken(future.result(LONG)).view.run_id
        assert 2 == store.connections.open_now
        assert 0 == store.connections.waiting


def test_a_crowd_makes_do_with_two(cramped: Cramped, pool: ThreadPoolExecutor):
    """Each step is taken, by groups that are larger for it."""

    def live(number: int) -> None:
        writer = Writer(store)
        for step in range(10):
            writer.start(f"{number}-{step}")
            writer.add(f"{number}-{step}", RunCompleted(result=step))

    with cramped.opened() as store:
        for future in [pool.submit(live, number) for number in range(8)]:
            future.result(LONG)
        assert 80 == sum(store.counts().values())
        assert 2 == store.connections.open_now
        cramped.allow(3)  # who looks through a whole store has a connection of his own
        assert [] == store.inspect(Writer(store).at)


def test_who_waits_for_one_that_breaks_opens_its_own(cramped: Cramped, pool: ThreadPoolExecutor):
    """There is room then."""
    with cramped.opened() as store:
        with (
            contextlib.suppress(psycopg.OperationalError),
            crowded(store, pool, Writer(store).request("a", CREATED)) as (first, _, future),
        ):
            cramped.end_all()
            first.execute("SELECT 1")
        assert "a" == taken(future.result(LONG)).view.run_id


def test_who_has_none_is_told_at_once(cramped: Cramped):
    """Others have them all: nobody here will give one back."""
    with cramped.opened() as store, contextlib.ExitStack() as stack:
        request = Writer(store).request("a", CREATED)
        cramped.end_all()
        url = cramped.url.partition("?")[0]
        for _ in range(2):
            stack.enter_context(psycopg.connect(url))
        with pytest.raises(StoreUnavailable, match="too many connections"):
            store.append(request)


def test_who_waits_too_long_is_told_what_the_server_said(
    cramped: Cramped, pool: ThreadPoolExecutor
):
    """Not that the pool is in use: it is not."""
    with cramped.opened(patience=0.3) as store:
        request = Writer(store).request("a", CREATED)
        with crowded(store, pool, request) as (_, _, future):
            error = future.exception(LONG)
        assert isinstance(error, StoreUnavailable)
        assert error.transient
        assert "too many connections" in str(error)
        assert 0 == store.connections.waiting
        taken(store.append(request))


def test_who_waits_when_the_store_is_closed_is_told(cramped: Cramped, pool: ThreadPoolExecutor):
    """At once."""
    with cramped.opened() as store:
        with crowded(store, pool, Writer(store).request("a", CREATED)) as (_, _, future):
            store.close()
            error = future.exception(LONG)
        assert isinstance(error, StoreUnavailable)
        assert "found it closed" in str(error)


def test_who_is_interrupted_while_waiting_takes_no_connection_along(cramped: Cramped):
    """The two that there are go to those who still want them."""
    me = threading.get_ident()
    with cramped.opened(patience=2 * LONG) as store:
        request = Writer(store).request("a", CREATED)

        def interrupt() -> None:
            wait_until(lambda: store.connections.waiting == 1, LONG)
            signal.pthread_kill(me, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        with store.connections.held(), store.connections.held():
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                store.append(request)
        thread.join(LONG)
        assert 0 == store.connections.waiting
        with store.connections.held(), store.connections.held():
            assert 2 == store.connections.open_now
        taken(store.append(request))


def test_once_there_is_room_the_pool_grows(
    cramped: Cramped, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    """It asks the server again after a while."""
    with cramped.opened() as store:
        with crowded(store, pool, Writer(store).request("a", CREATED)) as (_, _, future):
            pass
        taken(future.result(LONG))
        cramped.allow(10)
        monkeypatch.setattr(connections, "FULL_SECONDS", 0)
        with store.connections.held(), store.connections.held():
            taken(store.append(Writer(store).request("b", CREATED)))
        assert 3 == store.connections.open_now


def test_a_connection_that_ends_after_its_use_is_no_fault_of_it(cramped: Cramped):
    """What was written is written, though the server cannot be asked for the time any more."""
    with cramped.opened() as store:
        clock = ServerClock(lambda: 0.0)
        store.connections.clock = clock
        with store.connections.held() as link:
            assert not clock.is_fresh
            link.execute("SELECT 1")
            cramped.end_all()
        taken(store.append(Writer(store).request("a", CREATED)))
        assert clock.is_fresh
        assert 1 == store.connections.open_now
