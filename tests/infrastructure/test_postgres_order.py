"""No reader ever passes an event by: transactions are interleaved by hand, each in the way in which one could be missed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from threading import Event, Thread
from uuid import uuid4

import psycopg
import pytest

from contracts.kit import LONG, Writer
from faults.kit import wait_until
from lastword.domain.errors import StoreUnavailable
from lastword.domain.events import RunCompleted, RunCreated
from lastword.infrastructure.postgres import PostgresStore
from lastword.infrastructure.postgres.links import Link
from lastword.infrastructure.postgres.schema import LOCK
from lastword.projections.ports import Append

CREATED = RunCreated(name="import")


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with contextlib.closing(PostgresStore(postgres_url)) as store:
        yield store


Session = Callable[[], Link]


@pytest.fixture
def session(store: PostgresStore) -> Iterator[Session]:
    """Makes connections on which a test takes a writer's steps one by one."""
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(store.connections.separate())


def take(store: PostgresStore, link: Link, count: int = 1) -> int:
    """Begin a transaction that gets positions, and does not end yet; the first of them."""
    link.execute(b"BEGIN")
    row = link.execute(store.connections.sql("SELECT base FROM take(?, NULL)"), (count,)).fetchone()
    assert row is not None
    return row[0]


def put(store: PostgresStore, link: Link, position: int) -> None:
    """Write an event at a position."""
    statement = "INSERT INTO events (position, originator_id, originator_version, topic, state) VALUES (?, ?, 1, 'x', '{}')"
    link.execute(store.connections.sql(statement), (position, f"raw-{position}"))


def seen(store: PostgresStore) -> list[int]:
    """The positions that a follower gets, in batches of one or as many as there are: with each it goes on behind the last."""
    log = [row[0] for batch in store.log() for row in batch]
    assert log == [position for position in log if position <= store.last_position()]
    return log


def test_a_later_position_waits_for_the_earlier_one(store: PostgresStore, session: Session):
    """The earlier one is still being written when the later one is committed."""
    Writer(store).add("a", CREATED)
    slow = session()
    position = take(store, slow)
    later = Writer(store).add("b", CREATED).events[0].position
    assert (2, 3) == (position, later)
    assert [1] == seen(store)
    assert [1] == [event.position for event in store.read(0, 10)]
    assert not store.wait(1, 0.05)
    put(store, slow, position)
    slow.execute(b"COMMIT")
    assert [1, 2, 3] == seen(store)
    assert 3 == store.last_position()


def test_a_position_that_was_given_up_keeps_nobody_waiting(store: PostgresStore, session: Session):
    """Its writer rolled back, or died."""
    slow, dying = session(), session()
    take(store, slow)
    take(store, dying)
    later = Writer(store).add("b", CREATED).events[0].position
    assert [] == seen(store)
    slow.execute(b"ROLLBACK")
    assert [] == seen(store)
    dying.close()
    assert store.wait(0, LONG)
    assert [later] == seen(store)


def test_positions_have_the_order_of_transaction_ids(store: PostgresStore, session: Session):
    """The trap of 'stop below the oldest transaction': an older transaction that gets a later position."""
    early, late = session(), session()
    early.execute(b"BEGIN")
    early.execute(b"SELECT pg_current_xact_id()")  # an id, and no position yet
    position = take(store, late)
    with pytest.raises(psycopg.errors.RaiseException, match="before anything is written"):
        early.execute(store.connections.sql("SELECT base FROM take(1, NULL)"))
    early.execute(b"ROLLBACK")
    put(store, late, position)
    late.execute(b"COMMIT")
    assert [position] == seen(store)


def test_batches_do_not_interleave(store: PostgresStore, session: Session):
    """Each has its positions in a row; the first one that is open holds back all behind it."""
    first, second = session(), session()
    assert (1, 4) == (take(store, first, 3), take(store, second, 2))
    for position in (4, 5):
        put(store, second, position)
    second.execute(b"COMMIT")
    assert [] == seen(store)
    for position in (1, 2, 3):
        put(store, first, position)
    assert [] == seen(store)
    first.execute(b"COMMIT")
    assert [1, 2, 3, 4, 5] == seen(store)


def test_work_of_others_on_the_server_keeps_nobody_waiting(store: PostgresStore, session: Session):
    """A long transaction that writes, in a table of its own, and one that reads ours."""
    other, reader = session(), session()
    other.execute(b"CREATE TEMP TABLE elsewhere (number int)")
    other.execute(b"BEGIN")
    other.execute(b"INSERT INTO elsewhere VALUES (1)")
    reader.execute(b"BEGIN")
    reader.execute(store.connections.sql("SELECT count(*) FROM events"))
    Writer(store).add("a", CREATED)
    assert [1] == seen(store)


def test_a_filtered_reader_stops_at_the_same_place(store: PostgresStore, session: Session):
    """Of the topics it asks for, too, none behind the gap is given."""
    slow = session()
    writer = Writer(store)
    writer.start("a")
    position = take(store, slow)
    writer.add("a", RunCompleted())
    assert [] == store.read(0, 10, ["RunCompleted"])
    slow.execute(b"ROLLBACK")
    assert [position + 1] == [event.position for event in store.read(0, 10, ["RunCompleted"])]


