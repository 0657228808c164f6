"""Commands that keep house: sweep, deliver, rebuild."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from ..words import counted
from .options import KEEP, AsJson
from .output import show, stderr_console, write, write_json
from .session import Session, remark


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for name, command in (
        ("sweep", sweep),
        ("deliver", deliver),
        ("rebuild", rebuild),
    ):
        app.command(name, rich_help_panel=KEEP)(command)


def sweep(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Give up flagged runs: each whose flag still holds is recorded as lost.

    A lost run counts as failed. Should its real outcome come after all, it takes the verdict's place.

    Example: lastword sweep
    """
    session: Session = ctx.obj
    # The table says what the log would say.
    with session.open(quiet=True) as tracker, bar("looking for flagged runs"):
        views = tracker.sweep()
    if as_json:
        write_json(view.model_dump(mode="json") for view in views)
    elif views:
        from .tables import runs

        show(runs(views, session.now, short=sys.stdout.isatty()))
    remark(f"{counted(len(views), 'run')} declared lost" if views else "nothing to give up")


def deliver(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Bring what waits in the spool into the store: events that it did not take when they happened.

    Processes that are alive deliver their own every few seconds; this takes over what ended ones left behind.

    Example: lastword deliver
    """
    session: Session = ctx.obj
    with session.open() as tracker, bar("delivering"):
        tracker.deliver_spool()
        delivered, left = tracker.delivered, tracker.spool_status()
    if as_json:
        write_json([{"delivered": delivered, "waiting": left.events, "files": left.files}])
        return
    write(f"{counted(delivered, 'event')} delivered\n" if delivered else "nothing to deliver\n")
    if left.events:
        remark(
            f"{counted(left.events, 'event')} of living processes, or not deliverable yet, still wait in the spool"
        )


def rebuild(ctx: typer.Context) -> None:
    """Compute the row of every run anew from its events, and put the new rows in place at once.

    Example: lastword rebuild
    """
    session: Session = ctx.obj
    with session.open() as tracker, bar("rebuilding") as advance:
        number = tracker.rebuild(advance)
    remark(f"{counted(number, 'row')} computed from the events")


@contextmanager
def bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr while the block runs, if that is a terminal; call what it gives with (done, in all)."""
    with bars(text) as tell:
        yield lambda done, total: tell(text, done, total)


@contextmanager
def bars(text: str) -> Iterator[Callable[[str, int, int], None]]:
    """The same for work of several steps; call what it gives with (step, done, in all). `text` stands there before the first."""
    if not sys.stderr.isatty():
        yield lambda step, done, total: None
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
    with Progress(*columns, console=stderr_console(), transient=True) as shown:
        task = shown.add_task(text, total=None)
        current = text

        def tell(step: str, done: int, total: int) -> None:
            nonlocal current
            if step != current:  # its speed says nothing of the next one's
                current = step
                shown.reset(task, description=step, total=None)
            shown.update(task, completed=done, total=total or None)

        yield tell
