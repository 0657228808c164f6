"""What every store promises about becoming the copy of another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from contracts.kit import MovingClock, Writer, seen
from contracts.removing import FAR, tombstone
from lastword.domain.errors import StoreUnavailable
from lastword.domain.events import CancellationRequested, RunCompleted, RunCreated, RunProgressed
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.ports import Copied, Lease, RunStore, StoredRow
from lastword.projections.queries import RunQuery
from lastword.projections.verifying import verify
from lastword.testing import OWNER, START


def copy_of(source: RunStore, after: int = 0, leases: Sequence[Lease] = ()) -> Copied:
    return Copied(source.store_id(), after, source.log(after), leases or source.leases())


def everything(store: RunStore) -> list[StoredRow]:
    return [tuple(row) for batch in store.log() for row in batch]


class Restoring:
    """The copy is the same in all that can be asked."""

    @pytest.fixture
    def source(self, clock: MovingClock) -> Iterator[SQLiteStore]:
        """Ids of both types, tags, an active run, an archived one, and numbers and texts at the edge of what can be stored."""
        store = SQLiteStore(":memory:", clock=clock)
        writer = Writer(store)
        writer.start("gone")
        writer.add("gone", RunCompleted())
        store.remove_runs([("gone", 3)], tombstone)
        writer.start(17, tags={"team": "däta"}, params={"deep": [1.5, None, {"a": "\x00"}]})
        writer.add(17, RunProgressed(current=2**70, total=0.1, message="a\tb\u2028"))
        clock.advance(60)
        writer.add(17, RunCompleted(result={"rows": 10}))
        writer.start("17-b", exclusive="key", correlation_id="c")
        writer.add("17-b", CancellationRequested(actor="ann"))
        store.renew_lease(OWNER, START + timedelta(seconds=90))
        yield store
        store.close()

    def test_a_copy_is_the_same_store(self, store: RunStore, source: SQLiteStore) -> None:
        """Log and id to the byte; rows, leases and records of what was archived too."""
        assert len(everything(source)) == store.restore(copy_of(source))
        store.rebuild()
        assert everything(source) == everything(store)
        assert source.store_id() == store.store_id()
        assert source.leases() == store.leases()
        assert [*source.query(RunQuery(limit=9))] == [*store.query(RunQuery(limit=9))]
        assert [*source.query(RunQuery(tags={"team": "däta"}))] == [
            *store.query(RunQuery(tags={"team": "däta"}))
        ]
        assert source.counts() == store.counts()
        assert source.finished(FAR) == store.finished(FAR)
        assert [*source.store_events()] == [*store.store_events()]
        assert source.past(START + timedelta(seconds=30)) == store.past(
            START + timedelta(seconds=30)
        )
        assert [True, []] == [verify(store.scan()).ok, store.inspect(FAR)]

    def test_a_copy_goes_on_by_itself(self, store: RunStore, source: SQLiteStore) -> None:
        """The next position lies behind all that came with the copy, and what holds an exclusive key still holds it."""
        store.restore(copy_of(source))
        store.rebuild()
        writer = Writer(store)
        assert source.last_position() < writer.add("new", RunCreated(name="import")).view.position
        writer.views["17-b"] = seen(store.view("17-b"))
        assert 4 == writer.add("17-b", RunCompleted()).view.version

    def test_a_copy_is_brought_up_to_date(self, store: RunStore, source: SQLiteStore) -> None:
        """What came behind a position goes behind it."""
        store.restore(copy_of(source))
        store.rebuild()
        before = source.last_position()
        Writer(source).start("late")
        assert 2 == store.restore(copy_of(source, before))
        store.rebuild()
        assert everything(source) == everything(store)
        assert source.view("late") == store.view("late")

    def test_a_store_that_has_moved_on_stays_as_it_is(
        self, store: RunStore, source: SQLiteStore
    ) -> None:
        """Somebody wrote between the question and the copy."""
        own = Writer(store).start("own").view
        store_id = store.store_id()
        with pytest.raises(StoreUnavailable, match="expected position 0 as the newest, found 2"):
            store.restore(copy_of(source))
        assert (own, 2, store_id) == (store.view("own"), store.last_position(), store.store_id())

    def test_a_failure_on_the_way_leaves_nothing(
        self, store: RunStore, source: SQLiteStore
    ) -> None:
        """Events, leases and id come in one transaction."""
        store_id = store.store_id()

        def broken() -> Iterator[Sequence[StoredRow]]:
            yield next(source.log())
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.restore(copy_of(source)._replace(log=broken()))
        assert ([], [], store_id) == (everything(store), store.leases(), store.store_id())

    def test_a_lease_that_came_along_never_goes_back(
        self, store: RunStore, source: SQLiteStore
    ) -> None:
        """The later beat counts, wherever it was heard."""
        (lease,) = source.leases()
        later = lease._replace(renewed_at=lease.renewed_at + timedelta(seconds=5))
        store.restore(copy_of(source, leases=[later]))
        store.restore(Copied(source.store_id(), source.last_position(), (), [lease]))
        assert [later] == store.leases()
