"""Commands that keep house: sweep, rebuild, verify."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from .options import KEEP, AsJson
from .output import one_line, show, stderr_console, write, write_json
from .session import Session, remark
from .words import counted


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for name, command in (("sweep", sweep), ("rebuild", rebuild), ("verify", verify)):
        app.command(name, rich_help_panel=KEEP)(command)


def sweep(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Give up flagged runs: each whose flag still holds is recorded as lost.

    A lost run counts as failed. Should its real outcome come after all, it takes the verdict's place.

    Example: lastword sweep
    """
    session: Session = ctx.obj
    # The table says what the log would say.
    with session.open(quiet=True) as tracker, _bar("looking for flagged runs"):
        views = tracker.sweep()
    if as_json:
        write_json(view.model_dump(mode="json") for view in views)
    elif views:
        from .tables import runs

        show(runs(views, session.now, short=sys.stdout.isatty()))
    remark(f"{counted(len(views), 'run')} declared lost" if views else "nothing to give up")


def rebuild(ctx: typer.Context) -> None:
    """Compute the row of every run anew from its events, and put the new rows in place at once.

    Example: lastword rebuild
    """
    session: Session = ctx.obj
    with session.open() as tracker, _bar("rebuilding") as advance:
        number = tracker.rebuild(advance)
    remark(f"{counted(number, 'row')} computed from the events")


def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check that each history is whole and each row is what its events say; exit with 1 if not.

    Example: lastword verify
    """
    session: Session = ctx.obj
    with session.open() as tracker, _bar("verifying") as advance:
        total = sum(tracker.counts().values())
        report = tracker.verify(lambda done: advance(done, total))
    if as_json:
        write_json([{"ok": report.ok, **report.model_dump(mode="json")}])
    else:
        for problem in report.problems:
            write(one_line(f"run {problem.run_id}: {problem.what}; {problem.remedy}") + "\n")
        seen = f"{counted(report.runs, 'run')} with {counted(report.events, 'event')}"
        write(
            f"ok: {seen}\n"
            if report.ok
            else f"{counted(len(report.problems), 'problem')} in {seen}\n"
        )
    if not report.ok:
        raise typer.Exit(1)


@contextmanager
def _bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr while the block runs, if that is a terminal; call what it gives with (done, in all)."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr_console(), transient=True) as bars:
        bar = bars.add_task(text, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
