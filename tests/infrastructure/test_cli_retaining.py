"""The commands that let go, called in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from commandline import json_lines
from lastword import RunTracker
from lastword.infrastructure.cli.app import run

OLD = datetime.now(UTC) - timedelta(days=100)


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of 100 days ago, one of them finished, and a finished one of today."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LASTWORD_URL", "runs.db")
    monkeypatch.delenv("LASTWORD_RUN_ID", raising=False)
    with RunTracker("runs.db", clock=lambda: OLD) as tracker:
        with tracker.run("import", run_id="old", params={"folder": "marmalade"}):
            pass
        tracker.create("import", run_id="waiting")
    with RunTracker("runs.db") as tracker, tracker.run("import", run_id="today"):
        pass
    return tmp_path / "runs.db"


@pytest.fixture
def cli(store: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Calls `lastword` with these arguments."""

    def call(*arguments: str) -> Answer:
        code = run(arguments)
        written = capsys.readouterr()
        return Answer(code, written.out, written.err)

    return call


def test_archive_and_import(cli: Cli, store: Path) -> None:
    """Out, with a record in the log, and back in."""
    assert cli("seal", "a.seal").code == 0
    assert cli("archive", "--before", "30d", "old.jsonl") == (
        0,
        "1 run with 3 events went into old.jsonl\n",
        "",
    )
    assert 3 == len(Path("old.jsonl").read_bytes().splitlines())
    assert 2 == cli("show", "old").code
    code, out, _ = cli("verify", "--seal", "a.seal")
    assert (0, True, True) == (
        code,
        out.startswith("ok: 2 runs with 4 events (3 more are archived), and the log is as"),
        "7 events up to position 7, 3 of them archived or erased" in out,
    )
    assert 0 == cli("import", "old.jsonl").code
    assert 0 == cli("show", "old").code


def test_archive_as_json(cli: Cli) -> None:
    """The fields of the report."""
    (report,) = json_lines(cli("archive", "--before", "30d", "old.jsonl", "--json").out)
    assert {
        "file": "old.jsonl",
        "runs": 1,
        "events": 3,
        "batches": 1,
        "left": 0,
        "resumed": False,
        "dry_run": False,
    } == report


def test_archive_can_be_tried_out(cli: Cli) -> None:
    """Nothing is written."""
    answer = cli("archive", "--before", "30d", "--dry-run", "old.jsonl")
    assert (0, "1 run would go into old.jsonl\n", False) == (
        answer.code,
        answer.out,
        Path("old.jsonl").exists(),
    )


def test_archive_has_nothing_to_do(cli: Cli) -> None:
    """No run is that old; a file that is there already is not added to."""
    assert (0, "nothing to archive\n", "") == cli("archive", "--before", "300d", "old.jsonl")
    cli("archive", "--before", "30d", "old.jsonl")
    answer = cli("archive", "--before", "0s", "old.jsonl")
    assert (0, "nothing to archive\n") == answer[:2]
    assert "1 finished run left in the store: not in this file" in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("archive", "old.jsonl"), "Missing option '--before'"),
        (("archive", "--before", "soon", "old.jsonl"), "before: expected"),
        (("archive", "--before", "30d", "runs.db"), "found the store itself"),
        (("archive", "--before", "30d", "a.txt"), "a.txt, line 1: expected JSON"),
        (
            ("archive", "--before", "30d", "none/old.jsonl"),
            "export old.jsonl: expected to write a file",
        ),
        (("erase", "nobody", "--yes"), "run nobody"),
        (("erase", "waiting", "--yes"), "only a finished run can be erased"),
        (("erase", "old"), "say --yes if you are sure"),
    ],
)
def test_what_is_refused(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    """One line with the remedy; nothing is changed."""
    Path("a.txt").write_text("hello\n")
    answer = cli(*arguments)
    assert (2, "", 1) == (answer.code, answer.out, len(answer.err.splitlines()))
    assert message in answer.err
    assert 7 == cli("export").out.count("\n")


def test_erase(cli: Cli, store: Path) -> None:
    """The words are gone, and the history says who did it and why."""
    answer = cli("erase", "old", "--reason", "a letter", "--yes")
    assert (0, "run old: 2 events erased\n", "") == answer
    assert b"marmalade" not in store.read_bytes()
    assert "a letter" in cli("history", "old").out
    assert "run old: nothing to erase\n" == cli("erase", "old", "--yes").out
    (report,) = json_lines(cli("erase", "today", "--yes", "--no-compact", "--json").out)
    assert {
        "run_id": "today",
        "events": 1,
        "compacted": False,
        "journal_cleared": True,
    } == report


@pytest.mark.parametrize(("said", "code", "left"), [("y\n", 0, False), ("n\n", 1, True)])
def test_erase_asks(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, said: str, code: int, left: bool
) -> None:
    """On a terminal; anything but yes leaves the run alone."""

    stdin = io.StringIO(said)
    stdin.isatty = lambda: True  # type: ignore[method-assign]  # pretends
    monkeypatch.setattr(sys, "stdin", stdin)
    answer = cli("erase", "old")
    assert (code, left) == (answer.code, "marmalade" in cli("export", "old").out)


def test_an_interrupted_question_changes_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, or the end of the input."""

    stdin = io.StringIO("")
    stdin.isatty = lambda: True  # type: ignore[method-assign]  # pretends
    monkeypatch.setattr(sys, "stdin", stdin)
    assert 130 == cli("erase", "old").code
    assert "marmalade" in cli("export", "old").out
