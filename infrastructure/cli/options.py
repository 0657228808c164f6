"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

LOOK, DO, KEEP = "Look", "Do", "Keep house"
"""How the commands are grouped in the help."""

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's id, or a beginning or end of it that no other has."
    ),
]
Actor = Annotated[
    str | None, typer.Option(metavar="WHO", help="Who asks for it. Default: your login name.")
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="K=V", help="A label; may be repeated.")
]
