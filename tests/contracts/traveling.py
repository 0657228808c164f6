"""What every store promises about the past, about its log as it lies there, and about inspections."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.appending import SHARED
from contracts.keeping import Behind
from contracts.kit import MovingClock, Writer
from lastword.domain.errors import InvalidInput, StoreCorrupt, StoreUnavailable
from lastword.domain.events import (
    OutcomeContradicted,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import ACTIVE, FlagReason, RunStatus
from lastword.domain.values import to_micros
from lastword.infrastructure.mapper import recorded_event
from lastword.projections.history import By, StoreSnapshot, as_of, snapshot_of
from lastword.projections.ports import RunStore
from lastword.projections.problems import ProblemKind
from lastword.testing import OTHER_OWNER, OWNER, START
from strategies import events

SECOND = timedelta(seconds=1)

Step = tuple[int, RunEvent, int, int]
"""Which run, what happens to it, how many seconds the clock is moved before it, and how many seconds ago it happened."""

steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        events.filter(lambda event: not isinstance(event, RunCreated)),
        st.integers(-2, 5),
        st.integers(-5, 20),
    ),
    max_size=14,
)


def happen(store: RunStore, clock: MovingClock, history: list[Step]) -> None:
    """Let it all happen; a run that does not exist yet is created first."""
    writer = Writer(store)
    prefix = f"{store.last_position()}-"
    for run, event, passed, ago in history:
        clock.advance(passed)
        at = clock.now - ago * SECOND
        run_id = f"{prefix}{run}"
        if run_id not in writer.views:
            writer.add(run_id, RunCreated(name="import"), at=at)
        else:
            writer.add(run_id, event, at=at)


def brute_force(store: RunStore, when: timedelta, by: By) -> StoreSnapshot:
    """The same answer from every event of every run."""
    moment = START + when
    views = [as_of(run.events, moment, by) for run in store.scan()]
    known = [view for view in views if view is not None]
    active = [view for view in known if view.status in ACTIVE]
    newest = [event.position for event in store.read(0, 10_000) if event.recorded_at <= moment] or [
        0
    ]
    return StoreSnapshot(
        when=moment,
        by=by,
        position=store.last_position() if by == "occurred" else newest[-1],
        counts={s: sum(view.status == s for view in known) for s in RunStatus},
        active=tuple(sorted(active, key=lambda view: (view.created_at, str(view.run_id)))),
    )


def status_at(store: RunStore, when: timedelta, by: By) -> StoreSnapshot:
    moment = START + when
    return snapshot_of(store.past(moment, occurred=by == "occurred"), moment, by)


class Traveling:
    """The past is what the events of the past say."""

    @settings(SHARED, max_examples=25)
    @given(steps, st.integers(-10, 80), st.sampled_from(["recorded", "occurred"]))
    def test_the_status_of_all_runs_is_the_fold_of_each(
        self, store: RunStore, clock: MovingClock, history: list[Step], seconds: int, by: By
    ):
        """For any history and any moment, also with clocks that were set back and events that came late."""
        happen(store, clock, history)
        for when in (seconds * SECOND, clock.now - START, clock.now - START - 7 * SECOND):
            assert status_at(store, when, by) == brute_force(store, when, by)

    def test_a_late_outcome_is_known_later_than_it_was_true(
        self, store: RunStore, clock: MovingClock
    ):
        """A run is given up at 100 s; at 200 s the store learns that it had completed at 50 s."""
        writer = Writer(store)
        writer.add("a", RunCreated(name="import"), RunStarted(owner=OWNER), at=START)
        clock.advance(100)
        writer.add("a", RunLost(flag=FlagReason.SILENT), at=clock.now)
        clock.advance(100)
        writer.add("a", RunCompleted(result=1), at=START + 50 * SECOND)
        knew = [status_at(store, at * SECOND, "recorded").counts for at in (0, 99, 100, 199, 200)]
        true = [status_at(store, at * SECOND, "occurred").counts for at in (0, 49, 50, 100, 200)]
        assert [only(counts) for counts in knew] == [
            "running",
            "running",
            "failed",
            "failed",
            "completed",
        ]
        assert [only(counts) for counts in true] == [
            "running",
            "running",
            "completed",
            "completed",
            "completed",
        ]
        assert status_at(store, -SECOND, "recorded").counts[RunStatus.RUNNING] == 0

    def test_leases_are_not_history(self, store: RunStore):
        """An active run of the past was last seen by its own events."""
        view = Writer(store).start("a").view
        store.renew_lease(OWNER, START + 3600 * SECOND)
        assert status_at(store, 60 * SECOND, "recorded").active == (view,)
        assert status_at(store, 60 * SECOND, "occurred").active == (view,)

    def test_the_position_of_a_moment(self, store: RunStore, clock: MovingClock):
        """The newest of the events that were recorded by then; positions may have gaps."""
        writer = Writer(store)
        times = [START]
        for number in range(9):
            times.append(clock.advance(number % 3))
            writer.add(number, RunCreated(name="import"))
        recorded = [(event.position, event.recorded_at) for event in store.read(0, 100)]
        for moment in {START - SECOND, *times, clock.now + SECOND}:
            expected = max((p for p, at in recorded if at <= moment), default=0)
            assert store.position_at(moment) == expected
        with pytest.raises(InvalidInput):
            store.position_at(START.replace(tzinfo=None))

    def test_gaps_in_the_positions_do_no_harm(
        self, store: RunStore, clock: MovingClock, behind: Behind
    ):
        """As archiving leaves them."""
        writer = Writer(store)
        for number in range(12):
            clock.advance(1)
            writer.start(number)
        behind("DELETE FROM events WHERE position BETWEEN 3 AND 20")
        behind("DELETE FROM runs WHERE position BETWEEN 3 AND 20")
        for second in range(14):
            expected = brute_force(store, second * SECOND, "recorded")
            assert status_at(store, second * SECOND, "recorded") == expected

    def test_a_status_that_is_none_is_told(self, store: RunStore, behind: Behind):
        """The past is not guessed from rows that cannot be ours."""
        Writer(store).start("a")
        behind("UPDATE runs SET status = 'paused'")
        with pytest.raises(StoreCorrupt, match=r"'paused'.*lastword rebuild"):
            store.past(START + 60 * SECOND)
        assert only(status_at(store, 60 * SECOND, "occurred").counts) == "running"

    def test_the_log_is_given_as_it_lies_there(self, store: RunStore, behind: Behind):
        """All columns, in order of position, behind a position; also what cannot be decoded."""
        writer = Writer(store)
        writer.start(1)
        writer.start("b")
        expected = store.read(0, 100)
        rows = list(chain.from_iterable(store.log()))
        assert [recorded_event(row) for row in rows] == expected
        assert [row[0] for row in chain.from_iterable(store.log(2))] == [3, 4]
        behind("UPDATE events SET actor = CAST(x'ff41' AS TEXT), state = 'x' WHERE position = 3")
        row = list(chain.from_iterable(store.log()))[2]
        assert (row[8].encode("utf-8", "surrogateescape"), row[4]) == (b"\xffA", "x")

    def test_a_log_stands_still(self, store: RunStore):
        """What is appended meanwhile is not in it."""
        Writer(store).start("a")
        log = store.log()
        first = next(log)
        Writer(store).start("b")
        assert [len(first), *map(len, log)] == [2]

    def test_a_rebuild_keeps_the_id_of_the_store(self, store: RunStore):
        """It is a UUID and stays over a rebuild."""
        before = store.store_id()
        assert len(before) == 36
        store.rebuild()
        assert store.store_id() == before

    # -- inspecting

    def test_a_store_in_order_has_nothing_to_tell(self, store: RunStore):
        """With tags, owners, leases and an outage."""
        writer = Writer(store)
        writer.start("a", tags={"k": "v", "l": "w"})
        writer.start("b", OTHER_OWNER)
        store.renew_lease(OWNER, START)
        store.record_outage(START, START + SECOND)
        assert store.inspect(START + 60 * SECOND) == []

    @pytest.mark.parametrize(
        ("statement", "kind", "said"),
        [
            ("UPDATE status_counts SET runs = 7 WHERE status = 'running'", ProblemKind.COUNTER, "expected 1 from the rows, found 7"),
            ("DELETE FROM status_counts WHERE status = 'failed'", ProblemKind.COUNTER, "failed: expected 0"),
            ("DELETE FROM run_tags", ProblemKind.TAG, "k=v"),
            ("INSERT INTO run_tags VALUES ('k', 'other', 0, 1)", ProblemKind.TAG, "expected 1 from the rows, found 2"),
            ("UPDATE owners SET owner = 'x'", ProblemKind.OWNER, "owners: row 1: expected the owner 'host-1|100|"),
            ("UPDATE owners SET owner = replace(owner, 'host-1', 'host-9')", ProblemKind.OWNER, "host-9"),
            ("UPDATE leases SET renewed_at = 'soon'", ProblemKind.LEASE, "'soon'"),
            ("UPDATE leases SET pid = 1", ProblemKind.LEASE, "found 'host-1', 1,"),
            ("UPDATE leases SET renewed_at = renewed_at + 86400000000", ProblemKind.LEASE, "found one at 2026-01-02T00:00:00"),
            ("INSERT INTO outages VALUES (9, 8)", ProblemKind.OUTAGE, "expected a time that is over"),
            (f"INSERT INTO outages VALUES (9, {to_micros(START) * 2})", ProblemKind.OUTAGE, "to 2082-"),
            ("UPDATE events SET recorded_at = recorded_at - 1 WHERE position = 2", ProblemKind.ORDER, "position 2"),
            ("UPDATE events SET recorded_at = NULL WHERE position = 2", ProblemKind.ORDER, "position 2"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_beside_the_rows_is_found(
        self, store: RunStore, behind: Behind, statement: str, kind: ProblemKind, said: str
    ):
        """One statement behind the store's back, one problem that says where, and what to do."""
        Writer(store).start("a", tags={"k": "v"})
        store.renew_lease(OWNER, START)
        behind(statement)
        found = store.inspect(START)
        assert {problem.kind for problem in found} == {kind}
        assert any(said in problem.what for problem in found)
        assert all(problem.remedy for problem in found)

    def test_a_closed_store_says_so(self, store: RunStore):
        """Also when it is asked for the past."""
        store.close()
        for use in (
            lambda: store.inspect(START),
            store.store_id,
            lambda: store.position_at(START),
            lambda: store.past(START),
            lambda: list(store.log()),
        ):
            with pytest.raises(StoreUnavailable, match="closed"):
                use()

    def test_a_contradiction_after_the_moment_changes_nothing(
        self, store: RunStore, clock: MovingClock
    ):
        """The row has moved on, the run had ended: it is counted as it was."""
        writer = Writer(store)
        writer.start("a")
        clock.advance(10)
        writer.add("a", RunProgressed(current=1), RunCompleted())
        clock.advance(10)
        writer.add("a", OutcomeContradicted(claimed=RunStatus.FAILED), at=START + 60 * SECOND)
        assert only(status_at(store, 15 * SECOND, "recorded").counts) == "completed"
        view = store.view("a")
        assert view is not None
        assert view.contradicted


def only(counts: dict[RunStatus, int]) -> str:
    """The status of the only run."""
    assert sum(counts.values()) == 1
    return next(status.value for status, number in counts.items() if number)
