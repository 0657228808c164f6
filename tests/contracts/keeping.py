"""What every store promises about leases, rebuilding, scanning and closing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from contracts.appending import CREATED
from contracts.asking import populate
from contracts.kit import MovingClock, Writer, seen
from lastword.domain.errors import StoreCorrupt, StoreUnavailable
from lastword.domain.events import RunCompleted, RunCreated, RunProgressed
from lastword.domain.status import RunStatus
from lastword.infrastructure.mapper import recorded_event
from lastword.projections.ports import RunStore, SoundRuns
from lastword.projections.problems import ProblemKind
from lastword.projections.queries import RunQuery
from lastword.projections.run_view import RunView, fold_view
from lastword.projections.verifying import problems_of
from lastword.testing import OTHER_OWNER, OWNER, START

HOUR = timedelta(hours=1)


def _minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


Reopen = Callable[[], RunStore]
Behind = Callable[[str], object]


def rows(store: RunStore) -> list[RunView]:
    """All rows as they lie there."""
    return [run.row for run in store.scan() if run.row is not None]


def _summed(store: RunStore) -> list[SoundRuns]:
    """All that a check counted as sound."""
    sound = [run for run in store.check() if isinstance(run, SoundRuns)]
    return [SoundRuns(sum(one.runs for one in sound), sum(one.events for one in sound))]


class Keeping:
    """The store looks after itself."""

    # -- leases

    def test_a_lease_is_a_sign_of_life_of_all_its_owners_runs(self, store: RunStore):
        """Of the running ones, wherever a view comes from; the row itself is not touched."""
        writer = Writer(store)
        before = writer.start("mine").view
        writer.start("also mine")
        other = writer.start("another's", OTHER_OWNER).view
        renewed = START + HOUR
        store.renew_lease(OWNER, renewed)
        expected = before.model_copy(update={"last_seen_at": renewed})
        assert store.view("mine") == expected
        assert next(view for view in store.active() if view.run_id == "mine") == expected
        assert next(view for view in store.query(RunQuery()) if view.run_id == "mine") == expected
        assert seen(store.view("also mine")).last_seen_at == renewed
        assert store.view("another's") == other
        assert before in rows(store)

    def test_a_lease_never_goes_back(self, store: RunStore):
        """Neither behind an earlier renewal nor behind the run's own events."""
        writer = Writer(store)
        started = writer.start("a").view.last_seen_at
        store.renew_lease(OWNER, START - HOUR)
        assert seen(store.view("a")).last_seen_at == started
        store.renew_lease(OWNER, START + HOUR)
        store.renew_lease(OWNER, START)
        assert seen(store.view("a")).last_seen_at == START + HOUR

    def test_a_lease_says_nothing_of_runs_that_have_ended(self, store: RunStore):
        """Their last sign of life is their last word."""
        writer = Writer(store)
        writer.start("a")
        ended = writer.add("a", RunCompleted()).view
        store.renew_lease(OWNER, START + HOUR)
        assert store.view("a") == ended

    def test_old_leases_are_forgotten(self, store: RunStore):
        """Only those that were last renewed before the moment; the events' sign of life is left."""
        writer = Writer(store)
        view = writer.start("a").view
        store.renew_lease(OWNER, START + HOUR)
        store.renew_lease(OTHER_OWNER, START + 2 * HOUR)
        assert 0 == store.forget_leases(START + HOUR)
        assert store.view("a") != view
        assert 1 == store.forget_leases(START + 2 * HOUR)
        assert store.view("a") == view
        assert 1 == store.forget_leases(START + 3 * HOUR)

    # -- outages

    def test_outages_that_overlap_become_one(self, store: RunStore, reopen: Reopen):
        """In whatever order they are reported; the ones that ended before a moment are left out."""
        for since, until in ((10, 20), (40, 50), (15, 30), (30, 32), (60, 60), (45, 41)):
            store.record_outage(_minute(since), _minute(until))
        expected = [(_minute(10), _minute(32)), (_minute(40), _minute(50))]
        assert store.outages(START) == expected
        assert reopen().outages(_minute(31)) == expected
        assert store.outages(_minute(32)) == expected[1:]
        assert store.outages(_minute(50)) == []

    # -- the log as it lies there

    def test_a_store_keeps_its_id(self, store: RunStore, reopen: Reopen):
        """It is a UUID."""
        assert UUID(store.store_id()) == UUID(reopen().store_id())

    def test_the_log_is_read_as_it_lies_there(self, store: RunStore):
        """In order of position, in batches that together are everything behind a position."""
        populate(store, 12)
        events = store.read(0, 1000)
        rows = [row for batch in store.log() for row in batch]
        assert [recorded_event(row) for row in rows] == events
        third = events[2].position
        assert [row for batch in store.log(third) for row in batch] == rows[3:]
        assert list(store.log(events[-1].position)) in ([], [[]])

    def test_the_position_at_a_moment_is_found(self, store: RunStore, clock: MovingClock):
        """By the time at which the store took the events, whenever they happened."""
        writer = Writer(store)
        assert store.position_at(START) == 0
        taken: list[tuple[datetime, int]] = []
        for number in range(9):
            clock.advance(number % 3)
            event = writer.add(number, CREATED, at=START - HOUR).events[0]
            taken.append((event.recorded_at, event.position))
        for moment in [START - HOUR, *(START + timedelta(seconds=n / 2) for n in range(24))]:
            expected = max((position for at, position in taken if at <= moment), default=0)
            assert store.position_at(moment) == expected

    # -- rebuilding and scanning

    def test_a_rebuild_changes_nothing(self, store: RunStore):
        """Rows computed anew are the ones that were kept, field by field."""
        everything = populate(store)
        writer = Writer(store)
        writer.start("a", tags={"k": "v"}, params={"n": [1, None]}, exclusive="x", attempt=3)
        writer.add("a", RunProgressed(current=1.5, total=10**40, step="s"))
        before = rows(store)
        listed = list(store.query(RunQuery(limit=1000)))
        calls: list[tuple[int, int]] = []
        assert store.rebuild(lambda done, total: calls.append((done, total))) == 61
        assert rows(store) == before
        assert list(store.query(RunQuery(limit=1000))) == listed
        assert {view.run_id for view in store.query(RunQuery(tags={"k": "v"}))} == {"a"}
        total = len(store.read(0, 1000))
        assert calls[-1] == (total, total)
        assert calls == sorted(calls)
        assert len(everything) == 60

    def test_the_store_goes_on_after_a_rebuild(self, store: RunStore):
        """Rows, keys and counters are as good as before; a second rebuild is fine."""
        writer = Writer(store)
        writer.start("a", exclusive="x")
        store.rebuild()
        store.rebuild()
        writer.add("a", RunCompleted())
        writer.start("b", exclusive="x")
        assert store.counts()[RunStatus.COMPLETED] == 1
        assert [run.row == fold_view(run.events) for run in store.scan()] == [True, True]

    def test_a_scan_gives_every_run_with_its_events(self, store: RunStore):
        """Each run once, its events in order, and its row without the lease."""
        populate(store, 30)
        Writer(store).start("a b")
        store.renew_lease(OWNER, START + HOUR)
        scanned = list(store.scan())
        assert sorted(str(run.run_id) for run in scanned) == sorted([*map(str, range(30)), "a b"])
        for run in scanned:
            assert list(run.events) == store.read_run(run.run_id)
            assert run.row == fold_view(run.events)
            assert run.flaws == ()

    def test_a_scan_stands_still(self, store: RunStore):
        """Runs that are appended while it goes on are not in it."""
        populate(store, 12)
        scan = store.scan()
        seen = [next(scan).run_id]
        Writer(store).start("zzz")
        seen += [run.run_id for run in scan]
        assert len(seen) == 12
        assert "zzz" not in seen

    def test_a_scan_may_be_left_early(self, store: RunStore):
        """Closing it lets the store go on."""
        populate(store, 12)
        scan = store.scan()
        next(scan)
        scan.close()
        Writer(store).start("a")
        assert len(list(store.scan())) == 13

    def test_a_row_changed_behind_our_back_is_seen_and_repaired(
        self, store: RunStore, behind: Behind
    ):
        """A scan shows the row as it lies there; a rebuild puts it right."""
        view = Writer(store).start("a").view
        behind("UPDATE runs SET status = 'completed' WHERE run_key = 'a'")
        (scanned,) = store.scan()
        assert scanned.row == view.model_copy(update={"status": RunStatus.COMPLETED})
        assert fold_view(scanned.events) == view
        store.rebuild()
        assert store.view("a") == view
        assert store.counts()[RunStatus.RUNNING] == 1

    def test_rows_and_events_that_miss_each_other_are_seen(self, store: RunStore, behind: Behind):
        """A run without a row, a row without events, and both are put right by a rebuild."""
        writer = Writer(store)
        for run_id in ("a", "b", "c", "d"):
            writer.start(run_id)
        behind("DELETE FROM runs WHERE run_key IN ('b', 'd')")
        behind("DELETE FROM events WHERE originator_id IN ('a', 'c')")
        found = {run.run_id: (len(run.events), run.row is None) for run in store.scan()}
        assert found == {"a": (0, False), "b": (2, True), "c": (0, False), "d": (2, True)}
        assert store.rebuild() == 2
        assert [(run.run_id, run.row is None) for run in store.scan()] == [
            ("b", False),
            ("d", False),
        ]

    def test_what_cannot_be_decoded_becomes_a_flaw_of_its_run(
        self, store: RunStore, behind: Behind
    ):
        """A scan says what and where and goes on; other readers get `StoreCorrupt`."""
        writer = Writer(store)
        writer.start("a")
        position = writer.start("b").events[1].position
        behind("UPDATE events SET state = 'no json' WHERE originator_id = 'b' AND originator_version = 2")  # fmt: skip
        behind("UPDATE runs SET params = 'no json' WHERE run_key = 'a'")
        first, second = store.scan()
        (row,) = first.flaws
        assert (first.row, len(first.events)) == (None, 2)
        assert (row.kind, row.position) == (ProblemKind.ROW, None)
        (event,) = second.flaws
        assert len(second.events) == 1
        assert (event.kind, event.position) == (ProblemKind.UNDECODABLE, position)
        with pytest.raises(StoreCorrupt, match=f"run b, version 2, position {position}"):
            store.read_run("b")
        with pytest.raises(StoreCorrupt, match=r"run a: .*lastword rebuild"):
            store.view("a")
        with pytest.raises(StoreCorrupt, match="run b"):
            store.rebuild()
        assert store.view("b") is not None

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE events SET state = 'no json' WHERE originator_id = 'b' AND originator_version = 2",
            "UPDATE events SET topic = 'RunVanished' WHERE originator_id = 'b' AND originator_version = 2",
            "UPDATE events SET originator_version = 4 WHERE originator_id = 'b' AND originator_version = 2",
            "UPDATE events SET event_id = NULL WHERE originator_id = 'b' AND originator_version = 2",
            "UPDATE events SET occurred_at = occurred_at + 1 WHERE originator_id = 'b' AND originator_version = 2",
            "UPDATE events SET recorded_at = 1 << 62 WHERE originator_id = 'b' AND originator_version = 2",
            "UPDATE events SET int_id = 1 WHERE originator_id = 'b'",
            "UPDATE runs SET last_seen_at = NULL WHERE run_key = 'b'",
            "UPDATE runs SET note = 'x' WHERE run_key = 'b'",
            "UPDATE runs SET owner = NULL WHERE run_key = 'b'",
            "UPDATE runs SET number = 99 WHERE run_key = 'b'",
            "DELETE FROM runs WHERE run_key = 'b'",
            "DELETE FROM events WHERE originator_id = 'b'",
            "DELETE FROM events WHERE originator_id = 'b' AND originator_version = 1",
        ],
    )
    def test_a_check_counts_what_is_sound_and_gives_the_rest(
        self, store: RunStore, behind: Behind, damage: str
    ):
        """What it gives, it gives as a scan does; nothing that a scan shows to be wrong is counted as sound."""
        writer = Writer(store)
        for run_id in ("a", "b", 17):
            writer.start(run_id, tags={"team": "data"})
        assert [SoundRuns(3, 6)] == _summed(store)
        behind(damage)
        given = [run for run in store.check() if not isinstance(run, SoundRuns)]
        assert [run for run in store.scan() if list(problems_of(run))] == given
        assert ["b"] == [run.run_id for run in given]
        assert [SoundRuns(2, 4)] == _summed(store)

    def test_a_row_that_fell_behind_is_not_built_upon(self, store: RunStore, behind: Behind):
        """An append finds that the row is not that of the events and says what to do."""
        writer = Writer(store)
        writer.start("a")
        behind("UPDATE runs SET version = 1 WHERE run_key = 'a'")
        with pytest.raises(StoreCorrupt, match=r"run a: .*lastword rebuild"):
            writer.add("a", RunCompleted())
        store.rebuild()
        writer.add("a", RunCompleted())

    # -- opening and closing

    def test_another_handle_sees_the_same(self, store: RunStore, reopen: Reopen):
        """Events, rows and leases are in the store, not in the object."""
        populate(store, 12)
        store.renew_lease(OWNER, START + HOUR)
        other = reopen()
        assert other.url == store.url
        assert list(other.query(RunQuery())) == list(store.query(RunQuery()))
        assert other.read(0, 100) == store.read(0, 100)
        position = Writer(other).add("new", CREATED).events[0].position
        assert store.last_position() == position
        assert store.wait(position - 1, 0) is True

    def test_a_closed_store_refuses(self, store: RunStore):
        """Every method but `close` and `wait` says so; closing again is harmless."""
        request = Writer(store).request("a", RunCreated(name="import"))
        store.close()
        store.close()
        for use in (
            lambda: store.append(request),
            lambda: store.append(request, fresh=True),
            lambda: store.read_run("a"),
            lambda: store.read(0, 1),
            store.last_position,
            lambda: store.view("a"),
            lambda: store.query(RunQuery()),
            lambda: list(store.active()),
            lambda: store.find("a"),
            store.counts,
            lambda: store.renew_lease(OWNER, START),
            lambda: store.forget_leases(START),
            lambda: store.record_outage(START, START + HOUR),
            lambda: store.outages(START),
            lambda: store.inspect(START),
            store.store_id,
            lambda: store.position_at(START),
            lambda: store.past(START),
            lambda: list(store.log()),
            store.rebuild,
            lambda: list(store.scan()),
        ):
            with pytest.raises(StoreUnavailable, match="closed"):
                use()
