"""Metrics reach an OpenTelemetry reader, each run is one span, and nothing of it is imported when nobody uses it."""

from __future__ import annotations

import asyncio
import doctest
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from faults.kit import FaultyStore, MovableClock
from lastword import AsyncRunTracker, Owner, RunAlreadyActive, RunManager, RunTracker
from lastword.domain.commands import CancelRun
from lastword.infrastructure.opening import open_store
from lastword.infrastructure.telemetry import metrics, prometheus, spans
from managing import QUICK, finished
from telemetry import metering, points, spans_of, tracing


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    with metering(monkeypatch) as reader:
        yield reader


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    monkeypatch.delenv(spans.TRACEPARENT, raising=False)
    with tracing(monkeypatch) as exporter:
        yield exporter


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(tmp_path: Path, clock: MovableClock) -> FaultyStore:
    return FaultyStore(open_store(tmp_path / "runs.db", clock=clock))


@pytest.fixture
def tracker(store: FaultyStore, clock: MovableClock) -> Iterator[RunTracker]:
    with RunTracker(store=store, clock=clock, heartbeat=3600, **QUICK) as tracker:
        yield tracker


ELSEWHERE = Owner(host="elsewhere", pid=1, started_at=datetime(2026, 1, 1, tzinfo=UTC))


class TestMetrics:
    def test_outcomes_and_durations(
        self, tracker: RunTracker, reader: InMemoryMetricReader, clock: MovableClock
    ) -> None:
        """By name and outcome; what is going on now is counted up and down."""
        tracker.create("import", run_id=1)
        tracker.start(1)
        during = points(reader)
        clock.advance(seconds=30)
        tracker.complete(1)
        with pytest.raises(ValueError, match="no"), tracker.run("import"):
            raise ValueError("no")
        after = points(reader)
        assert ({(): 1}, {(): 0}) == (
            during["lastword.runs.executing"],
            after["lastword.runs.executing"],
        )
        assert {("import",): 2} == after["lastword.runs.started"]
        ended = {("completed", "import"): 1, ("failed", "import"): 1}
        assert (ended, ended) == (after["lastword.runs.ended"], after["lastword.run.duration"])
        assert 30 == metrics.totals()[metrics.RUN_DURATION]["import", "completed"][1]
        assert {
            ("RunCreated",): 2,
            ("RunStarted",): 2,
            ("RunCompleted",): 1,
            ("RunFailed",): 1,
        } == (after["lastword.events.stored"])
        assert {("stored",): 6} == after["lastword.append.duration"]

    def test_an_outage(
        self, tracker: RunTracker, store: FaultyStore, reader: InMemoryMetricReader
    ) -> None:
        """A refused append, its retries, what waits, what is delivered, and that nothing waits any more."""
        tracker.create("import", run_id=1)
        store.go_down(transient=True)
        tracker.start(1)
        during = points(reader)
        store.come_back()
        tracker.deliver_spool()
        tracker.flagged()
        after = points(reader)
        assert {(): 1} == during["lastword.status_update.failures"]
        assert {(): 1} == during["lastword.spool.pending"]
        assert {(): 0} == after["lastword.spool.pending"]
        assert {(): 1} == after["lastword.spool.delivered"]
        assert {(): 0} == after["lastword.runs.flagged"]
        assert {("stored",): 2, ("unavailable",): 2} == after["lastword.append.duration"]

    def test_retries(
        self, store: FaultyStore, reader: InMemoryMetricReader, clock: MovableClock
    ) -> None:
        """Each repeated attempt counts."""
        store.fail("append", times=2)
        with RunTracker(store=store, clock=clock, heartbeat=3600, retry_base_delay=0) as tracker:
            tracker.create("import")
        assert {(): 2} == points(reader)["lastword.append.retries"]

    def test_a_conflict(
        self, tracker: RunTracker, tmp_path: Path, reader: InMemoryMetricReader
    ) -> None:
        """Somebody else was faster: counted, and decided again."""
        tracker.create("import", run_id=1)
        with RunTracker(tmp_path / "runs.db", heartbeat=3600) as other:
            other.start(1)
        tracker.request_cancel(1)
        told = points(reader)
        assert {(): 1} == told["lastword.append.conflicts"]
        assert 1 == told["lastword.append.duration"]["conflict",]

    def test_a_refusal(self, tracker: RunTracker, reader: InMemoryMetricReader) -> None:
        """Whether the store answers with a rule, or a condition does not hold."""
        tracker.create("import", run_id=1, exclusive="import")
        with pytest.raises(RunAlreadyActive):
            tracker.create("import", run_id=2, exclusive="import")
        tracker._journal.execute(1, CancelRun(), guard=lambda _: False)
        assert {("stored",): 1, ("refused",): 2} == points(reader)["lastword.append.duration"]

    def test_a_verdict(
        self, tracker: RunTracker, reader: InMemoryMetricReader, clock: MovableClock
    ) -> None:
        """A sweep counts itself, and what it gave up as lost."""
        tracker.create("import", run_id=1, lease=timedelta(seconds=5))
        tracker.start(1, owner=ELSEWHERE)
        clock.advance(seconds=60)
        tracker.sweep()
        told = points(reader)
        assert ({(): 1}, {("lost", "import"): 1}) == (
            told["lastword.sweeps"],
            told["lastword.runs.ended"],
        )

    def test_names_without_end(self, tracker: RunTracker, reader: InMemoryMetricReader) -> None:
        """An application that names every run anew does not fill the memory."""
        for number in range(1100):
            metrics.count(metrics.RUNS_STARTED, 1, f"run-{number}")
        series = metrics.totals()[metrics.RUNS_STARTED]
        assert (1001, 100) == (len(series), series["(others)",][0])

    def test_the_examples_run(self) -> None:
        """Examples in docstrings are true."""
        assert (0, 2) == tuple(doctest.testmod(metrics))
        assert 0 == doctest.testmod(prometheus).failed


