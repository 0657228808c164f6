"""Threads that append at one moment share a transaction on PostgreSQL, too; what each of them is told stays its own."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from breaking.proxy import Proxy, port_of, through
from contracts.grouping import taken
from contracts.kit import LONG, Writer, at_once, seen
from faults.interrupts import interrupted_at
from faults.kit import wait_until
from lastword import RunTracker
from lastword.domain.errors import RunAlreadyActive, StoreUnavailable, VersionConflict
from lastword.domain.events import RunCancelled, RunCompleted, RunCreated, RunEvent
from lastword.domain.status import RunStatus
from lastword.infrastructure.postgres import PostgresStore, grouping
from lastword.infrastructure.postgres.links import Link
from lastword.infrastructure.postgres.turns import SharedTurn
from lastword.projections.ports import Append, Appended
from managing import QUICK
from postgres_server import with_option

CREATED = RunCreated(name="import")


class Ticking:
    """A clock that is a second later each time it is read: a transaction reads it once."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def store(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """One whose threads wait for their turn however long a test makes it."""
    monkeypatch.setattr(grouping, "PATIENCE_SECONDS", LONG)
    with contextlib.closing(PostgresStore(postgres_url, clock=Ticking())) as store:
        yield store


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as pool:
        yield pool


def together(
    store: PostgresStore, pool: ThreadPoolExecutor, requests: list[Append]
) -> list[Future[Appended | None]]:
    """Append each in a thread of its own, in this order, while somebody else has the turn; all of them wait when he is done."""
    turn = store.connections.turn
    futures: list[Future[Appended | None]] = []
    assert turn.acquire()
    for number, request in enumerate(requests, start=1):
        futures.append(pool.submit(store.append, request))
        wait_until(lambda expected=number: turn.waiting == expected)
    turn.release()
    return futures


@contextlib.contextmanager
def locked(store: PostgresStore, run_id: str) -> Iterator[Link]:
    """Somebody has the run's row locked, and does not end."""
    with store.connections.separate() as link:
        link.execute(b"BEGIN")
        link.execute(
            store.connections.sql("SELECT 1 FROM runs WHERE run_key = ? FOR UPDATE"), (run_id,)
        )
        yield link


def test_who_waits_shares_a_transaction(store: PostgresStore, pool: ThreadPoolExecutor):
    """Eight threads, one transaction; a run's own events stay in a row."""
    writer = Writer(store)
    requests = [writer.request(f"run-{number}", CREATED, RunCancelled()) for number in range(8)]
    answers = [taken(future.result(LONG)) for future in together(store, pool, requests)]
    for request, answer in zip(requests, answers, strict=True):
        assert answer.view == store.view(request.run_id)
        assert list(answer.events) == store.read_run(request.run_id)
    log = store.read(0, 100)
    assert list(range(1, 17)) == [event.position for event in log]
    assert 1 == len({event.recorded_at for event in log})
    assert 1 == len(set(store.connections.fetch("SELECT xmin::text FROM events")))
    assert [] == store.inspect(writer.at + timedelta(days=1))


def test_a_refusal_in_a_group_is_the_own_one(store: PostgresStore, pool: ThreadPoolExecutor):
    """A conflict is told to whom it concerns; the others' events are committed."""
    writer = Writer(store)
    view = writer.start("a").view
    requests = [
        writer.request("b", CREATED),
        writer.request("a", RunCompleted(result=1), view=view),
        writer.request("a", RunCancelled(), view=view),
        writer.request("c", CREATED, view=None),
    ]
    futures = together(store, pool, requests)
    kinds = [type(future.exception(LONG)) for future in futures]
    none = type(None)
    assert [none, none, VersionConflict, none] == kinds
    assert RunStatus.COMPLETED == seen(store.view("a")).status
    log = store.read(2, 100)
    assert {"b", "a", "c"} == {event.run_id for event in log}
    assert 1 == len({event.recorded_at for event in log})
    assert [] == store.inspect(writer.at + timedelta(days=1))


