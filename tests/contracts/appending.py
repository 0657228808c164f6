"""What every store promises about `append`."""

from __future__ import annotations

import gc
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.kit import MovingClock, Writer, at_once, seen
from lastword.domain.errors import (
    InvalidInput,
    RunAlreadyActive,
    VersionConflict,
)
from lastword.domain.events import (
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import RunId
from lastword.projections.flags import Flag
from lastword.projections.ports import Append, RunStore
from lastword.projections.run_view import RunView, fold_view
from lastword.testing import OWNER, START
from strategies import event_strategies, events

CREATED = RunCreated(name="import")
STARTED = RunStarted(owner=OWNER)

# Each example uses a run of its own, so that the examples may share the store; and each store runs the same methods.
SHARED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
)

numbers = count(1_000_000)


class Appending:
    """Events and row together, all or nothing, one writer after the other."""

    def test_what_was_appended_leaves_without_the_garbage_collector(self, store: RunStore):
        """Nothing of it refers to itself in a circle: a collection would take a twentieth of an append's time."""
        writer = Writer(store)
        writer.start("warm")
        gc.collect()
        gc.disable()
        try:
            for run_id in range(20):
                writer.start(run_id)
            store.append_all([writer.request(run_id, RunCompleted()) for run_id in range(20)])
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            found = [item for item in gc.garbage if isinstance(item, Append)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert [] == found

    def test_the_first_event_makes_a_run(self, store: RunStore, clock: MovingClock):
        """It gets version 1, a position, the store's time, and a row that is the fold."""
        clock.advance(90)
        new = Writer(store).new(CREATED)
        appended = store.append(Append(17, 0, (new,), None, correlation_id="trace-1"))
        assert appended is not None
        (event,) = appended.events
        assert (event.run_id, event.version, event.position, event.event_id) == (
            17,
            1,
            1,
            new.event_id,
        )
        assert (event.occurred_at, event.recorded_at) == (new.occurred_at, clock.now)
        assert (event.event, event.correlation_id, event.actor) == (CREATED, "trace-1", None)
        assert appended.view == fold_view(appended.events)
        assert store.view(17) == appended.view
        assert store.read_run(17) == [event]

    @SHARED
    @given(event_strategies[RunCreated], st.lists(events, max_size=6))
    def test_whatever_a_history_holds_is_read_back(
        self, store: RunStore, first: RunCreated, rest: list[RunEvent]
    ):
        """Events and row come back as they went in, and the row is the fold, after every step."""
        run_id = next(numbers)
        writer = Writer(store)
        taken = []
        for event in (first.model_copy(update={"exclusive": None}), *rest):
            appended = writer.add(run_id, event)
            taken += appended.events
            assert store.view(run_id) == appended.view
        assert store.read_run(run_id) == taken
        assert store.view(run_id) == fold_view(taken)

    def test_fields_of_a_newer_release_survive(self, store: RunStore):
        """What this release does not know is kept in the event."""
        event = RunCompleted.model_validate({"result": 1, "cost": {"usd": 2}})
        Writer(store).add("a", CREATED, STARTED, event)
        assert store.read_run("a")[-1].event.model_extra == {"cost": {"usd": 2}}

    def test_a_batch_is_one_step(self, store: RunStore):
        """Several events get versions and positions in a row, and one row."""
        appended = Writer(store).add("a", CREATED, STARTED, RunCompleted(result=[1]))
        assert [(event.version, event.position) for event in appended.events] == [
            (1, 1),
            (2, 2),
            (3, 3),
        ]
        assert store.view("a") == appended.view
        assert appended.view.status == RunStatus.COMPLETED

    @pytest.mark.parametrize("known", [0, 1, 3, 4, 9])
    def test_an_append_at_another_version_conflicts(self, store: RunStore, known: int):
        """Too low or too high: the error says what was expected and found, and nothing is written."""
        writer = Writer(store)
        writer.add("a", CREATED, STARTED)
        before = (store.view("a"), store.read_run("a"), store.last_position(), store.counts())
        view = None if known == 0 else writer.views["a"].model_copy(update={"version": known})
        request = Append("a", known, (writer.new(CREATED), writer.new(RunCancelled())), view)
        with pytest.raises(VersionConflict) as caught:
            store.append(request)
        assert (caught.value.run_id, caught.value.expected, caught.value.found) == ("a", known, 2)
        after = (store.view("a"), store.read_run("a"), store.last_position(), store.counts())
        assert after == before

    def test_an_append_to_an_unknown_run_conflicts(self, store: RunStore):
        """A view of a run that is not there finds version 0."""
        view = Writer(store).start("elsewhere").view.model_copy(update={"run_id": "a"})
        request = Append("a", 2, (Writer(store).new(RunCancelled()),), view)
        with pytest.raises(VersionConflict, match="expected version 2, found version 0"):
            store.append(request)
        assert store.read_run("a") == []

    def test_a_view_of_another_version_is_refused(self, store: RunStore):
        """The caller's view has to be the one that it appends to; else the row would be wrong."""
        writer = Writer(store)
        view = writer.start("a").view
        for request in (
            Append("a", 3, (writer.new(RunCancelled()),), view),
            Append("a", 2, (writer.new(RunCancelled()),), None),
            Append("a", 2, (), view),
        ):
            with pytest.raises(InvalidInput):
                store.append(request)
        assert store.view("a") == view

    def test_a_flag_is_not_kept(self, store: RunStore):
        """Suspicion is worked out when asked; an append on a flagged view leaves none behind."""
        writer = Writer(store)
        flag = Flag(reason=FlagReason.SILENT, since=START, detail="silent")
        view = writer.start("a").view.model_copy(update={"flag": flag})
        appended = store.append(writer.request("a", RunProgressed(current=1), view=view))
        assert appended is not None
        assert appended.view.flag is None
        assert store.view("a") == appended.view

    # -- ids

    @pytest.mark.parametrize("run_id", [17, "17", 0, -3, 10**150, "a b", "ünï", "'; --", "%_"])
    def test_an_id_comes_back_in_its_own_type(self, store: RunStore, run_id: RunId):
        """Whichever way the run is asked for or appended to."""
        writer = Writer(store)
        writer.add(run_id, RunCreated(name="import", parent_id=run_id, retry_of=run_id))
        appended = writer.add(str(run_id), STARTED)
        view = seen(store.view(str(run_id)))
        assert view == appended.view
        assert (view.run_id, view.parent_id, view.retry_of) == (run_id, run_id, run_id)
        assert [event.run_id for event in store.read_run(str(run_id))] == [run_id, run_id]
        assert {event.run_id for event in store.read(0, 10)} == {run_id}
        assert store.find(str(run_id)) == [run_id]
        assert [type(found) for found in store.find(str(run_id))] == [type(run_id)]

    def test_one_and_one_are_the_same_run(self, store: RunStore):
        """``1`` and ``"1"`` cannot both be created."""
        Writer(store).add(1, CREATED)
        with pytest.raises(VersionConflict):
            Writer(store).add("1", CREATED)

    @pytest.mark.parametrize("run_id", ["", " a", "a\n", "x" * 201, True, None, 1.5])
    def test_an_id_that_cannot_be_is_refused(self, store: RunStore, run_id: RunId):
        """Nothing is written."""
        with pytest.raises(InvalidInput):
            Writer(store).add(run_id, CREATED)
        assert store.last_position() == 0

    # -- the exclusive key

    def test_an_exclusive_key_allows_one_active_run(self, store: RunStore):
        """The second is told which run holds it, in that run's own type of id; nothing is written."""
        writer = Writer(store)
        writer.add(1, RunCreated(name="import", exclusive="nightly"))
        with pytest.raises(RunAlreadyActive) as caught:
            writer.add("b", RunCreated(name="import", exclusive="nightly"))
        assert caught.value.active_run_id == 1
        assert (caught.value.run_id, caught.value.exclusive) == ("b", "nightly")
        assert store.read_run("b") == []
        assert store.view("b") is None
        writer.add("c", RunCreated(name="import", exclusive="hourly"))

    @pytest.mark.parametrize(
        "end", [RunCompleted(), RunCancelled(), RunLost(flag=FlagReason.SILENT)]
    )
    def test_a_last_word_frees_the_exclusive_key(self, store: RunStore, end: RunEvent):
        """Also a verdict frees it; the real outcome afterwards takes it from nobody."""
        writer = Writer(store)
        writer.start("a", exclusive="nightly")
        writer.add("a", end)
        writer.add("b", RunCreated(name="import", exclusive="nightly"))
        writer.add("a", RunCompleted(result=1))
        assert seen(store.view("b")).status == RunStatus.PENDING

    def test_a_run_that_would_be_active_again_is_told_who_has_its_key(self, store: RunStore):
        """The rules let no run come back; the store does not rely on it."""
        writer = Writer(store)
        writer.start("a", exclusive="nightly")
        writer.add("a", RunCompleted())
        writer.add("b", RunCreated(name="import", exclusive="nightly"))
        with pytest.raises(RunAlreadyActive) as caught:
            writer.add("a", STARTED)
        assert "b" == caught.value.active_run_id
        assert 3 == len(store.read_run("a"))

    def test_of_many_that_want_a_key_at_once_one_gets_it(self, store: RunStore):
        """All others are told who."""

        def create(number: int) -> RunId:
            try:
                return Writer(store).add(number, RunCreated(name="x", exclusive="k")).view.run_id
            except RunAlreadyActive as refused:
                return refused.active_run_id

        winners = set(at_once(8, create))
        assert len(winners) == 1
        assert store.counts()[RunStatus.PENDING] == 1

    # -- guards

    def test_a_guard_that_says_no_leaves_no_trace(self, store: RunStore):
        """It is asked with the run's current view, the lease of its owner included."""
        writer = Writer(store)
        view = writer.start("a").view
        renewed = START + timedelta(hours=1)
        store.renew_lease(OWNER, renewed)
        asked: list[RunView] = []

        def refuse(current: RunView) -> bool:
            asked.append(current)
            return False

        assert writer.ask("a", RunLost(flag=FlagReason.SILENT), guard=refuse) is None
        assert asked == [view.model_copy(update={"last_seen_at": renewed})]
        assert len(store.read_run("a")) == 2

    def test_a_guard_that_says_yes_lets_the_append_through(self, store: RunStore):
        """As if there were none."""
        writer = Writer(store)
        writer.start("a")
        appended = writer.ask(
            "a", RunLost(flag=FlagReason.SILENT), guard=lambda view: view.version == 2
        )
        assert appended is not None
        assert store.view("a") == appended.view

    def test_a_guard_that_raises_leaves_no_trace(self, store: RunStore):
        """Its error reaches the caller, and the store goes on."""
        writer = Writer(store)
        writer.start("a")

        def fail(_: RunView) -> bool:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            writer.ask("a", RunLost(flag=FlagReason.SILENT), guard=fail)
        assert len(store.read_run("a")) == 2
        writer.add("a", RunCompleted())

    # -- order, time, threads

    def test_a_fresh_connection_writes_the_same(self, store: RunStore):
        """`fresh` changes the way, not the outcome; the usual connection sees it at once."""
        writer = Writer(store)
        writer.start("a")
        appended = writer.ask("a", RunCompleted(), fresh=True)
        assert appended is not None
        assert store.view("a") == appended.view

    def test_recorded_at_never_goes_back(self, store: RunStore, clock: MovingClock):
        """Also when the clock is set back; positions go on growing."""
        writer = Writer(store)
        writer.add("a", CREATED)
        clock.advance(-3600)
        writer.add("a", STARTED)
        clock.advance(7200)
        writer.add("a", RunCompleted())
        times = [event.recorded_at for event in store.read(0, 10)]
        assert times == [START, START, clock.now]
        positions = [event.position for event in store.read(0, 10)]
        assert positions == sorted(set(positions))

    def test_threads_append_to_runs_of_their_own(self, store: RunStore):
        """Every event is there, once, and positions are unique."""

        def live(number: int) -> int:
            writer = Writer(store)
            for step in range(10):
                run_id = f"{number}-{step}"
                writer.add(run_id, CREATED)
                writer.add(run_id, STARTED)
                writer.add(run_id, RunCompleted(result=step))
            return number

        assert sorted(at_once(8, live)) == list(range(8))
        events_read = store.read(0, 1000)
        assert len({event.position for event in events_read}) == len(events_read) == 240
        assert store.counts()[RunStatus.COMPLETED] == 80
        assert all(
            run.row == fold_view(run.events) and len(run.events) == 3 for run in store.scan()
        )

    def test_threads_append_to_one_run(self, store: RunStore):
        """Versions have no gap, and each of the writers gets its events in by trying again."""
        Writer(store).start("a")

        def report(number: int) -> list[VersionConflict]:
            lost: list[VersionConflict] = []
            done = 0
            while done < 10:
                view = seen(store.view("a"))
                event = Writer(store).new(RunProgressed(current=number * 100 + done))
                try:
                    store.append(Append("a", view.version, (event,), view))
                    done += 1
                except VersionConflict as conflict:
                    lost.append(conflict)
            return lost

        conflicts = [conflict for lost in at_once(8, report) for conflict in lost]
        assert all(
            conflict.found is not None and conflict.found > conflict.expected
            for conflict in conflicts
        )
        history = store.read_run("a")
        assert [event.version for event in history] == list(range(1, 83))
        reported = {
            event.event.current for event in history if isinstance(event.event, RunProgressed)
        }
        assert reported == {number * 100 + step for number in range(8) for step in range(10)}
        assert store.view("a") == fold_view(history)
