"""OpenTelemetry for one test: its own providers, with exporters that keep everything in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lastword.infrastructure.telemetry import metrics as ours


@contextmanager
def metering(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """A reader of its own, so that the process-wide provider stays as it is; our totals begin at nothing."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with monkeypatch.context() as patch:
        patch.setattr(metrics, "get_meter", provider.get_meter)
        patch.setattr(ours, "_totals", {})
        ours._sender.cache_clear()
        yield reader
    ours._sender.cache_clear()


@contextmanager
def tracing(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An exporter of its own."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with monkeypatch.context() as patch:
        patch.setattr(trace, "get_tracer", provider.get_tracer)
        yield exporter


def points(reader: InMemoryMetricReader) -> dict[str, dict[tuple[Any, ...], Any]]:
    """By metric and by the values of its attributes: the number, or for a histogram how many values it had."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: {
            tuple(value for _, value in sorted((point.attributes or {}).items())): (
                point.count if hasattr(point, "count") else point.value  # type: ignore[union-attr]  # one or the other
            )
            for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def spans_of(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """By name."""
    return {span.name: span for span in exporter.get_finished_spans()}
