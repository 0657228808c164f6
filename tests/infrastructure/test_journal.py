"""The way of a fact, with a store that fails at chosen points."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.kit import AFTER, FaultyStore, MovableClock
from lastword import (
    Failure,
    InvalidTransition,
    RunAlreadyActive,
    RunAlreadyExists,
    RunTracker,
    StoreUnavailable,
)
from lastword.domain.errors import VersionConflict
from lastword.domain.events import RunProgressed
from lastword.infrastructure.opening import open_store
from lastword.infrastructure.tracking import journal
from lastword.projections.ports import NewEvent

SETTINGS = {
    "retry_base_delay": 0.0,
    "retry_budget": 2.0,
    "progress_interval": 0.0,
    "heartbeat": 3600,
}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(tmp_path: Path, clock: MovableClock) -> FaultyStore:
    return FaultyStore(open_store(tmp_path / "runs.db", clock=clock))


@pytest.fixture
def alerts() -> list[Failure]:
    return []


@pytest.fixture
def tracker(store: FaultyStore, clock: MovableClock, alerts: list[Failure]) -> Iterator[RunTracker]:
    with RunTracker(store=store, clock=clock, on_alert=[alerts.append], **SETTINGS) as tracker:
        yield tracker


def story(tracker: RunTracker, run_id: int | str) -> list[str]:
    return [recorded.type for recorded in tracker.history(run_id)]


def test_nothing_is_read_before_an_append(tracker: RunTracker, store: FaultyStore) -> None:
    """A lifecycle in one process is three appends and not a single read."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    tracker.complete(run_id)
    assert ["append"] * 3 == [call for call in store.calls if call != "renew_lease"]


def test_a_transient_fault_is_retried(tracker: RunTracker, store: FaultyStore) -> None:
    """Four refusals are fewer than five attempts: the caller notices nothing."""
    run_id = tracker.create("import")
    store.fail("append", times=4)
    receipt = tracker.start(run_id)
    assert (True, None) == (receipt.stored, receipt.error)


def test_the_last_try_is_a_fresh_connection(tracker: RunTracker, store: FaultyStore) -> None:
    """Five refusals exhaust the attempts; the sixth call, on a fresh connection, gets it in."""
    run_id = tracker.create("import")
    store.fail("append", times=5)
    assert tracker.start(run_id).stored
    assert ["RunCreated", "RunStarted"] == story(tracker, run_id)


def test_a_permanent_fault_is_not_retried(tracker: RunTracker, store: FaultyStore) -> None:
    """A read-only file does not become writable by waiting: one attempt and the fresh connection, then the spool."""
    run_id = tracker.create("import")
    store.fail("append", times=9, error=StoreUnavailable("read-only", transient=False))
    before = store.calls.count("append")
    assert not tracker.start(run_id).stored
    assert 2 == store.calls.count("append") - before


def test_what_was_not_stored_goes_first_next_time(
    tracker: RunTracker, store: FaultyStore, alerts: list[Failure]
) -> None:
    """A start that the store refused is appended together with the outcome, in order."""
    run_id = tracker.create("import")
    store.go_down()
    receipt = tracker.start(run_id)
    assert (False, "running") == (receipt.stored, receipt.status)
    assert [("RunStarted",)] == [failure.events for failure in alerts]
    assert alerts[0].kept
    store.come_back()
    assert tracker.complete(run_id, result=1).stored
    assert ["RunCreated", "RunStarted", "RunCompleted"] == story(tracker, run_id)
    assert 0 == tracker.spool_status().events


def test_a_whole_run_while_the_store_is_down(tracker: RunTracker, store: FaultyStore) -> None:
    """Create to complete without a store: the history is whole once it is back, times of happening included."""
    clock = tracker.clock
    store.go_down()
    run_id = tracker.create("import", run_id=7, params={"folder": "in"}, correlation_id="req-1")
    clock.advance(seconds=1)  # type: ignore[attr-defined]  # the fixture's clock
    tracker.start(run_id)
    tracker.progress(run_id, 1, 2)
    tracker.complete(run_id, result="done")
    assert 4 == tracker.spool_status().events
    assert tracker.last_known(run_id) is None
    store.come_back()
    clock.advance(seconds=100)  # type: ignore[attr-defined]  # the fixture's clock
    assert 4 == tracker.deliver_spool()
    history = tracker.history(run_id)
    assert ["RunCreated", "RunStarted", "RunProgressed", "RunCompleted"] == [
        item.type for item in history
    ]
    assert ["req-1"] * 4 == [item.correlation_id for item in history]
    assert [101, 100, 100, 100] == [
        (item.recorded_at - item.occurred_at).total_seconds() for item in history
    ]
    assert 0 == tracker.spool_status().files


