"""Where output goes: data to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_UNBOUNDED = 10_000


STDOUT = "standard output"
"""Stands for the name of a file in the error of one that cannot be written to it."""


class ReaderGone(Exception):
    """Whoever read our stdout has closed it: `lastword list | head`."""


def write(text: str) -> None:
    """Text to stdout, at once. Raises `ReaderGone`, and `OSError` that says where nothing could be written."""
    with to_stdout():
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def to_stdout() -> Iterator[None]:
    """Inside, stdout is written to; see `write` for what is raised."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from error


def write_json(items: Iterable[Any]) -> None:
    """One JSON document a line."""
    plain = sys.stdout.encoding.lower().replace("-", "") != "utf8"
    for item in items:
        write(json.dumps(item, ensure_ascii=plain) + "\n")


def show(*renderables: RenderableType) -> None:
    """For people: with colour and fitted to the width on a terminal, plain and as wide as it needs to be elsewhere."""
    text = io.StringIO()
    console = _console_for(text, terminal=sys.stdout.isatty())
    for renderable in renderables:
        console.print(renderable)
    write("\n".join(line.rstrip() for line in text.getvalue().split("\n")))


def note(text: str) -> None:
    """A remark to stderr."""
    sys.stderr.write(text + "\n")


def stderr_console() -> Console:
    """For progress bars."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _console_for(file: io.StringIO, *, terminal: bool) -> Console:
    from rich.console import Console

    width = None
    if not terminal:
        width = (
            int(columns) if (columns := os.environ.get("COLUMNS", "")).isdecimal() else _UNBOUNDED
        )
    return Console(
        file=file,
        force_terminal=terminal,
        width=width or None,
        highlight=False,
        markup=False,
        emoji=False,
    )
