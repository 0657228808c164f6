"""How runs are told to people: durations, moments, and what happened in a few words."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..domain.events import (
    CancellationRequested,
    OutcomeContradicted,
    RecordedEvent,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunErased,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from ..projections.run_view import RunView


def span(length: timedelta) -> str:
    """A duration with the two units that matter.

    >>> span(timedelta(seconds=0.42)), span(timedelta(seconds=185)), span(timedelta(hours=50))
    ('0.42 s', '3 m 05 s', '2 d 02 h')
    """
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    for unit, size, smaller, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            return f"{whole} {unit} {rest // part:02d} {smaller}"
    return f"{seconds:.0f} s"


def ago(length: timedelta) -> str:
    """How long something is past, or will take to come, in one unit.

    >>> ago(timedelta(seconds=3)), ago(timedelta(minutes=5)), ago(-timedelta(hours=2)), ago(timedelta(days=400))
    ('3 s ago', '5 min ago', 'in 2 h', '400 d ago')
    """
    seconds = abs(int(length.total_seconds()))
    if seconds < 1:
        return "just now"
    unit, size = next(
        (unit, size)
        for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
        if seconds >= size
    )
    text = f"{seconds // size:,} {unit}"
    return f"in {text}" if length < timedelta(0) else f"{text} ago"


def moment(at: datetime | None) -> str:
    """In UTC, to the second."""
    return "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def took(view: RunView, now: datetime) -> str:
    """How long the work has been going on, or went on."""
    if view.started_at is None:
        return "-"
    return span(max(timedelta(0), (view.finished_at or now) - view.started_at))


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "run"), counted(2000, "run")
    ('1 run', '2,000 runs')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """Whatever it is, as one line that cannot move the cursor."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def amount(number: float) -> str:
    """A number in somebody's unit, as it is read.

    >>> amount(1_250_000), amount(0.5), amount(2.0), amount(1e30)
    ('1,250,000', '0.5', '2', '1e+30')
    """
    if abs(number) >= 1e15:
        return f"{number:g}"
    return f"{number:,.3f}".rstrip("0").rstrip(".")


def progress(view: RunView) -> str:
    """How far it got: ``3/10 (30 %) extract``; empty when nothing was reported."""
    if view.progress_current is None:
        return ""
    parts = [amount(view.progress_current) if view.progress_total is None else _share(view)]
    if view.current_step:
        parts.append(one_line(view.current_step))
    return " ".join(parts)


def remark(view: RunView) -> str:
    """What is most worth knowing about the run, in one line."""
    if view.flag is not None:
        return f"{view.flag.reason}: {view.flag.detail}"
    if view.error_message is not None:
        return one_line(view.error_message)
    if view.cancel_requested_at is not None and not view.status.is_terminal:
        return "cancellation requested"
    return progress(view)


def event(recorded: RecordedEvent) -> str:
    """What one event says beyond its name."""
    fact = recorded.event
    match fact:
        case RunCreated():
            text = fact.name + "".join(f" {key}={value}" for key, value in fact.tags.items())
        case RunStarted():
            text = f"pid {fact.owner.pid} on {fact.owner.host}"
        case RunProgressed():
            total = "" if fact.total is None else f"/{amount(fact.total)}"
            text = " ".join(
                filter(None, (f"{amount(fact.current)}{total}", fact.step, fact.message))
            )
        case RunFailed():
            text = f"{fact.error.type}: {fact.error.message}"
        case RunLost():
            text = f"{fact.flag}: {fact.evidence.detail}"
        case RunCompleted():
            text = fact.note or ("" if fact.result is None else f"result {fact.result}")
        case RunCancelled() | CancellationRequested() | RunErased():
            text = fact.reason or ""
        case OutcomeContradicted():
            text = f"claimed {fact.claimed}" + (f": {fact.detail}" if fact.detail else "")
        case _:
            text = ""
    return one_line(text)


def _share(view: RunView) -> str:
    current, total = view.progress_current or 0, view.progress_total or 0
    share = f" ({current / total:.0%})" if total > 0 else ""
    return f"{amount(current)}/{amount(total)}{share}"
