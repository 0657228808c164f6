"""Metrics reach an OpenTelemetry reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from faults.kit import FaultyStore
from lastword import RunTracker
from lastword.infrastructure import telemetry
from lastword.infrastructure.opening import open_store


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """A reader of its own, so that the process-wide provider stays as it is."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    telemetry._instrument.cache_clear()
    return reader


def values(reader: InMemoryMetricReader) -> dict[str, float]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: metric.data.data_points[-1].value  # type: ignore[union-attr]  # sums and gauges only
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_an_outage_is_counted(tmp_path: Path, reader: InMemoryMetricReader) -> None:
    """A refused append, its retries, what waits, and that nothing waits any more."""
    store = FaultyStore(open_store(tmp_path / "runs.db"))
    with RunTracker(store=store, retry_attempts=3, retry_base_delay=0, heartbeat=3600) as tracker:
        run_id = tracker.create("import")
        store.go_down(transient=True)
        tracker.start(run_id)
        during = values(reader)
        store.come_back()
        tracker.deliver_spool()
        tracker.flagged()
        after = values(reader)
    telemetry._instrument.cache_clear()
    assert {
        "lastword.status_update.failures": 1,
        "lastword.append.retries": 2,
        "lastword.spool.pending": 1,
    } == during
    assert (0, 0) == (after["lastword.spool.pending"], after["lastword.runs.flagged"])