def test_events_without_a_row_refuse_nobody_else(store: PostgresStore, pool: ThreadPoolExecutor):
    """The server rolls the group back because of one; the others are taken all the same."""
    writer = Writer(store)
    stray = writer.start("stray").view
    store.connections.run("DELETE FROM runs WHERE run_key = ?", ("stray",))
    requests = [Writer(store).request(run_id, CREATED) for run_id in ("a", "stray", "b")]
    first, second, third = together(store, pool, requests)
    assert "a" == taken(first.result(LONG)).view.run_id
    assert isinstance(second.exception(LONG), VersionConflict)
    assert "b" == taken(third.result(LONG)).view.run_id
    assert stray.version == len(store.read_run("stray"))


def test_who_wants_an_exclusive_key_stands_alone(store: PostgresStore, pool: ThreadPoolExecutor):
    """It may have to wait for another process that wants the same one, and nobody waits with it."""
    writer = Writer(store)
    wish = RunCreated(name="import", exclusive="nightly")
    turn = store.connections.turn
    assert turn.acquire()
    futures = [pool.submit(store.append, writer.request(run_id, wish)) for run_id in ("a", "b")]
    errors = [future.exception(LONG) for future in futures]
    turn.release()
    assert sorted(["NoneType", "RunAlreadyActive"]) == sorted(type(it).__name__ for it in errors)
    assert any(isinstance(error, RunAlreadyActive) for error in errors)


def test_somebody_elses_lock_keeps_one_waiting(store: PostgresStore, pool: ThreadPoolExecutor):
    """The others of its group are committed meanwhile, and it is when the lock is gone."""
    writer = Writer(store)
    for run_id in ("a", "b", "c"):
        writer.start(run_id)
    with locked(store, "b") as link:
        requests = [writer.request(run_id, RunCompleted(result=1)) for run_id in ("a", "b", "c")]
        first, second, third = together(store, pool, requests)
        assert RunStatus.COMPLETED == taken(first.result(LONG)).view.status
        assert RunStatus.COMPLETED == taken(third.result(LONG)).view.status
        assert not second.done()
        link.execute(b"ROLLBACK")
    assert RunStatus.COMPLETED == taken(second.result(LONG)).view.status
    assert [3, 3, 3] == [len(store.read_run(run_id)) for run_id in ("a", "b", "c")]


def test_a_thread_that_waits_for_a_lock_keeps_no_other_waiting(
    postgres_url: str, pool: ThreadPoolExecutor
):
    """Who was not taken along soon goes alone."""
    with contextlib.closing(PostgresStore(postgres_url, busy_timeout=LONG)) as store:
        writer = Writer(store)
        for run_id in ("a", "b"):
            writer.start(run_id)
        with locked(store, "a") as link:
            stuck = pool.submit(store.append, writer.request("a", RunCompleted(result=1)))
            wait_until(lambda: not store.connections.turn.acquire() or _let_go(store))
            began = monotonic()
            assert store.append(writer.request("b", RunCompleted(result=1))) is not None
            assert monotonic() - began < LONG / 4
            assert not stuck.done()
            link.execute(b"ROLLBACK")
        assert RunStatus.COMPLETED == taken(stuck.result(LONG)).view.status


def _let_go(store: PostgresStore) -> bool:
    store.connections.turn.release()
    return False


