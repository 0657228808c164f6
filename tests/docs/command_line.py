"""The page on the command line, made from what the commands say of themselves.

After a change of a command:  .venv/bin/python tests/docs/command_line.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "command-line.md"

_HEAD = """\
# Command line

```text
lastword [--url URL] [--log-format console|json] [--verbose] COMMAND ...
```

Options of `lastword` itself go before the command. RUN is a run's id, or any beginning or end of one that no other run
shares.

Reading commands print tables for people. With `--json` they print one object a line, with the fields of the
[models](python.md#what-comes-back). Colours are for terminals only; `NO_COLOR` is honoured. What is said to people and
no answer, such as errors, goes to standard error.

| exit code | means |
| --- | --- |
| 0 | fine; `lastword run` ends with the code of its command |
| 1 | the answer is bad news: `check`, `verify` |
| 2 | wrong usage, an unknown run, or something that the run's status does not allow |
| 3 | the store is unavailable, damaged, or written by a newer release |
| 70 | a fault of Lastword itself |
| 130 | interrupted from the keyboard |
| 141 | whoever read the output has closed it |

`LASTWORD_DEBUG=1` shows tracebacks. The other variables are in [Settings](settings.md).
"""


def page() -> str:
    """The page as it must be."""
    from lastword.infrastructure.cli.app import application

    group: Any = typer.main.get_command(application())
    parts = [_HEAD, "## lastword\n", _table(group)]
    for name, command in group.commands.items():
        if not command.hidden:
            parts += [f"## {name}\n", _description(command, name), _table(command)]
    return "\n".join(part for part in parts if part)


def _description(command: Any, name: str) -> str:
    """What it does, then how to call it; paragraphs of a docstring become paragraphs."""
    arguments = [shown for item in command.params if (shown := _argument(item))]
    usage = " ".join(["lastword", name, *(["[OPTIONS]"] if _options(command) else []), *arguments])
    text = inspect.cleandoc(command.help or "").replace("\f", "")
    paragraphs = [re.sub(r"\s*\n\s*", " ", part) for part in re.split(r"\n\s*\n", text)]
    lines = [
        re.sub(r"^Example: (.+)$", r"Example: `\1`", _escaped(part)) for part in paragraphs if part
    ]
    return f"```text\n{usage}\n```\n\n" + "\n\n".join(lines) + "\n"


def _argument(item: Any) -> str:
    if item.opts[0].startswith("-"):
        return ""
    shown = item.metavar or item.name.upper()
    return shown if item.required or shown.startswith("[") else f"[{shown}]"


def _options(command: Any) -> list[Any]:
    return [item for item in command.params if item.opts[0].startswith("-") and not item.hidden]


def _table(command: Any) -> str:
    rows = list(_rows(command))
    if not rows:
        return ""
    return "\n".join(["| option | meaning |", "| --- | --- |", *rows]) + "\n"


def _rows(command: Any) -> Iterator[str]:
    for item in _options(command):
        names, default = ", ".join([*item.opts, *item.secondary_opts]), item.default
        takes, said = "", ""
        if not item.is_flag:
            takes = f" {item.metavar or item.name.upper()}"
            if isinstance(default, Enum):
                said = f" One of {', '.join(str(choice.value) for choice in type(default))}."
                default = default.value
            if default is not None and not callable(default):
                said += f" Default: {default}."
        yield f"| `{names}{takes}` | {_escaped(item.help or '')}{said} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