def test_who_waits_is_woken_when_the_gap_is_closed(store: PostgresStore, session: Session):
    """Not earlier; no notification says that a transaction was rolled back."""
    slow = session()
    take(store, slow)
    Writer(store).add("b", CREATED)
    woken = Event()
    thread = Thread(target=lambda: store.wait(0, LONG) and woken.set())
    thread.start()
    assert not woken.wait(0.1)
    slow.execute(b"ROLLBACK")
    assert woken.wait(LONG)
    thread.join(LONG)


def test_a_writer_that_is_cancelled_leaves_no_lock(store: PostgresStore, session: Session):
    """Neither while it waits for its turn nor afterwards: the next one gets in."""
    holder, killer = session(), session()
    key = f"'\"{store.connections.address.schema}\".positions'::regclass::oid::bigint % 2147483648"
    lock = f"SELECT pg_advisory_lock({LOCK}, ({key})::int)".encode()
    holder.execute(lock)
    failed: list[StoreUnavailable] = []

    def write() -> None:
        try:
            Writer(store).add("a", CREATED)
        except StoreUnavailable as error:
            failed.append(error)

    thread = Thread(target=write)
    thread.start()
    waiting = (
        b"SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    )
    until = Event()
    for _ in range(2000):
        if killer.execute(waiting).fetchall():
            break
        until.wait(0.005)
    thread.join(LONG)
    holder.close()
    assert [True] == [error.transient for error in failed]
    assert Writer(store).add("a", CREATED).events[0].version == 1
    ours = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = ({key})::oid"
    wait_until(lambda: killer.execute(ours.encode()).fetchone() == (0,))


def test_a_race_for_one_version_has_one_winner(store: PostgresStore):
    """Also when both begin from the same view; the loser's positions are a gap that nobody waits for."""
    writer = Writer(store)
    view = writer.start("a").view
    first = Append("a", 2, (writer.new(RunCompleted()),), view)
    second = Append("a", 2, (writer.new(RunCompleted()),), view)
    store.append(first)
    with pytest.raises(Exception, match="expected version 2, found version 3"):
        store.append(second)
    last = Writer(store).add("b", CREATED).events[0].position
    assert seen(store)[-1] == last == store.last_position()


def test_what_was_removed_is_cleared_when_the_last_reader_has_gone(
    store: PostgresStore, session: Session
):
    """A session that reads an earlier state keeps it; it is waited for."""
    Writer(store).add("a", CREATED)
    reader, look = session(), session()
    reader.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.execute(store.connections.sql("SELECT count(*) FROM events"))
    cleared: list[bool] = []
    thread = Thread(target=lambda: cleared.append(store.compact(whole=False)))
    thread.start()
    waiting = b"SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(0.05)'"
    wait_until(lambda: look.execute(waiting).fetchone() == (1,))
    assert not cleared
    reader.execute(b"COMMIT")
    thread.join(LONG)
    assert [True] == cleared


@pytest.mark.parametrize("sequence", ["positions", "moments"])
def test_a_role_that_may_not_take_positions_leaves_no_lock(
    store: PostgresStore, postgres_url: str, sequence: str
):
    """It is refused between the lock and its release, and is told; the lock goes with its session, and others write on."""
    schema, role = store.connections.address.schema, f"poor_{uuid4().hex}"
    with store.connections.separate() as link:
        for statement in (
            f'CREATE ROLE "{role}"',
            f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"',
            f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO "{role}"',
            f'GRANT ALL ON ALL SEQUENCES IN SCHEMA "{schema}" TO "{role}"',
            f'REVOKE UPDATE, USAGE ON SEQUENCE "{schema}".{sequence} FROM "{role}"',
        ):
            link.execute(statement.encode())
        try:
            with contextlib.closing(
                PostgresStore(f"{postgres_url}&options=-crole%3D{role}")
            ) as poor:
                for run_id in range(3):
                    with pytest.raises(StoreUnavailable, match=sequence):
                        poor.append(Writer(poor).request(run_id, CREATED))
                    assert 1 == Writer(store).add(run_id, CREATED).events[0].version
        finally:
            link.execute(f'DROP OWNED BY "{role}"'.encode())
            link.execute(f'DROP ROLE "{role}"'.encode())


def test_an_error_ends_the_session_unless_it_is_a_constraint(store: PostgresStore):
    """With it goes the lock under which positions are taken, whatever went wrong."""
    connections = store.connections
    for statement, error, kept in (
        (b"SELECT 1/0", psycopg.errors.DivisionByZero, False),
        (b"SELECT * FROM nowhere", psycopg.errors.UndefinedTable, False),
        (connections.sql("INSERT INTO meta VALUES ('schema', '')"), psycopg.errors.UniqueViolation, True),
    ):  # fmt: skip
        with pytest.raises(error), connections.held() as link:
            link.execute(statement)
        assert kept is not link.closed
