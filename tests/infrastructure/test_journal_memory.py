"""Events that wait in memory alone: a store that has no spool beside it."""

from __future__ import annotations

from typing import Any

from faults.kit import FaultyStore
from lastword import Failure, RunTracker
from lastword.infrastructure.opening import open_store

SETTINGS: dict[str, Any] = {"retry_attempts": 1, "heartbeat": 3600}


def test_they_wait_in_order_until_the_store_takes_them() -> None:
    """The receipts and the alerts say that they are not safe."""
    store = FaultyStore(open_store("sqlite:///:memory:"))
    alerts: list[Failure] = []
    with RunTracker(store=store, on_alert=[alerts.append], **SETTINGS) as tracker:
        run_id = tracker.create("import")
        store.go_down()
        receipts = [tracker.start(run_id), tracker.complete(run_id), tracker.complete(run_id)]
        store.come_back()
        assert [(False, False)] * 3 == [(receipt.stored, receipt.kept) for receipt in receipts]
        assert [False, False] == [alert.kept for alert in alerts]
        assert 2 == tracker.deliver_spool()
        assert ["RunCreated", "RunStarted", "RunCompleted"] == [
            recorded.type for recorded in tracker.history(run_id)
        ]


def test_what_says_nothing_new_is_dropped() -> None:
    """Somebody else has said the same meanwhile."""
    store = FaultyStore(open_store("sqlite:///:memory:"))
    with (
        RunTracker(store=store, **SETTINGS) as tracker,
        RunTracker(store=store.real, **SETTINGS) as other,
    ):
        run_id = tracker.create("import")
        store.go_down()
        tracker.cancel(run_id)
        store.come_back()
        other.cancel(run_id)
        assert 0 == tracker.deliver_spool()
        assert 2 == len(tracker.history(run_id))
        assert [] == tracker._journal.unsent()
