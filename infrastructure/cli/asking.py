"""Commands that answer questions: list, show, history, counts, flagged, check."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ...domain.errors import InvalidInput
from ...projections.queries import MAX_PAGE
from ...projections.run_view import RunView
from ..inputs import moment_of, pairs_of
from ..tracking.tracker import RunTracker
from ..words import counted
from .options import LOOK, AsJson, Run, Tags
from .output import show as show_all
from .output import write_json
from .session import Session, remark, resolve


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for name, command in (
        ("list", list_runs),
        ("show", show),
        ("history", history),
        ("counts", counts),
        ("flagged", flagged),
        ("check", check),
    ):
        app.command(name, rich_help_panel=LOOK)(command)


def list_runs(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS",
            help="pending, running, completed, failed or cancelled; may be repeated.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="N", help="Runs of this name.")] = None,
    flagged: Annotated[
        bool | None,
        typer.Option(
            "--flagged/--not-flagged", help="Only runs that have a flag now, or that have none."
        ),
    ] = None,
    tag: Tags = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Created at or after: 2h, 3d, 2026-02-05T22:00Z."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Created before; like --since.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many.")] = 50,
    cursor: Annotated[
        str | None, typer.Option(metavar="C", help="Go on where an earlier list ended.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first.

    Where there are more, a line on stderr says with which --cursor to go on.

    Example: lastword list --status failed --since 2d
    """
    session: Session = ctx.obj
    now = session.now
    if limit < 1:
        raise InvalidInput(f"limit: expected 1 or more, found {limit}")
    views: list[RunView] = []
    with session.open() as tracker:
        while len(views) < limit:
            page = tracker.list(
                status=status or None,
                name=name,
                flagged=flagged,
                tags=pairs_of(tag or (), "tag"),
                since=None if since is None else moment_of(since, "since", now),
                until=None if until is None else moment_of(until, "until", now),
                limit=min(MAX_PAGE, limit - len(views)),
                cursor=cursor,
            )
            cursor = page.next_cursor
            if as_json:
                write_json(view.model_dump(mode="json") for view in page)
            views.extend(page)
            if cursor is None:
                break
    if not as_json:
        _print_runs(session, views, "no runs")
    if cursor is not None:
        remark(f"there are more: --cursor {cursor}")


def show(ctx: typer.Context, run: Run, as_json: AsJson = False) -> None:
    """Tell the story of one run: what became of it, why it is flagged, and all that is known.

    Example: lastword show 0198c1f2
    """
    session: Session = ctx.obj
    with session.open() as tracker:
        view = tracker.get(resolve(tracker, run))
        events = tracker.history(view.run_id) if view.contradicted and not as_json else []
    if as_json:
        write_json([view.model_dump(mode="json")])
    else:
        from .tables import story

        show_all(story(view, events, session.now))


def history(ctx: typer.Context, run: Run, as_json: AsJson = False) -> None:
    """Show everything that happened to a run, with the time between the steps.

    Example: lastword history 0198c1f2
    """
    session: Session = ctx.obj
    with session.open() as tracker:
        events = tracker.history(resolve(tracker, run))
    if as_json:
        write_json(recorded.as_json() for recorded in events)
    else:
        from .tables import history as table

        show_all(table(events))


def counts(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Count the runs of each status.

    Example: lastword counts --json
    """
    session: Session = ctx.obj
    with session.open() as tracker:
        numbers = tracker.counts()
    if as_json:
        write_json([{status.value: number for status, number in numbers.items()}])
    else:
        from .tables import counts as table

        show_all(table(numbers))


def flagged(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the active runs that look as if they will never end, with the reason.

    Example: lastword flagged
    """
    session: Session = ctx.obj
    with session.open() as tracker:
        views = tracker.flagged()
    _answer(session, views, as_json, "no run is flagged")


def check(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Exit with 1 if a run is flagged, or if events wait that the store did not take: for cron and monitors.

    Example: lastword check || mail -s "runs need a look" ops@example.org
    """
    session: Session = ctx.obj
    with session.open() as tracker:
        views = tracker.flagged()
        waiting = _waiting(tracker)
    _answer(session, views, as_json, "no run is flagged")
    if views:
        remark(
            f"{counted(len(views), 'run')} flagged; `lastword sweep` gives up those that are lost"
        )
    if waiting:
        remark(
            f"{counted(waiting, 'event')} waiting to be stored, which happens when the store takes them"
        )
    aside = tracker.spool_status().set_aside
    if aside:
        remark(
            f"{counted(aside, 'spool file')} set aside; `lastword verify` says what is in there and what to do"
        )
    if views or waiting or aside:
        raise typer.Exit(1)


def _waiting(tracker: RunTracker) -> int:
    return tracker.spool_status().events


def _answer(session: Session, views: list[RunView], as_json: bool, nothing: str) -> None:
    if as_json:
        write_json(view.model_dump(mode="json") for view in views)
    else:
        _print_runs(session, views, nothing)


def _print_runs(session: Session, views: list[RunView], nothing: str) -> None:
    if not views:
        remark(nothing)
        return
    from .tables import runs

    show_all(runs(views, session.now, short=sys.stdout.isatty()))
