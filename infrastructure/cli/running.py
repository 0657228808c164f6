"""Commands that do something to a run: run, progress, cancel, demo."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from ...domain.errors import InvalidInput
from ..inputs import number_of, pairs_of, params_of, span_of
from .options import DO, Actor, Run, Tags
from .session import Session, remark, resolve, this_user

RUN_ID_VARIABLE = "LASTWORD_RUN_ID"
_TRUE = {"1", "true", "t", "yes", "y", "on"}
"""What counts as yes in the environment; anything else, also what is no setting at all, must not stop a command."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    passing = {"allow_interspersed_args": False}
    app.command("run", rich_help_panel=DO, context_settings=passing)(run)
    app.command("progress", rich_help_panel=DO, context_settings={"ignore_unknown_options": True})(
        progress
    )
    app.command("cancel", rich_help_panel=DO)(cancel)
    app.command("demo", rich_help_panel=DO)(demo)


def run(
    ctx: typer.Context,
    command: Annotated[
        list[str], typer.Argument(metavar="-- CMD...", help="The command and its arguments.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="N", help="Name of the run. Default: the command's.")
    ] = None,
    tag: Tags = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="K=JSON", help="A parameter to record; may be repeated."),
    ] = None,
    exclusive: Annotated[
        str | None,
        typer.Option(
            metavar="K", help="Run only if no active run holds this key; else exit with 2."
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="S", help="End the command after this time (90, 10m, 2h); exit with 124."
        ),
    ] = None,
    grace: Annotated[
        str, typer.Option(metavar="S", help="Between SIGTERM and SIGKILL when it has to end.")
    ] = "5",
    deadline: Annotated[
        str | None,
        typer.Option(metavar="S", help="Flag the run after this time. Default: the timeout."),
    ] = None,
    lease: Annotated[
        str | None,
        typer.Option(metavar="S", help="Flag the run when it was silent for so long."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Do not run the command if the run cannot be stored; exit with 3.",
        ),
    ] = False,
    run_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Id of the run. Default: a fresh one.")
    ] = None,
    actor: Actor = None,
    correlation_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Ties the run to a request elsewhere.")
    ] = None,
) -> None:
    """Run a command as a tracked run.

    Its output passes through untouched and its exit code is yours; nothing is added without --verbose, not even when the store
    is unavailable: the command runs all the same, unless --strict or --exclusive. Signals go on to it, and a run that ends by one
    is cancelled. It finds its run in $LASTWORD_RUN_ID; `lastword run` inside makes a child run. Secrets in its arguments are masked
    where a name gives them away (--token x); the end of its stderr is kept when it fails.

    Exit codes of its own: 2 nothing was run (usage, or a key that is held), 3 the same (store), 124 timeout, 126 and 127 not
    executable and not found, 128 + N ended by signal N.

    Example: lastword run --name import --tag team=data --timeout 2h -- python import.py
    """
    if not hasattr(signal, "sigtimedwait"):
        raise InvalidInput(
            "run: expected a system that tells where a signal came from, such as Linux;"
            " here, track the work from Python with `RunTracker.run`"
        )
    from ..processes.process import TrackedCommand, run_command
    from ..words import one_line
    from .output import note

    session: Session = ctx.obj
    session.configure_logs(quiet=True)
    strict = strict or os.environ.get("LASTWORD_STRICT", "").lower() in _TRUE
    wanted = TrackedCommand(
        command=tuple(command),
        name=name,
        run_id=run_id,
        params=params_of(param or ()),
        tags=pairs_of(tag or (), "tag"),
        actor=actor or this_user(),
        correlation_id=correlation_id,
        exclusive=exclusive,
        timeout=None if timeout is None else span_of(timeout, "timeout"),
        grace=span_of(grace, "grace"),
        deadline=None if deadline is None else span_of(deadline, "deadline"),
        lease=None if lease is None else span_of(lease, "lease"),
        strict=strict,
    )
    code = run_command(
        wanted,
        lambda clock: session.open(create=True, strict=strict, clock=clock, quiet=True),
        url=session.url_for_children(),
        complain=lambda text: note(f"lastword: error: {one_line(text)}"),
    )
    raise typer.Exit(code)


def progress(
    ctx: typer.Context,
    numbers: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] CURRENT [TOTAL]", help="How much is done, and how much there is to do."
        ),
    ],
    step: Annotated[
        str | None, typer.Option(metavar="S", help="What is being done, e.g. extract.")
    ] = None,
    message: Annotated[str | None, typer.Option(metavar="TEXT", help="A note for people.")] = None,
) -> None:
    """Report how far a run is.

    Inside `lastword run` the run is the one around it ($LASTWORD_RUN_ID), and two numbers are CURRENT and TOTAL; elsewhere name
    the run first.

    Example: lastword progress 3 10 --step extract
    """
    session: Session = ctx.obj
    around = os.environ.get(RUN_ID_VARIABLE)
    if len(numbers) > 3 or (around is None and len(numbers) < 2):
        raise InvalidInput(
            f"progress: expected RUN CURRENT [TOTAL], found {' '.join(numbers)!r:.60};"
            f" inside `lastword run` RUN may be left out"
        )
    named = len(numbers) == 3 or around is None
    fragment = numbers[0] if named else around or ""
    current, *rest = numbers[1:] if named else numbers
    now_at = number_of(current, "current")
    total = number_of(rest[0], "total") if rest else None
    with session.open() as tracker:
        tracker.progress(resolve(tracker, fragment), now_at, total, step=step, message=message)


def cancel(
    ctx: typer.Context,
    run: Run,
    reason: Annotated[str | None, typer.Option(metavar="R", help="Why; it is recorded.")] = None,
    actor: Actor = None,
) -> None:
    """Ask a run to stop.

    A command under `lastword run` gets SIGTERM within a second, and SIGKILL if it takes no notice. A function notices when it
    looks. A pending run is cancelled at once.

    Example: lastword cancel 0198c1f2 --reason "wrong folder"
    """
    session: Session = ctx.obj
    with session.open() as tracker:
        run_id = resolve(tracker, run)
        receipt = tracker.request_cancel(run_id, reason=reason, actor=actor or this_user())
    if receipt.events:
        done = "cancelled" if receipt.status.is_terminal else "asked to stop"
        remark(f"run {run_id}: {done}")
    elif receipt.status.is_terminal:
        remark(f"run {run_id}: it has had its last word already: {receipt.status}")
    else:
        remark(f"run {run_id}: it was asked to stop before")


def demo(ctx: typer.Context) -> None:
    """Take a tour of what Lastword does, on a throw-away store, with real processes.

    One run completes, one fails, one is killed and given up, one ends while the store is unwritable. It takes less than a
    minute, leaves nothing behind, and exits with 0 only if everything went as told.

    Example: lastword demo
    """
    from .tour import tour

    ctx.obj.configure_logs(quiet=True)  # what goes wrong there goes wrong on purpose
    raise typer.Exit(0 if tour() else 1)