def test_a_lost_connection_is_told_to_all(
    postgres_url: str, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    """Each by an error of its own. The commit went through: whoever looks finds its events there, once."""
    monkeypatch.setattr(grouping, "PATIENCE_SECONDS", LONG)
    with (
        Proxy(port_of(postgres_url)) as proxy,
        contextlib.closing(PostgresStore(through(proxy, postgres_url))) as store,
    ):
        writer = Writer(store)
        writer.start("warm")
        requests = [writer.request(f"run-{number}", CREATED) for number in range(4)]
        proxy.marker = b"run-2"
        errors = [future.exception(LONG) for future in together(store, pool, requests)]
        assert {StoreUnavailable} == {type(error) for error in errors}
        assert 4 == len({id(error) for error in errors})
        assert all(error.transient for error in errors if isinstance(error, StoreUnavailable))
        assert 1 == proxy.lost
        assert [1] * 4 == [len(store.read_run(request.run_id)) for request in requests]


def test_an_answer_that_got_lost_is_found_by_the_ids_of_the_events(
    postgres_url: str, tmp_path: Path
):
    """Eight threads of a tracker, whose groups lose their answers: nothing is lost, nothing doubled."""
    with (
        Proxy(port_of(postgres_url)) as proxy,
        RunTracker(through(proxy, postgres_url), spool_dir=tmp_path) as tracker,
    ):
        tracker.create("import", run_id="warm")
        proxy.chance = 0.3

        def live(number: int) -> None:
            for life in range(4):
                run_id = f"{number}-{life}"
                for act in (partial(tracker.create, "import"), tracker.start, tracker.complete):
                    act(run_id=run_id)

        at_once(8, live)
        proxy.chance = 0.0
        wait_until(lambda: not tracker.spool_status().events or not tracker.deliver_spool(), LONG)
        whole = ["RunCreated", "RunStarted", "RunCompleted"]
        for number in range(8):
            for life in range(4):
                assert whole == [item.type for item in tracker.history(f"{number}-{life}")]
        assert proxy.lost > 4
        assert tracker.verify().ok


def test_what_the_commit_refuses_was_not_written(store: PostgresStore, pool: ThreadPoolExecutor):
    """An error that comes after the answers of all statements: nobody is told that it was stored."""
    schema = store.connections.address.schema
    with store.connections.separate() as link:
        link.execute(
            f"""
            CREATE FUNCTION "{schema}".refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$
            """.encode()
        )
        link.execute(
            f"""
            CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON "{schema}".events DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION "{schema}".refuse()
            """.encode()
        )
        writer = Writer(store)
        requests = [writer.request(f"run-{number}", CREATED) for number in range(3)]
        errors = [future.exception(LONG) for future in together(store, pool, requests)]
        assert {StoreUnavailable} == {type(error) for error in errors}
        assert 0 == store.last_position()
        link.execute(f'DROP TRIGGER refused ON "{schema}".events'.encode())
    for request in requests:
        assert store.append(request) is not None


def test_who_finds_the_turn_free_writes_at_once(store: PostgresStore):
    """A thread that is alone waits for nobody, and needs one connection."""
    writer = Writer(store)
    writer.start("a")
    assert 0 == store.connections.turn.waiting
    assert store.connections.open_now <= 2  # one more for the notifications


def events_of(store: PostgresStore) -> list[RunEvent]:
    return [item.event for item in store.read(0, 100)]


def test_without_prepared_statements_groups_are_the_same(
    postgres_url: str, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    """Behind a pooler that hands connections on after each transaction."""
    monkeypatch.setattr(grouping, "PATIENCE_SECONDS", LONG)
    with contextlib.closing(PostgresStore(f"{postgres_url}&prepare=off")) as store:
        writer = Writer(store)
        requests = [writer.request(f"run-{number}", CREATED) for number in range(6)]
        answers = [taken(future.result(LONG)) for future in together(store, pool, requests)]
        assert [request.run_id for request in requests] == [it.view.run_id for it in answers]
        assert 1 == len(set(store.connections.fetch("SELECT xmin::text FROM events")))
        assert [CREATED] * 6 == events_of(store)


@pytest.mark.parametrize("alone", [True, False])
def test_an_interrupt_anywhere_in_an_append_leaves_nothing_held(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
):
    """This process and others write as before, and nobody is taken to be at work; of one who finds nobody, and of one who leads a group."""
    url, where, number = with_option(postgres_url, "pool_size", "100"), "", 0
    gc.collect()
    gc.disable()  # what an earlier tracker left is not to be interrupted
    try:
        with (
            RunTracker(url, spool_dir=tmp_path, **QUICK) as tracker,
            RunTracker(url, spool_dir=tmp_path, **QUICK) as other,
        ):
            store = tracker.store
            assert isinstance(store, PostgresStore)
            tracker.start(tracker.create("import"))  # what is looked up once is known from here on
            while where is not None:
                number += 1
                run_id = tracker.create("import")
                with monkeypatch.context() as patched:
                    if not alone:
                        patched.setattr(SharedTurn, "take_alone", lambda _: False)
                    where = interrupted_at(number, lambda: tracker.start(run_id))  # noqa: B023  # it is called at once
                for one in (tracker, other):
                    assert "pending" == one.get(one.create("import")).status, where
                assert store.connections.turn.take_alone(), where
                store.connections.turn.release()
            for link in store.connections._links:  # some were left open on the way
                link.close()
    finally:
        gc.enable()
    assert number > 20
