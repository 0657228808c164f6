"""What every store promises about removing runs and rewriting events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import cycle
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.appending import SHARED
from contracts.keeping import Behind
from contracts.kit import MovingClock, Writer
from contracts.traveling import Step, happen, steps
from lastword.domain.errors import StoreCorrupt, VersionConflict
from lastword.domain.events import (
    OutcomeContradicted,
    RecordedEvent,
    RunCompleted,
    RunCreated,
    RunErased,
    RunProgressed,
    RunsArchived,
)
from lastword.domain.leaves import Leaves
from lastword.domain.status import RunStatus
from lastword.infrastructure.mapper import recorded_event
from lastword.projections.ports import NewEvent, Removed, Rewrite, RunStore, StoredRow
from lastword.projections.queries import RunQuery
from lastword.projections.verifying import verify
from lastword.testing import START

FAR = START + timedelta(days=365)


def tombstone(rows: Sequence[StoredRow]) -> NewEvent:
    """A record with what the store says that it removes."""
    places = ((row[0], bytes(32)) for row in rows)
    event = RunsArchived(runs=1, file="a", fingerprint="", leaves=Leaves.of(places))
    return NewEvent(uuid4().hex, event, START)


def places_of(recorded: RecordedEvent) -> list[int]:
    assert isinstance(recorded.event, RunsArchived)
    return [position for position, _ in recorded.event.leaves.pairs()]


class Removing:
    """What is removed is gone, everywhere, and on record."""

    def test_finished_runs_are_told_with_their_versions(
        self, store: RunStore, clock: MovingClock
    ) -> None:
        """Those whose last word happened before the moment, in the type their ids were created with; never an active one."""
        writer = Writer(store)
        writer.start(1)
        writer.start("2")
        writer.start(3)
        ended = writer.add(1, RunCompleted()).view.finished_at
        writer.add("2", RunCompleted())
        writer.add(1, OutcomeContradicted(claimed=RunStatus.FAILED))
        assert ended is not None
        assert [] == store.finished(ended)
        assert [(1, 4)] == store.finished(ended + timedelta(microseconds=1))
        assert [("2", 3), (1, 4)] == store.finished(FAR)

    def test_a_removed_run_is_gone_and_on_record(self, store: RunStore) -> None:
        """No answer knows it any more; its record stands in the log, and belongs to no run."""
        writer = Writer(store)
        writer.start(1, tags={"team": "data"})
        writer.start(2, tags={"team": "data"})
        writer.add(1, RunProgressed(current=1), RunCompleted(result=1))
        assert Removed(1, 4) == store.remove_runs([(1, 4)], tombstone)
        assert ([], None) == (store.read_run(1), store.view(1))
        assert [2] == [view.run_id for view in store.query(RunQuery(tags={"team": "data"}))]
        assert {status: int(status == "running") for status in RunStatus} == store.counts()
        (record,) = store.store_events()
        assert ("", True, 1) == (record.run_id, record.is_of_store, record.version)
        assert [1, 2, 5, 6] == places_of(record)
        assert [3, 4, 7] == [event.position for event in store.read(0, 10)]
        assert (True, 1) == ((report := verify(store.scan())).ok, report.runs)
        assert [] == store.inspect(FAR)

    def test_positions_are_never_given_out_again(self, store: RunStore) -> None:
        """Also those of the newest events, although a table would do so."""
        writer = Writer(store)
        writer.start(1)
        newest = writer.add(1, RunCompleted()).view.position
        store.remove_runs([(1, 3)], tombstone)
        assert newest + 2 == writer.start(2).events[0].position

    def test_an_id_can_be_used_again(self, store: RunStore) -> None:
        """For the store it is as if the run had never been."""
        writer = Writer(store)
        writer.start(1)
        writer.add(1, RunCompleted())
        store.remove_runs([(1, 3)], tombstone)
        del writer.views["1"]
        assert 1 == writer.add(1, RunCreated(name="import")).view.version

    def test_what_has_moved_on_stays(self, store: RunStore) -> None:
        """An active run, a run with news, and a run that is not there: nothing is removed, and nothing is on record."""
        writer = Writer(store)
        writer.start(1)
        writer.start(2)
        writer.add(2, RunCompleted(), OutcomeContradicted(claimed=RunStatus.FAILED))
        newest = store.last_position()
        assert Removed(0, 0) == store.remove_runs([(1, 2), (2, 3), (9, 1)], tombstone)
        assert newest == store.last_position()

    def test_records_are_numbered_and_time_does_not_go_back(
        self, store: RunStore, clock: MovingClock
    ) -> None:
        """They lie in the log like all other events."""
        writer = Writer(store)
        for run_id in (1, 2):
            writer.start(run_id)
            writer.add(run_id, RunCompleted())
        for run_id in (1, 2):
            clock.advance(-60)
            store.remove_runs([(run_id, 3)], tombstone)
        one, two = store.store_events()
        assert ([1, 2], True) == ([one.version, two.version], one.recorded_at <= two.recorded_at)
        assert [two] == list(store.store_events(one.position))

    def test_a_failure_on_the_way_removes_nothing(self, store: RunStore) -> None:
        """The record and the removal are one transaction."""
        writer = Writer(store)
        writer.start(1)
        view = writer.add(1, RunCompleted()).view

        def fail(rows: Sequence[StoredRow]) -> NewEvent:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.remove_runs([(1, 3)], fail)
        assert (view, []) == (store.view(1), [*store.store_events()])

    def test_rewritten_events_take_the_place_of_the_old_ones(self, store: RunStore) -> None:
        """The row is the fold of what is there now, with its tags; the other run is as it was."""
        writer = Writer(store)
        writer.start(1, tags={"team": "data"}, params={"folder": "in"})
        other = writer.start(2).view
        view = writer.add(1, RunCompleted(result=1)).view
        created, _, completed = store.read_run(1)
        changed = (
            created.model_copy(
                update={
                    "event": RunCreated(name="import", tags={"a": "b"}),
                    "actor": "x",
                    "correlation_id": "y",
                }
            ),
            completed.model_copy(update={"event": RunCompleted(result=2)}),
        )
        record = writer.new(RunErased(reason="a letter"))
        found = store.rewrite(Rewrite(1, 3, changed, record))
        assert (found, other) == (store.view(1), store.view(2))
        assert ({"a": "b"}, {}, 2, 4, view.position + 1) == (
            found.tags,
            found.params,
            found.result,
            found.version,
            found.position,
        )
        history = store.read_run(1)
        assert changed == (history[0], history[2])
        assert record.event == history[3].event
        assert [1] == [it.run_id for it in store.query(RunQuery(tags={"a": "b"}))]
        assert [] == [*store.query(RunQuery(tags={"team": "data"})), *store.inspect(FAR)]
        assert verify(store.scan()).ok
        assert store.compact(whole=False)
        assert store.compact(whole=True)
        assert found == store.view(1)

    def test_a_run_that_has_moved_on_is_not_rewritten(self, store: RunStore) -> None:
        """What was planned does not fit any more; nothing is written."""
        writer = Writer(store)
        writer.start(1)
        view = writer.add(1, RunCompleted()).view
        record = writer.new(RunErased())
        with pytest.raises(VersionConflict):
            store.rewrite(Rewrite(1, 2, tuple(store.read_run(1)[:1]), record))
        assert view == store.view(1)

    def test_a_run_without_a_row_is_not_rewritten(self, store: RunStore, behind: Behind) -> None:
        """It is repaired first."""
        writer = Writer(store)
        writer.start(1)
        behind("DELETE FROM runs")
        with pytest.raises(StoreCorrupt, match="expected a row for its events, found none"):
            store.rewrite(Rewrite(1, 2, (), writer.new(RunErased())))
        assert 2 == len(store.read_run(1))

    def test_a_run_whose_row_is_wrong_is_not_removed(self, store: RunStore, behind: Behind) -> None:
        """What a file would hold is not what people have seen."""
        writer = Writer(store)
        writer.start(1)
        writer.add(1, RunCompleted())
        behind("UPDATE runs SET name = 'other'")
        with pytest.raises(StoreCorrupt, match=r"^run 1: expected a row .* `lastword verify`$"):
            store.remove_runs([(1, 3)], tombstone)
        assert 3 == len(store.read_run(1))

    @settings(SHARED, max_examples=15)
    @given(
        steps, st.lists(st.booleans(), min_size=40, max_size=40)
    )  # drawn before the store is asked
    def test_the_others_are_as_they_were(
        self, store: RunStore, clock: MovingClock, history: list[Step], gone_or_not: list[bool]
    ) -> None:
        """Whatever happened: the rest of the store is what it was, before and after a rebuild."""
        happen(store, clock, history)
        finished = store.finished(clock.now + timedelta(days=9))
        chosen = [run for run, gone in zip(finished, cycle(gone_or_not), strict=False) if gone]
        keys = {str(run_id) for run_id, _ in chosen}
        kept = [run for run in store.scan() if str(run.run_id) not in keys]
        if chosen:
            assert len(chosen) == store.remove_runs(chosen, tombstone).runs
        assert kept == list(store.scan())
        assert [] == store.inspect(FAR)
        store.rebuild()
        assert kept == list(store.scan())
        positions = [row[0] for batch in store.log() for row in batch]
        recorded = [recorded_event(row) for batch in store.log() for row in batch]
        removed = [place for item in recorded if item.is_of_store for place in places_of(item)]
        assert [*range(1, store.last_position() + 1)] == sorted({*positions, *removed})
