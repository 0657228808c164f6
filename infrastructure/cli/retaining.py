"""Commands that let go: archive, erase."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ...domain.errors import InvalidInput
from ..inputs import moment_of
from ..words import counted
from .keeping import bar
from .options import KEEP, AsJson
from .output import write, write_json
from .session import Session, remark, resolve, this_user


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("archive", rich_help_panel=KEEP)(archive)
    app.command("erase", rich_help_panel=KEEP)(erase)


def archive(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A new file, or the one of an archive to go on with."),
    ],
    before: Annotated[
        str,
        typer.Option(metavar="WHEN", help="Runs whose last word is older: 90d, 2026-02-05T22:00Z."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many runs it would be.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write old finished runs into a file, and remove them from the store.

    The file is read back and compared before anything is removed; `lastword import FILE` brings the runs back. After a crash the same
    command goes on where it stopped. Seals still verify.

    Example: lastword archive --before 90d 2026-q1.jsonl
    """
    session: Session = ctx.obj
    when = moment_of(before, "before", session.now)
    with session.open() as tracker, bar("archiving") as advance:
        report = tracker.archive(when, file, advance, actor=this_user(), dry_run=dry_run)
    if as_json:
        write_json([{**report.model_dump(mode="json"), "dry_run": dry_run}])
        return
    if dry_run:
        write(f"{counted(report.runs, 'run')} would go into {file}\n")
    elif report.runs:
        events = counted(report.events, "event")
        write(f"{counted(report.runs, 'run')} with {events} went into {file}\n")
    else:
        write("nothing to archive\n")
    if report.left:
        why = (
            "not in this file"
            if report.resumed
            else "events wait in the spool, or something came meanwhile"
        )
        remark(f"{counted(report.left, 'finished run')} left in the store: {why}")


def erase(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN")],
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; it is kept with the run.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact/--no-compact",
            help="Write the whole file anew, so that nothing is left in its unused parts.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Replace what people wrote into a finished run by placeholders, for good: params, result, tags, error text, messages, names.

    Status, times and numbers stay, seals still verify, and the erasure is part of the run's history. Backups, exports and archives are
    not touched.

    Example: lastword erase 17 --reason "asked for by letter" --yes
    """
    session: Session = ctx.obj
    with session.open() as tracker:
        run_id = resolve(tracker, run)
        if not yes:
            _ask(f"Erase what people wrote into run {run_id}? This cannot be undone.")
        with bar("erasing"):
            report = tracker.erase(run_id, reason=reason, actor=this_user(), compact=compact)
    if as_json:
        write_json([report.model_dump(mode="json")])
    elif report.events:
        write(f"run {run_id}: {counted(report.events, 'event')} erased\n")
    else:
        write(f"run {run_id}: nothing to erase\n")
    if not report.journal_cleared:
        remark(
            "somebody reads an earlier state of the store, or this role may not vacuum its tables: the old text is still on the disk;"
            " erase again later, or as the owner of the tables"
        )


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidInput(
            "erase: expected a terminal to ask on, found none; say --yes if you are sure"
        )
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if not agreed:
        remark("nothing was erased")
        raise typer.Exit(1)