def test_a_lost_answer_does_not_double_the_event(tracker: RunTracker, store: FaultyStore) -> None:
    """The store committed and the answer got lost: the retry meets its own event and is content."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    store.fail("append", when=AFTER)
    receipt = tracker.complete(run_id, result=1)
    assert receipt.stored
    assert ["RunCompleted"] == [event.TOPIC for event in receipt.events]
    assert tracker.get(run_id) == receipt.view
    assert ["RunCreated", "RunStarted", "RunCompleted"] == story(tracker, run_id)


def test_a_conflict_reloads_and_decides_again(tmp_path: Path, tracker: RunTracker) -> None:
    """Somebody else asked for cancellation; the start of the owner comes all the same after it."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    with RunTracker(tmp_path / "runs.db", **SETTINGS) as other:
        other.request_cancel(run_id, reason="user")
    tracker.progress(run_id, 1)
    tracker.complete(run_id)
    assert [
        "RunCreated",
        "RunStarted",
        "CancellationRequested",
        "RunProgressed",
        "RunCompleted",
    ] == story(tracker, run_id)


def test_a_stale_refusal_is_checked_against_the_store(tmp_path: Path, tracker: RunTracker) -> None:
    """This process remembers a pending run; another started it, so completing is allowed."""
    run_id = tracker.create("import")
    with RunTracker(tmp_path / "runs.db", **SETTINGS) as other:
        other.start(run_id)
    assert "completed" == tracker.complete(run_id).status


def test_rules_are_not_faults(
    tracker: RunTracker, store: FaultyStore, alerts: list[Failure]
) -> None:
    """A broken rule goes to the caller at once: no retry, no alert, nothing spooled."""
    run_id = tracker.create("import")
    with pytest.raises(InvalidTransition):
        tracker.complete(run_id)
    assert ["append", "read_run"] == store.calls
    assert [] == alerts


def test_strict_raises(store: FaultyStore) -> None:
    """A strict tracker tells the caller instead of keeping the event."""
    with RunTracker(store=store, strict=True, retry_attempts=1, heartbeat=3600) as tracker:
        run_id = tracker.create("import")
        store.go_down()
        with pytest.raises(StoreUnavailable):
            tracker.start(run_id)
        store.come_back()
        assert 0 == tracker.spool_status().events


def test_an_exclusive_run_needs_the_store(tracker: RunTracker, store: FaultyStore) -> None:
    """One active run per key cannot be promised without the store: create fails closed."""
    store.go_down()
    with pytest.raises(StoreUnavailable):
        tracker.create("import", exclusive="import")
    store.come_back()
    assert 0 == tracker.spool_status().events


def test_an_exclusive_key_is_held_until_the_last_word(tracker: RunTracker) -> None:
    """The second create names the first run; after its end the key is free."""
    first = tracker.create("import", run_id=1, exclusive="import")
    with pytest.raises(RunAlreadyActive, match="run 1 holds it"):
        tracker.create("import", run_id=2, exclusive="import")
    tracker.cancel(first)
    assert 2 == tracker.create("import", run_id=2, exclusive="import")


def test_a_repeat_of_create_is_harmless(tmp_path: Path, tracker: RunTracker) -> None:
    """Same id and content from another process: the same run and no new event; other content is refused."""
    tracker.create("import", run_id=1, params={"a": 1})
    with RunTracker(tmp_path / "runs.db", **SETTINGS) as other:
        assert 1 == other.create("import", run_id="1", params={"a": 1})
        with pytest.raises(RunAlreadyExists, match="other params"):
            other.create("import", run_id=1, params={"a": 2})
    assert ["RunCreated"] == story(tracker, 1)


def test_a_late_delivery_that_meets_another_last_word_becomes_a_contradiction(
    tmp_path: Path, tracker: RunTracker, store: FaultyStore
) -> None:
    """The work completed while the store was away; meanwhile somebody else recorded a failure, and that stands."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    store.go_down()
    tracker.complete(run_id)
    with RunTracker(tmp_path / "runs.db", **SETTINGS) as other:
        other.fail(run_id, "given up")
    store.come_back()
    tracker.deliver_spool()
    assert ["RunCreated", "RunStarted", "RunFailed", "OutcomeContradicted"] == story(
        tracker, run_id
    )
    view = tracker.get(run_id)
    assert ("failed", True, 0) == (view.status, view.contradicted, tracker.spool_status().events)


def test_a_verdict_is_superseded_by_the_late_delivery(
    tmp_path: Path, tracker: RunTracker, store: FaultyStore
) -> None:
    """Declared lost while its outcome waited in the spool: the truth wins, and the feed carries the correction."""
    run_id = tracker.create("import", run_id=1)
    tracker.start(run_id)
    store.go_down()
    tracker.complete(run_id)
    clock = MovableClock(tracker.clock())
    clock.advance(seconds=3600)
    with RunTracker(tmp_path / "runs.db", clock=clock, **SETTINGS) as reaper:
        assert [1] == [view.run_id for view in reaper.sweep()]
        assert reaper.get(1).status_update_failed
    store.come_back()
    tracker.deliver_spool()
    assert [
        {"run_id": 1, "complete": True, "db_status": "failed", "status_update_failed": True},
        {"run_id": 1, "complete": True, "db_status": "completed"},
    ] == [signal for _, signal in tracker.completions()]


def test_progress_does_not_crawl_while_the_store_is_down(
    tracker: RunTracker, store: FaultyStore
) -> None:
    """After one failed append, progress is kept without asking the store each time."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    store.go_down()
    tracker.progress(run_id, 1)
    asked = store.calls.count("append")
    for number in range(2, 50):
        tracker.progress(run_id, number)
    assert asked == store.calls.count("append")
    store.come_back()
    tracker.complete(run_id)
    assert 49 == tracker.get(run_id).progress_current


