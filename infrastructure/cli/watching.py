"""Commands that wait for what happens: watch, completions."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Annotated

import typer

from ...domain.errors import RunNotFound
from ...domain.events import RecordedEvent
from ...domain.values import RunId, run_key
from ...projections.run_view import RunView
from .. import words
from ..tracking.tracker import RunTracker
from .options import LOOK, AsJson
from .output import write, write_json
from .session import Session, remark, resolve

_WAIT_SECONDS = 1.0
_BATCH = 500
_ENDED_SHOWN = 15


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("watch", rich_help_panel=LOOK)(watch)
    app.command("completions", rich_help_panel=LOOK)(completions)


def completions(
    ctx: typer.Context,
    after: Annotated[
        int, typer.Option(metavar="N", min=0, help="Only what stands behind this position.")
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Then wait for new ones, until you interrupt it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the completion feed: one line for every last word, in the order of the store.

    Keep the last position and go on from it with --after. A run that was given up and reported later stands here twice; the later
    line is the correction.

    Example: lastword completions --after 1200 --follow --json
    """
    session: Session = ctx.obj
    with session.open(create=follow and session.url is None) as tracker:
        for position, signal in tracker.follow(after) if follow else tracker.completions(after):
            if as_json:
                write_json([{**signal, "position": position}])
            else:
                lost = "  (lost)" if "status_update_failed" in signal else ""
                write(f"{position:>8}  {signal['run_id']}  {signal['db_status']}{lost}\n")


def watch(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="One run: follow it until its last word."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Watch runs as they change: a live table on a terminal, else a line for each change.

    With a run: what has happened to it and what happens next, until its last word. Without one: until you interrupt it.

    Example: lastword watch 0198c1f2
    """
    session: Session = ctx.obj
    with session.open(create=run is None and session.url is None) as tracker:
        if run is not None:
            _watch_one(tracker, resolve(tracker, run), as_json)
        elif sys.stdout.isatty() and not as_json:
            _watch_table(session, tracker)
        else:
            _watch_lines(tracker, as_json)


def _watch_one(tracker: RunTracker, run_id: RunId, as_json: bool) -> None:
    seen = 0
    suspected = None
    while True:
        position = tracker.store.last_position()
        view = tracker.get(run_id)
        if view.version > seen:
            for recorded in tracker.history(run_id)[seen:]:
                _print_event(recorded, as_json, named=False)
                seen = recorded.version
                view = tracker.get(run_id)
        if view.status.is_terminal and view.version == seen:
            return
        if view.flag is not None and view.flag.reason != suspected:
            suspected = view.flag.reason
            remark(f"run {run_id}: {words.remark(view)}; `lastword sweep` gives it up")
        tracker.store.wait(position, _WAIT_SECONDS)


def _watch_lines(tracker: RunTracker, as_json: bool) -> None:
    position = tracker.store.last_position()
    names: OrderedDict[str, str] = OrderedDict()
    while True:
        for recorded in tracker.store.read(position, _BATCH):
            position = recorded.position
            if recorded.is_of_store:
                continue
            _print_event(recorded, as_json, named=True, name=_name(tracker, names, recorded))
        tracker.store.wait(position, _WAIT_SECONDS)


def _watch_table(session: Session, tracker: RunTracker) -> None:
    from rich.console import Console
    from rich.live import Live

    from .tables import runs

    console = Console(highlight=False, markup=False)
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            position = tracker.store.last_position()
            live.update(
                runs(_interesting(tracker, console.height), session.now, short=True), refresh=True
            )
            tracker.store.wait(position, _WAIT_SECONDS)


def _interesting(tracker: RunTracker, height: int) -> list[RunView]:
    """What is under way, newest first, then what ended last, as far as the terminal has room."""
    room = max(3, height - 3)
    active = tracker.active()[::-1][:room]
    ended = [view for view in tracker.list(limit=50) if view.status.is_terminal]
    return [*active, *ended[: min(_ENDED_SHOWN, room - len(active))]]


def _print_event(recorded: RecordedEvent, as_json: bool, *, named: bool, name: str = "") -> None:
    if as_json:
        write_json([recorded.as_json()])
        return
    who = f"{recorded.run_id}  {name}  " if named else ""
    at = recorded.occurred_at.strftime("%H:%M:%S")
    write(f"{at}  {who}{recorded.type}  {words.event(recorded)}".rstrip() + "\n")


def _name(tracker: RunTracker, names: OrderedDict[str, str], recorded: RecordedEvent) -> str:
    key = run_key(recorded.run_id)
    if key not in names:
        try:
            names[key] = tracker.get(recorded.run_id).name
        except RunNotFound:  # a store whose rows are being rebuilt
            names[key] = "?"
        if len(names) > _BATCH:
            names.popitem(last=False)
    return names[key]
