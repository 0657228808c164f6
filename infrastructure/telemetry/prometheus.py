"""The page for Prometheus: what the store says now, and what this process has counted. Without the SDK of OpenTelemetry.

The names are public, and stand in `docs/reference/metrics.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from ...domain.errors import LastwordError
from ...domain.status import FlagReason
from ...projections.run_view import RunView
from ..logs import get_logger
from .metrics import CATALOGUE, RUNS_FLAGGED, SPOOL_PENDING, Instrument, Series, totals

if TYPE_CHECKING:
    from ..tracking.tracker import RunTracker

log = get_logger("lastword.prometheus")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SAID_BY_THE_STORE = {RUNS_FLAGGED, SPOOL_PENDING}
"""On the page the store speaks for all processes."""


def metrics_page(tracker: RunTracker) -> bytes:
    """The page in Prometheus's text format. When the store does not answer, ``lastword_store_up`` is 0 and its figures are not there."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(tracker))  # type: ignore[arg-type]  # a collector is what has `collect`
    return generate_latest(registry)


class StoreCollector:
    """Asks the store at each scrape; may be registered in an application's own registry, too."""

    def __init__(self, tracker: RunTracker) -> None:
        self._tracker = tracker

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        about = GaugeMetricFamily(
            "lastword_build_info", "The release that answers", labels=["version"]
        )
        about.add_metric([version("lastword")], 1)
        yield about
        try:
            figures = [*self._of_the_store()]
        except LastwordError as error:
            log.warning("lastword.metrics.store_away", error=str(error))
            figures = []
        yield _gauge("lastword_store_up", "Whether the store answered", int(bool(figures)))
        yield from figures
        yield from self._of_the_spool()
        yield from _of_the_process()

    def _of_the_store(self) -> Iterator[Metric]:
        tracker = self._tracker
        now = tracker.clock()
        counts, active = tracker.counts(), tracker.active()
        runs = GaugeMetricFamily("lastword_runs", "Runs in the store, by status", labels=["status"])
        for status, number in counts.items():
            runs.add_metric([status.value], number)
        yield runs
        reasons = Counter(view.flag.reason for view in active if view.flag is not None)
        flagged = GaugeMetricFamily(
            "lastword_runs_flagged",
            "Active runs that look as if they will never end",
            labels=["reason"],
        )
        for reason in FlagReason:
            flagged.add_metric([reason.value], reasons[reason])
        yield flagged
        yield _gauge(
            "lastword_oldest_active_run_age_seconds",
            "Since the oldest run without a last word was created; 0 when there is none",
            max((_age(view, now) for view in active), default=0),
        )
        yield _gauge(
            "lastword_last_position",
            "The newest event's number in the order of the store",
            tracker.store.last_position(),
        )

    def _of_the_spool(self) -> Iterator[Metric]:
        spool = self._tracker.spool_status()
        for name, text, value in (
            ("events", "Events that wait on this machine for the store", spool.events),
            ("files", "Spool files on this machine", spool.files),
            ("set_aside_files", "Spool files that somebody should look at", spool.set_aside),
        ):
            yield _gauge(f"lastword_spool_{name}", text, value)


def _of_the_process() -> Iterator[Metric]:
    counted = totals()
    for instrument in CATALOGUE:
        if instrument not in _SAID_BY_THE_STORE:
            yield _family(instrument, counted.get(instrument, {}))


def prometheus_name(instrument: Instrument) -> str:
    """The metric's name on the page, without the ending of a counter.

    >>> from .metrics import APPEND_DURATION
    >>> prometheus_name(APPEND_DURATION)
    'lastword_append_duration_seconds'
    """
    unit = "_seconds" if instrument.unit == "s" else ""
    return instrument.name.replace(".", "_") + unit


def _family(instrument: Instrument, series: Mapping[Series, tuple[int, float]]) -> Metric:
    name = prometheus_name(instrument)
    labels = [it.replace(".", "_") for it in instrument.attributes]
    items = {**series}
    if not labels:
        items.setdefault((), (0, 0.0))  # so that a rate can be taken of the first one
    family: CounterMetricFamily | GaugeMetricFamily | SummaryMetricFamily
    if instrument.kind == "histogram":
        family = SummaryMetricFamily(name, instrument.description, labels=labels)
        for values, (number, total) in items.items():
            family.add_metric(values, number, total)
        return family
    kind = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
    family = kind(name, instrument.description, labels=labels)
    for values, (_, total) in items.items():
        family.add_metric(values, total)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _age(view: RunView, now: datetime) -> float:
    return max((now - view.created_at).total_seconds(), 0.0)
