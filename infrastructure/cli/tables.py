"""Runs and histories as tables and pages for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...domain.events import RecordedEvent
from ...domain.status import RunStatus
from ...projections.run_view import RunView
from .. import words
from ..words import one_line

STYLES = {
    "pending": "dim",
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
}
FLAG_STYLE = "bold magenta"

_SHORT = 8
_REMARK = 100
_LATE = timedelta(seconds=1)


def runs(views: Iterable[RunView], now: datetime, *, short: bool) -> Table:
    """One line a run. `short` shows the end of long ids, by which a run can be named too."""
    table = _table("run", "name", "status", "created (UTC)", "took", "")
    for column in table.columns[:-1]:
        column.no_wrap = True  # where it is narrow, the remark goes over several lines
    for view in views:
        table.add_row(
            _id(view, short=short),
            one_line(view.name),
            status(view),
            words.moment(view.created_at),
            words.took(view, now),
            Text(_cut(words.remark(view)), style=FLAG_STYLE if view.flag else ""),
        )
    for column in (table.columns[0], table.columns[2]):
        # Part of an id names no run, so the others make room.
        column.min_width = max((cell_len(str(cell)) for cell in column.cells), default=0)
    return table


def story(view: RunView, history: Sequence[RecordedEvent], now: datetime) -> RenderableType:
    """A run in words: what became of it, why it is suspected, and the facts."""
    parts: list[RenderableType] = [_headline(view, now)]
    if view.flag is not None:
        text = f"It looks as if it will never end ({view.flag.reason} since {words.moment(view.flag.since)} UTC): {view.flag.detail}."
        parts.append(Text(text, style=FLAG_STYLE))
        parts.append(Text("`lastword sweep` gives it up; its real outcome would still be taken."))
    if view.status_update_failed:
        parts.append(
            Text(
                "Nobody reported an outcome: this verdict is the tracker's own.",
                style=FLAG_STYLE,
            )
        )
    if view.contradicted:
        claims = [words.event(item) for item in history if item.type == "OutcomeContradicted"]
        text = f"Another outcome was reported after the last word: {'; '.join(claims)}."
        parts.append(Text(text, style=FLAG_STYLE))
    return Group(*parts, Text(), _facts(view, now))


def history(events: Sequence[RecordedEvent]) -> Table:
    """The audit trail with the time between steps."""
    table = _table("#", "when (UTC)", "after", "event", "what", "actor")
    before: datetime | None = None
    for item in events:
        after = "" if before is None else words.span(max(timedelta(0), item.occurred_at - before))
        before = item.occurred_at
        what = _cut(words.event(item))
        late = item.recorded_at - item.occurred_at
        if late > _LATE:
            what = f"{what} (stored {words.span(late)} later)".strip()
        style = STYLES.get(item.event.LEADS_TO or "", "")
        table.add_row(
            str(item.version),
            words.moment(item.occurred_at) + f".{item.occurred_at.microsecond // 1000:03d}",
            after,
            Text(item.type, style=style),
            what,
            item.actor or "",
        )
    return table


def counts(numbers: dict[RunStatus, int]) -> Table:
    """How many runs have each status."""
    table = _table("status", "runs")
    table.columns[1].justify = "right"
    for name, number in numbers.items():
        table.add_row(Text(name, style=STYLES[name]), f"{number:,}")
    return table


def status(view: RunView) -> Text:
    """The status in its colour; with a mark where the store had to judge by itself."""
    text = Text(view.status, style=STYLES[view.status])
    if view.flag is not None:
        text.append(" (flagged)", style=FLAG_STYLE)
    elif view.status_update_failed:
        text.append(" (lost)", style=FLAG_STYLE)
    return text


def short_id(run_id: object) -> str:
    """The end of a long id; it still names the run."""
    text = str(run_id)
    return text if len(text) <= 2 * _SHORT else text[-_SHORT:]


def _id(view: RunView, *, short: bool) -> str:
    return short_id(view.run_id) if short else str(view.run_id)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))


def _cut(text: str) -> str:
    return text if len(text) <= _REMARK else text[: _REMARK - 1] + "…"


def _headline(view: RunView, now: datetime) -> Text:
    text = Text(f"Run {view.run_id} ({one_line(view.name)}) ")
    match view.status:
        case RunStatus.PENDING:
            said = f"is pending for {words.span(now - view.created_at)}: nobody has begun it."
        case RunStatus.RUNNING:
            said = f"is running for {words.took(view, now)}"
            said += f", at {words.progress(view)}." if words.progress(view) else "."
        case RunStatus.COMPLETED:
            said = f"completed after {words.took(view, now)}."
        case RunStatus.FAILED:
            after = f" after {words.took(view, now)}" if view.started_at else " before it began"
            said = f"failed{after}: {one_line(view.error_message or 'no reason was given')}"
        case RunStatus.CANCELLED:
            after = f" after {words.took(view, now)}" if view.started_at else " before it began"
            said = f"was cancelled{after}."
    return text.append(said, style=STYLES[view.status])


def _facts(view: RunView, now: datetime) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    owner = view.owner and f"pid {view.owner.pid} on {view.owner.host}"
    by = f" by {view.actor}" if view.actor else ""
    ago = "" if view.last_seen_at is None else f" UTC, {words.span(now - view.last_seen_at)} ago"
    facts: list[tuple[str, Any]] = [
        ("status", view.status.value),
        ("created", f"{words.moment(view.created_at)} UTC{by}"),
        ("started", view.started_at and f"{words.moment(view.started_at)} UTC"),
        ("finished", view.finished_at and f"{words.moment(view.finished_at)} UTC"),
        ("took", view.started_at and words.took(view, now)),
        ("progress", words.progress(view)),
        ("error", view.error_type),
        ("exit code", None if view.exit_code is None else str(view.exit_code)),
        ("result", None if view.result is None else json.dumps(view.result, ensure_ascii=False)),
        ("note", view.note),
        ("owner", owner),
        (
            "last seen",
            None if view.status.is_terminal or not ago else words.moment(view.last_seen_at) + ago,
        ),
        (
            "cancellation",
            view.cancel_requested_at and f"requested {words.moment(view.cancel_requested_at)} UTC",
        ),
        ("deadline", view.deadline_at and f"{words.moment(view.deadline_at)} UTC"),
        ("parent", view.parent_id),
        ("attempt", f"{view.attempt}, of {view.retry_of}" if view.retry_of is not None else None),
        ("exclusive", view.exclusive),
        ("correlation", view.correlation_id),
        ("tags", " ".join(f"{key}={value}" for key, value in view.tags.items())),
        ("params", json.dumps(view.params, ensure_ascii=False) if view.params else None),
        ("history", f"{view.version} events; `lastword history {view.run_id}` shows them"),
    ]
    for name, fact in facts:
        if fact is not None and fact != "":
            table.add_row(Text(name, style="dim"), one_line(str(fact)))
    return table
