"""The command that serves HTTP: serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ...domain.errors import InvalidInput
from ..settings import load_settings
from .options import DO
from .output import write, write_json
from .session import Session, remark

if TYPE_CHECKING:
    from ..web.serving import Server


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("serve", rich_help_panel=DO)(serve)


def serve(
    ctx: typer.Context,
    host: Annotated[
        str,
        typer.Option(
            metavar="H",
            help="The address to listen on. Any but this machine's own needs a token in LASTWORD_TOKEN.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="P", min=0, max=65535, help="The port; 0: a free one.")
    ] = 5278,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A name under which people reach it, e.g. through a proxy; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say where it listens as one JSON object.")
    ] = False,
) -> None:
    """Serve the HTTP API and the web page, until you interrupt it.

    Where it listens is printed as soon as it answers. Needs the extra `web`.

    Example: lastword serve --port 8000
    """
    try:
        from ..web.serving import Server
    except ImportError as error:
        raise InvalidInput(
            f"serve: expected the extra `web`, found no {error.name}; install it: pip install 'lastword[web]'"
        ) from error

    def tell(server: Server) -> None:
        if as_json:
            write_json([{"url": server.url, "host": server.host, "port": server.port}])
        else:
            write(f"listening on {server.url}\n")
            remark("Ctrl-C ends it")

    session: Session = ctx.obj
    token = load_settings(url=session.url).token
    with session.open(create=True, strict=False) as tracker:
        Server(
            tracker,
            host=host,
            port=port,
            token=token,
            allowed_hosts=allow_host or (),
            when_ready=tell,
        ).run()
