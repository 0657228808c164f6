"""Imports into PostgreSQL: how often the server is asked, what it has to read, and what others do meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from breaking.proxy import Proxy, port_of, through
from contracts.importing import CREATED, HISTORY, LIFE, history, placed, sound
from faults.kit import wait_until
from lastword.domain.errors import InvalidInput, StoreUnavailable
from lastword.domain.events import RecordedEvent, RunCompleted, RunCreated, RunStarted
from lastword.infrastructure.postgres import PostgresStore, importing
from lastword.infrastructure.storing.importing import Staged
from lastword.projections.importing import ImportReport
from lastword.testing import OWNER, recorded
from postgres_server import with_option

RUNS = 400
EVENTS = 3 * RUNS
FEW_TURNS = 120
"""Round trips of one import of so many events: far fewer than events, runs or owners."""


@pytest.fixture(scope="module")
def many() -> list[RecordedEvent]:
    """Histories of runs that each had a process of its own, as `lastword run` makes them."""
    events: list[RecordedEvent] = []
    for number in range(RUNS):
        owner = OWNER.model_copy(
            update={"started_at": OWNER.started_at + timedelta(seconds=number)}
        )
        life = recorded(
            CREATED, RunStarted(owner=owner), RunCompleted(result=number), run_id=f"run-{number}"
        )
        events += [
            event.model_copy(update={"event_id": f"{3 * number + place:032x}"})
            for place, event in enumerate(life)
        ]
    return events


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(port_of(postgres_url)) as proxy:
        yield proxy


@pytest.fixture
def store(postgres_url: str, proxy: Proxy) -> Iterator[PostgresStore]:
    with contextlib.closing(PostgresStore(through(proxy, postgres_url))) as store:
        yield store


def test_no_event_needs_a_round_trip_of_its_own(
    store: PostgresStore, proxy: Proxy, many: list[RecordedEvent]
) -> None:
    """Neither a new one nor one that the store has, nor one that stands in the file twice."""
    half = many[: EVENTS // 2]
    for events, added in ((half, EVENTS // 2), (many, EVENTS // 2), (many, 0), (many * 2, 0)):
        before = proxy.turns
        assert (len(events), added) == (
            (report := store.import_runs(placed(*events))).events,
            report.added,
        )
        assert proxy.turns - before < FEW_TURNS
    assert sound(store)


def test_events_in_an_older_shape_need_none_either(
    store: PostgresStore, proxy: Proxy, many: list[RecordedEvent]
) -> None:
    """They are compared here, field by field; the store's own stand."""
    store.import_runs(placed(*many))
    older = rb"convert_to(replace(convert_from(state, 'UTF8'), '{', '{ '), 'UTF8')"
    store.connections.run(f"UPDATE events SET state = {older.decode()}")
    before = proxy.turns
    assert ImportReport(events=EVENTS, runs=RUNS) == store.import_runs(placed(*many))
    assert proxy.turns - before < FEW_TURNS


def test_many_owners_are_not_read_once_a_run(
    postgres_server: str, postgres_url: str, many: list[RecordedEvent]
) -> None:
    """The rows of owners that the server reads grow with the runs, not with their square."""
    url = with_option(postgres_url, "application_name", "many_owners")
    with contextlib.closing(PostgresStore(url)) as store:
        store.import_runs(placed(*many))
        schema = store.connections.address.schema
    with psycopg.connect(postgres_server, autocommit=True) as server:

        def ended() -> bool:  # a session tells its numbers when it ends
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            return server.execute(sessions, ("many_owners",)).fetchone() == (0,)

        wait_until(ended)
        row = server.execute(
            "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_all_tables"
            " WHERE schemaname = %s AND relname = 'owners'",
            (schema,),
        ).fetchone()
    assert row is not None
    assert row[0] <= 10 * RUNS


def test_a_rebuild_asks_for_owners_together(
    postgres_url: str, proxy: Proxy, many: list[RecordedEvent]
) -> None:
    """Also one of a copy, which has none of them yet: none costs a round trip, or a commit, of its own."""
    with contextlib.closing(PostgresStore(postgres_url)) as store:
        store.import_runs(placed(*many))
        store.connections.run("DELETE FROM owners WHERE id % 2 = 0")
    with contextlib.closing(PostgresStore(through(proxy, postgres_url))) as store:
        before = proxy.turns
        assert RUNS == store.rebuild()
        assert proxy.turns - before < FEW_TURNS
        assert sound(store)
        assert [(RUNS,)] == store.connections.fetch("SELECT count(*) FROM owners")


def test_another_history_that_comes_at_the_last_moment_is_refused(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its versions are there then, and none of them has been compared."""
    compare = Staged.compare

    def interrupted(staged: Staged, after: int) -> None:
        compare(staged, after)
        monkeypatch.undo()
        store.import_runs(placed(*history(RunCreated(name="another"), *LIFE[1:])))

    store.import_runs(placed(*history(CREATED, run_id="early", first=20)))
    monkeypatch.setattr(Staged, "compare", interrupted)
    with pytest.raises(InvalidInput, match=r"line 1, field data: .* as the store has it"):
        store.import_runs(placed(*HISTORY))
    assert sound(store)


def test_an_import_does_not_wait_long_for_a_transaction_that_stays_open(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All writers would wait behind it."""
    monkeypatch.setattr(importing, "_LOCK_SECONDS", 0.2)
    schema = store.connections.address.schema
    with contextlib.closing(psycopg.connect(postgres_url.partition("?")[0])) as writer:
        writer.execute(f'LOCK TABLE "{schema}".events IN ROW EXCLUSIVE MODE'.encode())
        with pytest.raises(StoreUnavailable, match="look for a transaction that stays") as caught:
            store.import_runs(placed(*HISTORY))
    assert caught.value.transient
    assert 3 == store.import_runs(placed(*HISTORY)).added


def test_a_repeat_waits_for_nobody(postgres_url: str, many: list[RecordedEvent]) -> None:
    """There is nothing to write, so it keeps no writer waiting either."""
    hasty = with_option(postgres_url, "options", "-clock_timeout%3D500")
    with contextlib.closing(PostgresStore(hasty)) as store:
        store.import_runs(placed(*many))
        schema = store.connections.address.schema
        with contextlib.closing(psycopg.connect(postgres_url.partition("?")[0])) as writer:
            lock = f'LOCK TABLE "{schema}".runs, "{schema}".events IN ROW EXCLUSIVE MODE'
            writer.execute(lock.encode())
            assert 0 == store.import_runs(placed(*many)).added
