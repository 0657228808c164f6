"""Doing what a page says: its Python in one namespace, its commands in a shell, both in one folder."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.pages import Block, agrees

LONGEST = 60
"""Seconds that the commands of one block may take."""
_MARK = "=== next command ==="


class Player:
    """Runs the blocks of one page, in order, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, Any] = {"__name__": "__page__"}
        self._printed = ""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LASTWORD_", "PYTEST_"))
            and name not in {"CI", "BUILD_NUMBER"}  # pytest prints more when it sees these
        }
        self._environment = inherited | {
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / ".data"),
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "PYTHONWARNINGS": "error,ignore:You're running the worker with superuser",  # containers
        }

    def play(self, block: Block) -> None:
        """Run, write or compare a block. Raises `AssertionError` when it does not do what the page says."""
        match block.language, block.title:
            case "text", "Output":
                self._compare(block, block.text, self._printed)
            case "python", title if title.endswith(".py"):
                (self._folder / title).write_text(block.text + "\n", encoding="utf-8")
            case "python", _:
                self._printed = self._run_python(block)
            case "console", _:
                self._run_commands(block)
            case _:
                pass

    def _run_python(self, block: Block) -> str:
        source = "\n" * (block.line - 1) + block.text  # so that a traceback names the page's line
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(source, str(block.page), "exec", dont_inherit=True), self._names)
        except Exception as error:
            raise AssertionError(f"{block.where}\n{traceback.format_exc()}") from error
        return printed.getvalue()

    def _run_commands(self, block: Block) -> None:
        commands = list(_commands(block.text))
        found = self._shell([command for command, _ in commands], block)
        for number, ((command, expected), (code, output)) in enumerate(
            zip(commands, found, strict=True)
        ):
            if expected:
                self._compare(block, expected, output, command)
            answered = number + 1 < len(commands) and commands[number + 1][0].startswith("echo $?")
            if code != 0 and not answered:
                raise AssertionError(
                    f"{block.where}: `{command}` ended with {code}; the page does not show that"
                    f" (`$ echo $?`)\n{output}"
                )

    def _shell(self, commands: list[str], block: Block) -> list[tuple[int, str]]:
        """Exit code and output of each command, run one after the other in one shell."""
        script = "".join(
            f"{command}\n{{ _code=$?; echo; echo '{_MARK}' $_code; (exit $_code); }} 2>/dev/null\n"
            for command in commands
        )
        path = self._folder / ".page.sh"
        path.write_text(script + "env -0 > .page.env\n", encoding="utf-8")
        with (self._folder / ".page.out").open("w+b") as output:
            shell = subprocess.Popen(
                ["bash", str(path)],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                shell.wait(LONGEST)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{block.where}: takes longer than {LONGEST} s") from None
            finally:
                with contextlib.suppress(
                    ProcessLookupError
                ):  # what the page left in the background
                    os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
            output.seek(0)
            text = output.read().decode()
        self._environment = _environment(self._folder / ".page.env") or self._environment
        output, *rest = ("\n" + text).split(_MARK)
        answers = list[tuple[int, str]]()
        for part in rest:
            code, _, following = part.partition("\n")
            answers.append((int(code), output))
            output = following
        if len(answers) != len(commands):
            raise AssertionError(
                f"{block.where}: the shell ended after {len(answers)} of {len(commands)}\n{text}"
            )
        return answers

    def _compare(self, block: Block, expected: str, found: str, command: str = "") -> None:
        if not agrees(expected, found):
            asked = f": `{command}`" if command else ""
            raise AssertionError(
                f"{block.where}{asked}\n--- the page says\n{expected}\n--- found\n{found}"
            )


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command with the output that is shown under it. A command goes on after a backslash, with ``> `` before it."""
    command, output = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(output)
            command, output = line[2:], []
        elif line.startswith("> ") and not output:
            command += "\n" + line[2:]
        elif not command:
            raise ValueError(f"expected a command (`$ ...`) first, found {line!r}")
        else:
            output.append(line)
    if not command:
        raise ValueError("expected a command (`$ ...`), found none")
    yield command, "\n".join(output)


def _environment(path: Path) -> dict[str, str]:
    """What the shell left in its environment, e.g. after ``export``."""
    if not path.exists():
        return {}
    pairs = path.read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
