"""What this process counts: for OpenTelemetry where the application uses it, and in totals of our own for `/metrics`.

Nothing is imported for it: who has not imported the OpenTelemetry API has no provider either, and then only the totals are kept.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from sys import modules

ATTRIBUTE = "lastword."
"""In front of the attributes' names in OpenTelemetry."""


@dataclass(
    frozen=True, slots=True, eq=False
)  # each is one of a kind; comparing all fields takes long
class Instrument:
    """One metric. Its name is public: dashboards and alerts use it."""

    name: str
    kind: str
    """``counter``, ``up_down_counter``, ``gauge`` or ``histogram``."""
    description: str
    unit: str = "1"
    attributes: tuple[str, ...] = ()
    """Names without the prefix; none of them is a run's id."""
    buckets: tuple[float, ...] | None = None


_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)

RUNS_STARTED = Instrument(
    "lastword.runs.started", "counter", "Runs that this process began", "{run}", ("run.name",)
)
RUNS_ENDED = Instrument(
    "lastword.runs.ended",
    "counter",
    "Outcomes that were reported to this process, and verdicts of its sweeps",
    "{run}",
    ("run.name", "outcome"),
)
RUN_DURATION = Instrument(
    "lastword.run.duration",
    "histogram",
    "From the start of a run to its outcome",
    "s",
    ("run.name", "outcome"),
    _SLOW,
)
RUNS_EXECUTING = Instrument(
    "lastword.runs.executing", "up_down_counter", "Runs that this process executes now", "{run}"
)
RUNS_FLAGGED = Instrument(
    "lastword.runs.flagged", "gauge", "Flagged runs in the store, as last looked up", "{run}"
)
EVENTS_STORED = Instrument(
    "lastword.events.stored",
    "counter",
    "Events of this process's runs that the store took at the first asking",
    "{event}",
    ("event",),
)
APPEND_DURATION = Instrument(
    "lastword.append.duration",
    "histogram",
    "One attempt to append, up to the durable commit",
    "s",
    ("result",),
    _FAST,
)
APPEND_CONFLICTS = Instrument(
    "lastword.append.conflicts", "counter", "Appends that somebody else was faster than", "{append}"
)
APPEND_RETRIES = Instrument(
    "lastword.append.retries",
    "counter",
    "Attempts that were repeated after a fault that may pass",
    "{attempt}",
)
STATUS_UPDATE_FAILURES = Instrument(
    "lastword.status_update.failures",
    "counter",
    "Status updates that the store did not take, after retries",
    "{update}",
)
SPOOL_PENDING = Instrument(
    "lastword.spool.pending", "gauge", "Events of this process that wait in the spool", "{event}"
)
SPOOL_DELIVERED = Instrument(
    "lastword.spool.delivered",
    "counter",
    "Events that this process brought into the store later than they happened",
    "{event}",
)
SWEEPS = Instrument("lastword.sweeps", "counter", "Looks for runs to give up", "{sweep}")
HEARTBEAT_FAILURES = Instrument(
    "lastword.heartbeat.failures", "counter", "Beats that failed, also of a sweeper", "{beat}"
)

CATALOGUE = (
    RUNS_STARTED,
    RUNS_ENDED,
    RUN_DURATION,
    RUNS_EXECUTING,
    RUNS_FLAGGED,
    EVENTS_STORED,
    APPEND_DURATION,
    APPEND_CONFLICTS,
    APPEND_RETRIES,
    STATUS_UPDATE_FAILURES,
    SPOOL_PENDING,
    SPOOL_DELIVERED,
    SWEEPS,
    HEARTBEAT_FAILURES,
)
"""Every metric of a process."""

Series = tuple[str, ...]
"""The values of an instrument's attributes, in their order."""

_MOST_SERIES = 1000
"""An application that gives every run a name of its own must not fill the memory with series."""
_OTHERS = "(others)"

_lock = threading.Lock()
_totals: dict[Instrument, dict[Series, list[float]]] = {}
"""How many values, and their sum."""


def count(instrument: Instrument, amount: float = 1, *series: str) -> None:
    """Add to a counter, for the attributes with these values.

    >>> count(APPEND_RETRIES)
    """
    with _lock:
        try:
            total = _totals[instrument][series]
        except KeyError:
            total = _new(instrument, series)
        total[0] += 1
        total[1] += amount
    if _METRICS in modules or _NAMED_BY_ENVIRONMENT[_METRICS]:
        send = _sender(instrument)
        if send is not None:
            send(amount, _attributes(instrument, series))


observe = count
"""Add a value to a histogram: the same, for the totals have number and sum of both, and the instrument knows what it is to OpenTelemetry."""


def gauge(instrument: Instrument, value: float) -> None:
    """Set a gauge.

    >>> gauge(RUNS_FLAGGED, 0)
    """
    with _lock:
        _totals.setdefault(instrument, {})[()] = [1, value]
    if opentelemetry_is_used(_METRICS):
        send = _sender(instrument)
        if send is not None:
            send(value)


def totals() -> Mapping[Instrument, Mapping[Series, tuple[int, float]]]:
    """Since this process began: how many values each series had, and their sum. A gauge's sum is its last value."""
    with _lock:
        return {
            instrument: {series: (int(number), total) for series, (number, total) in those.items()}
            for instrument, those in _totals.items()
        }


def _new(instrument: Instrument, series: Series) -> list[float]:
    """The total of a series that is not there yet, or of those for which there is no room."""
    those = _totals.setdefault(instrument, {})
    if series not in those and len(those) >= _MOST_SERIES:
        series = tuple(_OTHERS for _ in series)
    return those.setdefault(series, [0, 0.0])


def _attributes(instrument: Instrument, series: Series) -> dict[str, str]:
    return {
        ATTRIBUTE + name: value for name, value in zip(instrument.attributes, series, strict=True)
    }


_METRICS = "opentelemetry.metrics"
_NAMED_BY_ENVIRONMENT = {
    _METRICS: "OTEL_PYTHON_METER_PROVIDER" in os.environ,
    "opentelemetry.trace": "OTEL_PYTHON_TRACER_PROVIDER" in os.environ,
}
"""Whether the environment chose a provider when the process began; looking each time would cost a tenth of a lifecycle."""


def opentelemetry_is_used(part: str) -> bool:
    """Whether the application has anything to do with this part of OpenTelemetry, given by the name of its module."""
    return part in modules or _NAMED_BY_ENVIRONMENT[part]


_METHODS = {"counter": "add", "up_down_counter": "add", "gauge": "set", "histogram": "record"}
"""What takes a value, by the kind of the instrument."""


@cache
def _sender(instrument: Instrument) -> Callable[..., None] | None:
    """What takes the instrument's values for OpenTelemetry, made when the first one comes; None when only a part of the API is there."""
    try:
        from opentelemetry import metrics
    except ImportError:
        return None
    make = getattr(metrics.get_meter("lastword"), f"create_{instrument.kind}")
    more = (
        {}
        if instrument.buckets is None
        else {"explicit_bucket_boundaries_advisory": instrument.buckets}
    )
    made = make(instrument.name, unit=instrument.unit, description=instrument.description, **more)
    return getattr(made, _METHODS[instrument.kind])


if hasattr(os, "register_at_fork"):

    def _after_fork_in_child() -> None:
        global _lock  # noqa: PLW0603  # a thread of the parent may have held it
        _lock = threading.Lock()
        _totals.clear()

    os.register_at_fork(after_in_child=_after_fork_in_child)
