"""The page that Prometheus scrapes: the store's figures and the process's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from browsing import Client
from faults.kit import FaultyStore, MovableClock
from lastword import RunTracker
from lastword.infrastructure.opening import open_store
from lastword.infrastructure.telemetry import metrics
from lastword.web import create_app
from managing import QUICK


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(tmp_path: Path, clock: MovableClock) -> FaultyStore:
    return FaultyStore(open_store(tmp_path / "runs.db", clock=clock))


@pytest.fixture
def tracker(
    store: FaultyStore, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunTracker]:
    monkeypatch.setattr(metrics, "_totals", {})
    with RunTracker(store=store, clock=clock, heartbeat=3600, **QUICK) as tracker:
        yield tracker


def scraped(tracker: RunTracker) -> dict[str, dict[tuple[str, ...], float]]:
    """By name and by the values of the labels, as Prometheus's own parser reads it."""
    answer = Client(create_app(tracker)).get("/metrics")
    assert 200 == answer.status_code
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in found.get(sample.name, {}), "a series stands there twice"
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_the_figures_of_the_store(tracker: RunTracker, clock: MovableClock) -> None:
    """Runs by status, flags by reason, the oldest active run, the newest position."""
    tracker.create("import", run_id=1, deadline=timedelta(seconds=10))
    tracker.start(1)
    with tracker.run("import"):
        pass
    clock.advance(seconds=30)
    tracker.beat()
    page = scraped(tracker)
    assert {
        ("pending",): 0,
        ("running",): 1,
        ("completed",): 1,
        ("failed",): 0,
        ("cancelled",): 0,
    } == page["lastword_runs"]
    assert {("owner_gone",): 0, ("silent",): 0, ("overdue",): 1, ("never_started",): 0} == page[
        "lastword_runs_flagged"
    ]
    assert {(): 30} == page["lastword_oldest_active_run_age_seconds"]
    assert {(): 5} == page["lastword_last_position"]
    assert ({(): 1}, {(): 1}) == (page["lastword_store_up"], page["lastword_runs_executing"])


def test_the_figures_of_the_process(tracker: RunTracker, clock: MovableClock) -> None:
    """Counters and sums under the names of the metrics, without OpenTelemetry's SDK."""
    with tracker.run("import"):
        clock.advance(seconds=2)
    page = scraped(tracker)
    assert {("completed", "import"): 1} == page["lastword_runs_ended_total"]
    assert {("completed", "import"): 2} == page["lastword_run_duration_seconds_sum"]
    assert {("stored",): 3} == page["lastword_append_duration_seconds_count"]
    assert {(): 0} == page["lastword_status_update_failures_total"]


def test_a_store_that_is_away(tracker: RunTracker, store: FaultyStore) -> None:
    """The page is there, says so, and shows what waits; its figures are left out rather than made up."""
    with tracker.run("import"):
        store.go_down()
    page = scraped(tracker)
    assert ({(): 0}, {(): 1}, {(): 1}) == (
        page["lastword_store_up"],
        page["lastword_spool_events"],
        page["lastword_status_update_failures_total"],
    )
    assert "lastword_runs" not in page


def test_odd_names(tracker: RunTracker) -> None:
    """Quotes, backslashes and line ends in a run's name cannot break the page."""
    name = 'a "quoted" \\ name'
    with tracker.run(name):
        pass
    assert {(name,): 1} == scraped(tracker)["lastword_runs_started_total"]


def test_the_page_needs_the_token(tracker: RunTracker) -> None:
    """Like everything but the probe of health."""
    app = create_app(tracker, token="a token that is long enough to be one")
    assert 401 == Client(app).get("/metrics").status_code