class TestSpans:
    def test_a_run_is_a_span_with_its_events(
        self, tracker: RunTracker, exporter: InMemorySpanExporter, clock: MovableClock
    ) -> None:
        """From its start to its outcome, by the tracker's clock; what people passed in is not in it."""
        began = clock.now
        with tracker.run("import", run_id=1, params={"password": "x"}, correlation_id="c-1") as run:
            clock.advance(seconds=2)
            run.progress(3, 10, step="extract")
            clock.advance(seconds=3)
        (span,) = exporter.get_finished_spans()
        assert span.attributes == {
            "lastword.run.id": "1",
            "lastword.run.name": "import",
            "lastword.run.attempt": 1,
            "lastword.run.correlation_id": "c-1",
            "lastword.run.outcome": "completed",
        }
        assert ("import", SpanKind.INTERNAL, StatusCode.OK) == (
            span.name,
            span.kind,
            span.status.status_code,
        )
        assert [
            ("RunStarted", {}),
            ("RunProgressed", {"current": 3, "total": 10, "step": "extract"}),
            ("RunCompleted", {}),
        ] == [(event.name, dict(event.attributes or {})) for event in span.events]
        assert span.start_time is not None
        assert span.end_time is not None
        assert (began.timestamp(), 5.0) == (
            span.start_time / 1e9,
            (span.end_time - span.start_time) / 1e9,
        )

    @pytest.mark.parametrize(
        ("error", "status", "more"),
        [
            (ValueError("no /etc/passwd"), StatusCode.ERROR, {"error.type": "ValueError"}),
            (KeyboardInterrupt(), StatusCode.UNSET, {}),
            (SystemExit(0), StatusCode.OK, {}),
        ],
        ids=["failed", "cancelled", "completed by exit"],
    )
    def test_the_outcome_is_the_status(
        self,
        tracker: RunTracker,
        exporter: InMemorySpanExporter,
        error: BaseException,
        status: StatusCode,
        more: dict[str, str],
    ) -> None:
        """Failed is an error with its sanitised text; cancelled is none."""
        with pytest.raises(type(error)), tracker.run("import"):
            raise error
        (span,) = exporter.get_finished_spans()
        assert status == span.status.status_code
        assert more.items() <= (span.attributes or {}).items()
        assert "passwd" not in str(span.to_json())

    def test_code_inside_is_below_it(
        self, tracker: RunTracker, exporter: InMemorySpanExporter
    ) -> None:
        """In blocks, async blocks, and functions of a manager; a run inside a run is its child."""
        tracer = trace.get_tracer("test")

        async def asynchronous() -> None:
            async with AsyncRunTracker(tracker).run("async"):
                with tracer.start_as_current_span("in async"):
                    await asyncio.sleep(0)

        def managed(context: Any) -> None:
            with tracer.start_as_current_span("in managed"):
                pass

        with (
            tracker.run("outer"),
            tracker.run("inner"),
            tracer.start_as_current_span("in inner"),
        ):
            pass
        finished(asynchronous())
        with RunManager(tracker) as manager:
            manager.start_run("managed", managed)
        told = spans_of(exporter)
        ids = {span.context.span_id: name for name, span in told.items() if span.context}
        assert {
            "in inner": "inner",
            "inner": "outer",
            "outer": None,
            "in async": "async",
            "async": None,
            "in managed": "managed",
            "managed": None,
        } == {name: span.parent and ids[span.parent.span_id] for name, span in told.items()}

    def test_a_parent_by_id(self, tracker: RunTracker, exporter: InMemorySpanExporter) -> None:
        """The parent's span is the parent, or linked to when another span is current."""
        tracer = trace.get_tracer("test")
        tracker.create("parent", run_id=1)
        tracker.start(1)
        with tracker.run("child", parent_id=1):
            pass
        with tracer.start_as_current_span("request"), tracker.run("linked", parent_id=1):
            pass
        tracker.complete(1)
        told = spans_of(exporter)
        parent = told["parent"].context
        assert parent is not None
        assert told["child"].parent == parent
        assert [parent] == [link.context for link in told["linked"].links]
        assert told["linked"].parent == told["request"].context

    def test_the_environment(
        self,
        tracker: RunTracker,
        exporter: InMemorySpanExporter,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """`TRACEPARENT` is the parent of runs that have no other; the run's own goes to the programs that it starts."""
        trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        monkeypatch.setenv("TRACEPARENT", f"00-{trace_id}-{parent_id}-01")
        with tracker.run("import") as run:
            carried = tracker.telemetry.carrier(run.run_id)
        (span,) = exporter.get_finished_spans()
        assert span.parent is not None
        assert span.context is not None
        assert (int(trace_id, 16), int(parent_id, 16)) == (
            span.parent.trace_id,
            span.parent.span_id,
        )
        assert {"TRACEPARENT": f"00-{trace_id}-{span.context.span_id:016x}-01"} == carried

    def test_an_outcome_that_is_not_stored(
        self, tracker: RunTracker, store: FaultyStore, exporter: InMemorySpanExporter
    ) -> None:
        """The span ends when the work ends, and says so; the delivery makes no second one."""
        with tracker.run("import"):
            store.go_down()
        store.come_back()
        assert 1 == tracker.deliver_spool()
        (span,) = exporter.get_finished_spans()
        told = span.attributes or {}
        assert ("completed", True) == (
            told["lastword.run.outcome"],
            told["lastword.status_update_failed"],
        )

    def test_a_run_that_ends_for_somebody_else(
        self, tracker: RunTracker, exporter: InMemorySpanExporter, clock: MovableClock
    ) -> None:
        """A worker without Python, and a verdict: the whole span comes at the end."""
        for run_id in (1, 2):
            tracker.create("import", run_id=run_id, lease=timedelta(seconds=5))
            tracker.start(run_id, owner=ELSEWHERE)
        clock.advance(seconds=60)
        tracker.fail(1, "exit code 3")
        tracker.sweep()
        told = [
            (span.status.status_code, (span.end_time or 0) - (span.start_time or 0))
            for span in exporter.get_finished_spans()
        ]
        assert [(StatusCode.ERROR, 60 * 10**9)] * 2 == told

    def test_tracing_that_breaks(
        self,
        tracker: RunTracker,
        monkeypatch: pytest.MonkeyPatch,
        exporter: InMemorySpanExporter,
    ) -> None:
        """Is logged; the run goes on."""

        def broken(*_: Any, **__: Any) -> Any:
            raise ValueError("no tracer")

        monkeypatch.setattr(trace, "get_tracer", broken)
        with tracker.run("import", run_id=1):
            pass
        assert "completed" == tracker.get(1).status


class TestWithoutOpenTelemetry:
    def test_nothing_is_imported(self, tmp_path: Path) -> None:
        """A process that does not use it does not pay for it, though it is installed."""
        code = (
            "import sys; from lastword import RunTracker\n"
            "with RunTracker(sys.argv[1]) as tracker, tracker.run('import') as run: run.progress(1)\n"
            "print(*sorted(name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus'))))"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "own.db")],
            check=True,
            capture_output=True,
            text=True,
        )
        assert "" == answer.stdout.strip()


TRACED = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
provider = TracerProvider()
line = lambda span: span.to_json(indent=None) + "\\n"
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
trace.set_tracer_provider(provider)
from lastword.__main__ import main
main()
"""


def test_nested_commands_are_one_trace(tmp_path: Path) -> None:
    """`lastword run` inside `lastword run`: the inner one's span is below the outer one's, over three processes."""
    script = tmp_path / "traced.py"
    script.write_text(TRACED, encoding="utf-8")
    lastword = [sys.executable, str(script), "--url", str(tmp_path / "runs.db"), "run"]
    answer = subprocess.run(
        [*lastword, "--name", "outer", "--", *lastword, "--name", "inner", "--", "true"],
        check=True,
        capture_output=True,
        text=True,
    )
    inner, outer = (json.loads(line) for line in answer.stdout.splitlines())
    assert ("inner", "outer") == (inner["name"], outer["name"])
    assert inner["parent_id"] == outer["context"]["span_id"]
    assert inner["context"]["trace_id"] == outer["context"]["trace_id"]
    assert inner["attributes"]["lastword.run.parent_id"] == outer["attributes"]["lastword.run.id"]
