"""The command that tells an OpenLineage backend what happens."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from ...domain.errors import InvalidInput
from ...domain.values import shown
from .options import KEEP
from .session import Session, remark


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("openlineage", rich_help_panel=KEEP)(openlineage)


def openlineage(
    ctx: typer.Context,
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="The backend, e.g. http://localhost:5000.")
    ],
    cursor: Annotated[
        Path,
        typer.Option(
            "--cursor",
            metavar="FILE",
            help="Remembers what was delivered. A new one begins with the store's first event.",
        ),
    ],
    namespace: Annotated[
        str,
        typer.Option(metavar="NAME", help="The namespace of the jobs; give each store its own."),
    ] = "lastword",
) -> None:
    """Send the store's events to an OpenLineage backend, and go on while new ones happen.

    In order and at least once: while the backend is away or refuses an event, it waits and tries again. SIGTERM and Ctrl-C
    end it, and the next call goes on from the cursor file. OPENLINEAGE_API_KEY is sent along where it is set.

    Example: lastword openlineage --to http://localhost:5000 --cursor lineage.cursor
    """
    from ..exchange.openlineage_emitter import OpenLineageEmitter, require_openlineage

    require_openlineage()
    session: Session = ctx.obj
    with session.open() as tracker:
        emitter = OpenLineageEmitter(tracker, _client(to), cursor, namespace=namespace)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: emitter.stop())
        emitter.run()
    refused = f"; {to} did not take the next event" if emitter.faults else ""
    remark(f"delivered up to position {emitter.position:,}{refused}")


def _client(url: str) -> Any:
    """A client that tries once: the emitter waits between tries, and can be stopped while it does."""
    from openlineage.client import OpenLineageClient

    transport: dict[str, Any] = {"type": "http", "url": url, "retry": {"total": 0}}
    if key := os.environ.get("OPENLINEAGE_API_KEY"):
        transport["auth"] = {"type": "api_key", "apiKey": key}
    # The working directory of this command is not where the runs' code comes from.
    facets = {"source_code_location": {"disabled": True}}
    try:
        return OpenLineageClient(config={"transport": transport, "facets": facets})
    except ValueError as error:
        raise InvalidInput(
            f"--to: expected a URL such as http://localhost:5000, found {shown(url)} ({error})"
        ) from None
