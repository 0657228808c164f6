"""The page on the command line says what the commands say."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from docs.command_line import PAGE, page
from lastword.infrastructure.cli.app import application


def test_the_page_is_what_the_commands_say() -> None:
    """An option that was added or reworded is on the page; tests/docs/command_line.py writes it anew."""
    assert page().splitlines() == PAGE.read_text(encoding="utf-8").splitlines()


def test_every_command_and_option_of_the_help_is_on_the_page() -> None:
    """What `--help` shows is what the page was made from: nothing is left out on the way."""
    text = PAGE.read_text(encoding="utf-8")
    commands = list(typer.main.get_command(application()).commands)  # pyright: ignore[reportAttributeAccessIssue]  # it is a group
    assert {"run", "list", "check", "sweep", "demo"} <= set(commands)
    missing = list[str]()
    for name in commands:
        shown = CliRunner().invoke(
            application(), [name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}
        )
        assert 0 == shown.exit_code
        options = {word.strip("│,") for word in shown.output.split() if word.startswith("--")}
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        missing += [f"{name} {word}" for word in options - {"--help", "--"} if word not in section]
    assert [] == missing
