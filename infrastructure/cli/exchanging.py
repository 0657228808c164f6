"""Commands for carrying histories away and bringing them in: export, import, migrate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..exchange.exporting import Format, check_elsewhere, write_export
from ..exchange.importing import opened
from ..tracking.tracker import RunTracker
from ..words import counted, one_line
from .keeping import bar, bars
from .options import KEEP, AsJson
from .output import to_stdout, write, write_json
from .session import Session, remark, resolve

if TYPE_CHECKING:
    from ..exchange.migrating import MigrateReport

STANDARD = Path("-")
"""Stdin or stdout."""

_AT_ONCE = 1 << 16  # bytes


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("export", rich_help_panel=KEEP)(export)
    app.command("import", rich_help_panel=KEEP)(import_)
    app.command("migrate", rich_help_panel=KEEP)(migrate)


def export(
    ctx: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]", help="These runs; without any the whole store."),
    ] = None,
    format: Annotated[  # noqa: A002  # the option's name
        Format, typer.Option(help="CloudEvents can be imported again.")
    ] = Format.CLOUDEVENTS,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact",
            help="Without params, results, tags, error texts, names of people and hosts.",
        ),
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Default: stdout.")
    ] = STANDARD,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="OpenLineage's job namespace.")
    ] = None,
) -> None:
    """Write the histories of all runs, or of some, as lines of JSON: one event a line, in the order of the store.

    What is written is the store as of one moment. A file is there whole or not at all.

    Example: lastword export --output runs.jsonl
    """
    session: Session = ctx.obj
    with session.open() as tracker:
        run_ids = [resolve(tracker, run) for run in runs] if runs else None
        if output != STANDARD:
            check_elsewhere(output, tracker.store.url, "export")
        with _bar("exporting", shown=output != STANDARD or not sys.stdout.isatty()) as advance:
            lines = tracker.export(
                run_ids, format=format, redact=redact, namespace=namespace, progress=advance
            )
            written = _to_stdout(lines) if output == STANDARD else write_export(output, lines)
    if output != STANDARD:
        remark(f"{counted(written, 'event')} written to {output}")


def import_(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `lastword export` wrote; - is stdin.")
    ],
    format: Annotated[  # noqa: A002  # the option's name
        Format, typer.Option(help="What the lines are.")
    ] = Format.CLOUDEVENTS,
    as_json: AsJson = False,
) -> None:
    """Take in histories of another store: all that the file holds, or nothing. A repeat adds nothing.

    Each history has to be whole. Runs that are there already are extended where the file knows more; where it knows something else, it
    is refused. The store is created when it is missing.

    Example: lastword import runs.jsonl
    """
    session: Session = ctx.obj
    if file != STANDARD:
        opened(file, "").close()  # before a store is made for nothing
    with session.open(create=True) as tracker, _bar("importing", shown=True) as advance:
        report = _imported(tracker, file, format, advance)
    if as_json:
        write_json([report])
        return
    new, extended = report["new_runs"], report.get("extended_runs", 0)
    more = f" and {extended:,} extended" if extended else ""
    read = f"{counted(report['events'], 'event')} of {counted(report['runs'], 'run')} read"
    write(f"{read}, {report['added']:,} added: {counted(new, 'new run')}{more}\n")


def migrate(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FROM_URL", help="The store to copy; it is not changed.")
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="TO_URL", help="An empty store, which is made when missing, or an earlier copy."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Copy a whole store to another one of any kind, and check the copy: the same events with the same positions, times and id.

    Seals hold for the copy, too. Writers may go on meanwhile: stop them at the end and migrate again, which copies only what is new.
    After a crash, do the same again. Exits with 1 when the verification of the copy finds something.

    Example: lastword migrate sqlite:///runs.db postgresql://lastword@db1/runs
    """
    from ..exchange.migrating import migrate as copy

    session: Session = ctx.obj
    session.configure_logs()
    with bars("opening") as tell:
        report = copy(source, destination, tell)
    if as_json:
        write_json([{"ok": report.ok, **report.model_dump(mode="json")}])
    else:
        _tell_migration(report)
    if not report.ok:
        raise typer.Exit(1)


def _tell_migration(report: MigrateReport) -> None:
    for problem in report.verified.problems:
        write(one_line(str(problem)) + "\n")
    runs = counted(report.verified.runs, "run")
    write(
        f"{counted(report.copied, 'event')} copied; {report.destination} has {runs} with {counted(report.events, 'event')}"
    )
    write(f" up to position {report.position}\nfingerprint {report.digest}\n")
    if not report.ok:
        found = len(report.verified.problems) + report.verified.omitted
        remark(f"{counted(found, 'problem')} in the copy")
    for left in _left_behind(report):
        remark(left)
    if not report.settled:
        remark("stop who writes to the old store and migrate again: only what is new is copied")


def _left_behind(report: MigrateReport) -> Iterator[str]:
    if report.behind:
        yield f"the old store went on by {counted(report.behind, 'event')}"
    if report.waiting:
        yield f"{counted(report.waiting, 'event')} wait in its spool on this machine; `lastword --url {report.source} deliver` tries again"
    if report.writers:
        more = f" and {len(report.writers) - 3:,} more" if len(report.writers) > 3 else ""
        yield f"at work on it a moment ago: {', '.join(report.writers[:3])}{more}"


def _imported(
    tracker: RunTracker,
    file: Path,
    format: Format,  # noqa: A002  # the option's name
    advance: Callable[[int, int], None],
) -> dict[str, Any]:
    stdin = file == STANDARD
    if format is Format.CLOUDEVENTS:
        source = sys.stdin.buffer if stdin else file
        return tracker.import_events(source, advance).model_dump(mode="json")
    from dataclasses import asdict

    from ..exchange.openlineage_import import import_openlineage

    total = 0 if stdin else file.stat().st_size
    with nullcontext(sys.stdin.buffer) if stdin else opened(file, tracker.store.url) as lines:

        def progress(events: int) -> None:
            advance(events if stdin else lines.tell(), total)

        name = "stdin" if stdin else file.name
        return asdict(import_openlineage(tracker.store, lines, name, progress=progress))


def _to_stdout(lines: Iterable[bytes]) -> int:
    """Bytes as they are: lines of JSON are UTF-8 whatever the terminal speaks. Raises as `output.write`."""
    written = 0
    out = sys.stdout.buffer
    with to_stdout():
        pending = bytearray()
        for line in lines:
            written += 1
            pending += line
            if len(pending) >= _AT_ONCE:
                out.write(pending)
                pending.clear()
        out.write(pending)
        out.flush()
    return written


def _bar(text: str, *, shown: bool) -> AbstractContextManager[Callable[[int, int], None]]:
    return bar(text) if shown else nullcontext(lambda done, total: None)
