"""One OpenTelemetry span per run, where the application traces.

The span begins with `RunStarted`, has the run's events as its events, and ends with the outcome, which gives it its status: completed OK,
failed ERROR, cancelled none. Code inside the run finds it as the current span. Its parent is the span that was current at the start, else
the one in ``TRACEPARENT``, else the span of the run's parent if that run is executed here. A run that another process executed, and that
ends here (a worker without Python, a verdict), gets its span as a whole at its end.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...domain.events import (
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from ...domain.status import RunStatus
from ...domain.values import RunId, run_key
from ...projections.run_view import RunView
from .metrics import opentelemetry_is_used

if TYPE_CHECKING:
    from ..tracking.receipts import Receipt

TRACEPARENT = "TRACEPARENT"
"""The variable that carries a span to the programs that a process starts."""

_MOST = 10_000
"""Runs that are kept in mind; of more, the oldest lose their span."""


class RunSpans:
    """The spans of the runs that one tracker executes."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._created: OrderedDict[str, RunCreated] = OrderedDict()

    @property
    def is_wanted(self) -> bool:
        """Whether the application traces."""
        return opentelemetry_is_used("opentelemetry.trace")

    def told(self, receipt: Receipt, view: RunView | None, now: datetime, *, ours: bool) -> None:
        """These events happened just now; `ours`: in a run that this process executes."""
        key = run_key(receipt.run_id)
        for event in receipt.events:
            if isinstance(event, RunCreated):
                _put(self._created, key, event)
            elif isinstance(event, RunStarted):
                created = self._created.pop(key, None)
                if ours:
                    self._begin(key, receipt, created, view, now)
            span = self._open.get(key)
            if event.LEADS_TO is not None and event.LEADS_TO.is_terminal:
                self._created.pop(key, None)
                if span is None and view is not None and view.started_at is not None:
                    span = self._begin(key, receipt, None, view, view.started_at)
                if span is not None:
                    span.add_event(event.TOPIC, _told(event), _ns(now))
                    _end(span, event, receipt, now)
                    self._open.pop(key, None)
            elif span is not None:
                span.add_event(event.TOPIC, _told(event), _ns(now))

    @contextmanager
    def current(self, run_id: RunId) -> Iterator[None]:
        """Inside the block, the run's span is the current one."""
        span = self._open.get(run_key(run_id))
        if span is None:
            yield
            return
        from opentelemetry import trace

        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield

    def carrier(self, run_id: RunId) -> Mapping[str, str]:
        """The variables that make the run's span the parent of what another program does."""
        span = self._open.get(run_key(run_id))
        if span is None:
            return {}
        from opentelemetry import trace

        return {name.upper(): value for name, value in _written(trace.set_span_in_context(span))}

    def _begin(
        self,
        key: str,
        receipt: Receipt,
        created: RunCreated | None,
        view: RunView | None,
        at: datetime,
    ) -> Any:
        from opentelemetry import trace

        about = created or view
        attributes: dict[str, str | int] = {"lastword.run.id": str(receipt.run_id)}
        links: list[trace.Link] = []
        context = None
        if about is not None:
            attributes["lastword.run.name"] = about.name
            attributes["lastword.run.attempt"] = about.attempt
            if about.correlation_id is not None:
                attributes["lastword.run.correlation_id"] = about.correlation_id
            if about.parent_id is not None:
                attributes["lastword.run.parent_id"] = str(about.parent_id)
        if not trace.get_current_span().get_span_context().is_valid:
            context = _inherited()
        parent = None
        if about is not None and about.parent_id is not None:
            parent = self._open.get(run_key(about.parent_id))
        if parent is not None:
            above = trace.get_current_span(context).get_span_context()
            if not above.is_valid:
                context = trace.set_span_in_context(parent)
            elif above.span_id != parent.get_span_context().span_id:
                links.append(trace.Link(parent.get_span_context()))
        span = trace.get_tracer("lastword").start_span(
            about.name if about is not None else "run",
            context,
            attributes=attributes,
            links=links,
            start_time=_ns(at),
        )
        _put(self._open, key, span)
        return span


def _end(span: Any, event: RunEvent, receipt: Receipt, now: datetime) -> None:
    from opentelemetry.trace import Status, StatusCode

    outcome = outcome_name(event)
    span.set_attribute("lastword.run.outcome", outcome)
    if isinstance(event, RunFailed):
        span.set_attribute("error.type", event.error.type)
        span.set_status(Status(StatusCode.ERROR, event.error.message))
    elif isinstance(event, RunLost):
        span.set_attribute("error.type", "lost")
        span.set_status(Status(StatusCode.ERROR, f"lost: {event.flag.value}"))
    elif event.LEADS_TO is RunStatus.COMPLETED:
        span.set_status(Status(StatusCode.OK))
    if not receipt.stored:
        span.set_attribute("lastword.status_update_failed", True)
    span.end(_ns(now))


def outcome_name(event: RunEvent) -> str:
    """The word for a terminal event in metrics and spans: completed, failed, cancelled or lost."""
    if isinstance(event, RunLost):
        return "lost"
    return "" if event.LEADS_TO is None else event.LEADS_TO.value


def _told(event: RunEvent) -> dict[str, Any]:
    """What a span's event says: what was measured and what went wrong; nothing that people passed in."""
    match event:
        case RunProgressed():
            told = {"current": event.current, "total": event.total, "step": event.step}
        case RunFailed():
            told = {"exception.type": event.error.type, "exception.message": event.error.message}
        case RunLost():
            told = {"flag": event.flag.value}
        case _:
            told = {}
    return {name: value for name, value in told.items() if value is not None}


def _inherited() -> Any:
    """The context that the environment carries; None when it carries none."""
    carried = {
        name.lower(): value
        for name, value in os.environ.items()
        if name in {TRACEPARENT, "TRACESTATE"}
    }
    if not carried:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(carried)


def _written(context: Any) -> Iterator[tuple[str, str]]:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, context)
    yield from carrier.items()


def _put(those: OrderedDict[str, Any], key: str, value: Any) -> None:
    those[key] = value
    while len(those) > _MOST:
        with suppress(KeyError):
            _, oldest = those.popitem(last=False)
            if hasattr(oldest, "end"):
                oldest.end()


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