def test_patience_is_spent_once(tracker: RunTracker, store: FaultyStore) -> None:
    """Create, start and complete against a store that is away wait for one budget, not for three."""
    store.go_down(transient=True)
    run_id = tracker.create("import")
    spent = store.calls.count("append")
    tracker.start(run_id)
    tracker.complete(run_id)
    assert (6, 4) == (spent, store.calls.count("append") - spent)
    store.come_back()
    assert 3 == tracker.deliver_spool()


def test_one_at_a_time_finds_out_whether_the_store_is_back(
    tracker: RunTracker, store: FaultyStore
) -> None:
    """While the store is down and somebody waits for its answer, what others report is kept at once; a thousand need not queue."""
    entered, may_go = threading.Event(), threading.Event()
    for run_id in (1, 2, 3):
        tracker.create("import", run_id=run_id)
        tracker.start(run_id)
    store.go_down()
    assert not tracker.complete(1).stored
    store.come_back()
    store.first("append", lambda: (entered.set(), may_go.wait(10)))
    first = threading.Thread(target=tracker.complete, args=(2,))
    first.start()
    assert entered.wait(10)
    appends = store.calls.count("append")
    receipt = tracker.complete(3)
    assert (False, appends) == (receipt.stored, store.calls.count("append"))
    assert 2 == tracker.spool_status().events
    may_go.set()
    first.join(10)
    tracker.deliver_spool()
    assert ["completed"] * 3 == [tracker.get(run_id).status for run_id in (1, 2, 3)]


def test_a_command_on_an_unknown_run_needs_the_store(
    tracker: RunTracker, store: FaultyStore
) -> None:
    """Without a store nobody can know whether the run exists: that is said, and nothing is kept."""
    store.go_down()
    with pytest.raises(StoreUnavailable):
        tracker.request_cancel("who")
    store.come_back()
    assert 0 == tracker.spool_status().events


def test_what_was_read_is_remembered(
    tmp_path: Path, tracker: RunTracker, store: FaultyStore
) -> None:
    """A run of another process is read once, also when nothing is appended to it here."""
    with RunTracker(tmp_path / "runs.db", **SETTINGS) as other:
        run_id = other.create("import")
        other.cancel(run_id)
    for _ in range(3):
        assert "cancelled" == tracker.cancel(run_id).status
    assert 1 == store.calls.count("read_run")


def test_the_last_that_is_known_is_what_the_store_took(
    tracker: RunTracker, store: FaultyStore
) -> None:
    """Not what it refused."""
    run_id = tracker.create("import")
    tracker.start(run_id)
    started = tracker.get(run_id)
    store.go_down()
    tracker.complete(run_id)
    assert started == tracker.last_known(run_id)


def test_nobody_races_for_ever(
    tracker: RunTracker, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many conflicts the command ends with an error, and a delivery waits for another time."""
    monkeypatch.setattr(journal, "_MAX_CONFLICTS", 3)
    tracker.create("import", run_id=1)
    tracker.create("import", run_id=2)
    store.fail("append", times=3, error=VersionConflict(1, expected=1, found=2))
    with pytest.raises(StoreUnavailable, match="run 1: expected to append, but lost 3 races"):
        tracker.cancel(1)
    store.go_down()
    tracker.cancel(2)
    store.come_back()
    store.fail("append", times=3, error=VersionConflict(2, expected=1, found=2))
    assert 0 == tracker.deliver_spool()
    assert 1 == tracker.deliver_spool()
    assert ["RunCreated"] == story(tracker, 1)
    assert ["RunCreated", "RunCancelled"] == story(tracker, 2)


def test_what_another_process_left_goes_behind_what_waits_here(
    tracker: RunTracker, store: FaultyStore, clock: MovableClock
) -> None:
    """Both are the same run's: its progress fits only when its start has gone first."""
    run_id = tracker.create("import")
    store.go_down()
    tracker.start(run_id)
    store.come_back()
    left = NewEvent("0" * 32, RunProgressed(current=5), clock.advance(seconds=1))
    assert 2 == tracker._journal.adopt(run_id, [left])
    assert ["RunCreated", "RunStarted", "RunProgressed"] == story(tracker, run_id)
    assert 0 == tracker.spool_status().events
