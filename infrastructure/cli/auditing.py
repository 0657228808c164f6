"""Commands for audits: as-of, verify, seal."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ...projections.history import StoreSnapshot
from ...projections.verifying import SealCheck
from ..inputs import moment_of
from ..tracking.tracker import RunTracker
from ..words import counted, moment, one_line
from .keeping import bar
from .options import KEEP, LOOK, AsJson
from .output import show, write, write_json
from .session import Session, remark, resolve


class Time(StrEnum):
    """Which of an event's two times counts."""

    RECORDED = "recorded"
    OCCURRED = "occurred"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("as-of", rich_help_panel=LOOK)(as_of)
    app.command("verify", rich_help_panel=KEEP)(verify)
    app.command("seal", rich_help_panel=KEEP)(seal)


def as_of(
    ctx: typer.Context,
    when: Annotated[
        str, typer.Argument(metavar="WHEN", help="2h, 3d, 2026-02-05T22:00Z; included.")
    ],
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="One run, as it was; without it all runs."),
    ] = None,
    by: Annotated[
        Time,
        typer.Option(help="What the store knew then (recorded), or what was true then (occurred)."),
    ] = Time.RECORDED,
    as_json: AsJson = False,
) -> None:
    """Show what the store knew at an earlier moment: one run, or how many had each status and which were active.

    Flags are no part of it. A run that did not exist yet gives no output but a remark.

    Example: lastword as-of 2026-02-05T02:00Z
    """
    session: Session = ctx.obj
    at = moment_of(when, "when", session.now)
    with session.open() as tracker:
        if run is not None:
            _one_run(tracker, run, at, by, as_json)
            return
        snapshot = tracker.status_at(at, by.value)
    if as_json:
        write_json([_json(snapshot)])
    else:
        _tables(snapshot)


def verify(
    ctx: typer.Context,
    seal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also compare the log with this seal."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that each history is whole and each row is what its events say; exit with 1 if not.

    Also checks counters, tags, leases and the spool. With a seal it finds every change, removal, insertion and reordering in the
    part of the log that the seal covers.

    Example: lastword verify --seal 2026-02.seal
    """
    session: Session = ctx.obj
    with session.open() as tracker, bar("verifying") as advance:
        report = tracker.verify(advance, seal=seal)
    if as_json:
        write_json([{"ok": report.ok, **report.model_dump(mode="json")}])
    else:
        for problem in report.problems:
            write(one_line(str(problem)) + "\n")
        found = len(report.problems) + report.omitted
        if report.omitted:
            remark(f"{report.omitted:,} more are not shown")
        seen = f"{counted(report.runs, 'run')} with {counted(report.events, 'event')}"
        if report.archived:
            seen += f" ({report.archived:,} more are archived)"
        if report.seal is not None and report.seal.ok:
            seen += f", and the log is as it was sealed: {_covered(report.seal)}"
        write(f"ok: {seen}\n" if report.ok else f"{counted(found, 'problem')} in {seen}\n")
    if not report.ok:
        raise typer.Exit(1)


def seal(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file; keep it where the store is not.")
    ],
    after: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An earlier seal to build on: only what came since is sealed."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a fingerprint of the log so far into a file, with which `verify --seal` finds any later change.

    Example: lastword seal 2026-02.seal
    """
    session: Session = ctx.obj
    with session.open() as tracker, bar("sealing"):
        made = tracker.seal(file, after)
    if as_json:
        write_json([made.as_json()])
        return
    new = made.end.events - made.after.events
    since = f", {new:,} of them since {after}" if after is not None else ""
    write(f"sealed {_events(made.end.events, made.end.position)}{since}\n")
    write(f"digest {made.end.digest.hex()}\n")
    remark(f"keep {file} where whoever can change the store cannot change it")


def _one_run(tracker: RunTracker, run: str, at: datetime, by: Time, as_json: bool) -> None:
    run_id = resolve(tracker, run)
    view = tracker.as_of(run_id, at, by.value)
    if view is None:
        remark(f"run {run_id} did not exist yet at {moment(at)} UTC")
    elif as_json:
        write_json([view.model_dump(mode="json")])
    else:
        from .tables import story

        show(story(view, [], at))


def _json(snapshot: StoreSnapshot) -> dict[str, Any]:
    return snapshot.model_dump(mode="json")


def _tables(snapshot: StoreSnapshot) -> None:
    from .tables import counts, runs

    told = (
        "what the store knew" if snapshot.by == "recorded" else "what was true, as far as is known"
    )
    write(f"At {moment(snapshot.when)} UTC, {told}:\n\n")
    show(counts(snapshot.counts))
    if snapshot.active:
        write("\n")
        show(runs(snapshot.active, snapshot.when, short=False))


def _covered(check: SealCheck) -> str:
    vouched = f", {check.vouched:,} of them archived or erased" if check.vouched else ""
    return _events(check.events, check.position) + vouched


def _events(number: int, position: int) -> str:
    return f"{counted(number, 'event')} up to position {position}"
