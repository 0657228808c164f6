"""What another process left behind, what others did meanwhile, and what is asked under a condition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from faults.kit import FaultyStore, MovableClock
from lastword import InvalidTransition, RunTracker, StoreUnavailable
from lastword.domain.commands import CancelRun, CompleteRun, RequestCancellation, StartRun
from lastword.domain.errors import VersionConflict
from lastword.domain.events import RunCreated, RunEvent, RunProgressed, RunStarted
from lastword.domain.status import RunStatus
from lastword.infrastructure.opening import open_store
from lastword.infrastructure.tracking.journal import Journal
from lastword.infrastructure.tracking.receipts import Receipt
from lastword.projections.ports import NewEvent
from lastword.testing import OWNER

SETTINGS: dict[str, Any] = {"retry_attempts": 1, "heartbeat": 3600, "progress_interval": 3600}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(clock: MovableClock) -> FaultyStore:
    return FaultyStore(open_store("sqlite:///:memory:", clock=clock))


@pytest.fixture
def tracker(store: FaultyStore, clock: MovableClock) -> Iterator[RunTracker]:
    with RunTracker(store=store, clock=clock, **SETTINGS) as tracker:
        yield tracker


@pytest.fixture
def other(store: FaultyStore, clock: MovableClock, tracker: RunTracker) -> Iterator[RunTracker]:
    """Another process, as far as the tracker knows; it ends first, as both share a store in memory."""
    with RunTracker(store=store.real, clock=clock, **SETTINGS) as other:
        yield other


@pytest.fixture
def journal(tracker: RunTracker) -> Journal:
    return tracker._journal


def story(tracker: RunTracker, run_id: int | str) -> list[str]:
    return [recorded.type for recorded in tracker.history(run_id)]


def left(clock: MovableClock, *events: RunEvent) -> list[NewEvent]:
    """Events as they lie in the spool of a process that is gone."""
    return [NewEvent(f"{number:032x}", event, clock()) for number, event in enumerate(events)]


def test_what_cannot_be_appended_stays_where_it_was(
    tracker: RunTracker, store: FaultyStore, clock: MovableClock, journal: Journal
):
    """The other one's spool still has it; only what is ours waits here."""
    run_id = tracker.create("import", run_id=1)
    events = left(clock, RunProgressed(current=5))
    store.go_down()
    with pytest.raises(StoreUnavailable):
        journal.adopt(run_id, events)
    assert [] == journal.unsent()
    tracker.start(run_id)
    with pytest.raises(StoreUnavailable):
        journal.adopt(run_id, events)
    assert [run_id] == journal.unsent()
    store.come_back()
    assert 1 == tracker.deliver_spool()
    assert 1 == journal.adopt(run_id, events)
    assert ["RunCreated", "RunStarted", "RunProgressed"] == story(tracker, run_id)


def test_a_run_whose_exclusive_key_is_taken_is_recorded_without_it(
    tracker: RunTracker, clock: MovableClock, journal: Journal
):
    """It was begun where nobody could know that another run holds the key; that it goes on has to be known."""
    tracker.create("import", run_id=1, exclusive="import")
    created = RunCreated(name="import", exclusive="import")
    assert 2 == journal.adopt(2, left(clock, created, RunStarted(owner=OWNER)))
    views = [tracker.get(run_id) for run_id in (1, 2)]
    assert [("pending", "import"), ("running", None)] == [
        (view.status, view.exclusive) for view in views
    ]
    assert [] == journal.unsent()


def test_progress_that_was_held_does_not_stand_in_the_way_of_an_outcome(
    tracker: RunTracker, other: RunTracker
):
    """Somebody cancelled the run meanwhile: it has no progress any more, and the outcome is kept as evidence."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    tracker.progress(run_id, 1)
    tracker.progress(run_id, 2)  # held, as it comes too soon
    other.cancel(run_id)
    tracker.complete(run_id)
    assert ["RunCancelled", "OutcomeContradicted"] == story(tracker, run_id)[-2:]


def test_a_conflict_whose_cause_cannot_be_read(tracker: RunTracker, store: FaultyStore):
    """Somebody else was faster, and then the store was gone: the event waits, and fits behind theirs."""
    run_id = tracker.create("import")
    store.fail("append", error=VersionConflict(run_id, expected=1, found=2))
    store.fail("read_run", error=StoreUnavailable("gone", transient=False))
    receipt = tracker.start(run_id)
    assert (False, "running", "gone") == (receipt.stored, receipt.status, str(receipt.error))
    assert 1 == tracker.deliver_spool()
    assert ["RunCreated", "RunStarted"] == story(tracker, run_id)


def test_a_run_of_another_process_is_read_once_before_it_refuses(
    tracker: RunTracker, other: RunTracker, store: FaultyStore
):
    """What was read a moment ago need not be read again to be sure."""
    run_id = other.create("import")
    with pytest.raises(InvalidTransition):
        tracker.complete(run_id)
    assert 1 == store.calls.count("read_run")


def test_what_is_asked_under_a_condition(tracker: RunTracker, journal: Journal):
    """Where it does not hold, nothing happens, and that is no fault."""
    run_id = tracker.create("import")
    refused = journal.execute(run_id, CancelRun(reason="user"), guard=lambda _: False)
    assert Receipt(run_id, RunStatus.PENDING, (), stored=True) == refused
    taken = journal.execute(run_id, CancelRun(reason="user"), guard=lambda view: view.version == 1)
    assert RunStatus.CANCELLED is taken.status


def test_an_event_happens_when_it_was_asked_for(
    tracker: RunTracker, clock: MovableClock, journal: Journal
):
    """The command says when; else it is now."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    earlier = clock.now
    clock.advance(seconds=30)
    journal.execute(run_id, RequestCancellation(now=earlier))
    journal.execute(run_id, CancelRun())
    requested, cancelled = tracker.history(run_id)[-2:]
    assert (earlier, clock.now) == (requested.occurred_at, cancelled.occurred_at)


def test_a_refusal_stops_what_is_asked_behind_it(tracker: RunTracker, journal: Journal):
    """Only held progress may be left out."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    with pytest.raises(InvalidTransition, match="started it already"):
        journal.execute(run_id, StartRun(owner=OWNER), CompleteRun())
    assert ["RunCreated", "RunStarted"] == story(tracker, run_id)


def test_the_time_without_a_store_is_recorded_when_it_is_back(
    tracker: RunTracker, store: FaultyStore, clock: MovableClock
):
    """From the last append that got in to the first one that got in again."""
    run_id = tracker.create("import")
    last = clock.now
    store.go_down()
    clock.advance(seconds=5)
    tracker.start(run_id)
    clock.advance(seconds=30)
    store.come_back()
    tracker.complete(run_id)
    assert [(last, clock.now)] == store.outages(last)


def test_a_run_that_was_erased_is_read_again(tracker: RunTracker, journal: Journal):
    """What people wrote is nowhere any more, not in memory either."""
    run_id = tracker.create("import", params={"name": "Ann"})
    tracker.cancel(run_id)
    tracker.erase(run_id)
    assert journal.last_known(run_id) is None
