"""What people do wrong, and what goes wrong around them: one line each, with the remedy, and never a traceback."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from commandline import LASTWORD, PATIENCE, environment, lastword
from lastword import RunTracker
from lastword.infrastructure.cli import asking
from lastword.infrastructure.cli.app import run

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LASTWORD_URL", str(tmp_path / "runs.db"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for variable in ("LASTWORD_RUN_ID", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "runs.db"


@pytest.fixture
def cli(store: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Calls `lastword`, and expects nothing on stdout and one line on stderr; gives the exit code and the line."""

    def call(*arguments: str) -> tuple[int, str]:
        code = run(arguments)
        written = capsys.readouterr()
        assert "" == written.out
        (line,) = written.err.splitlines()
        assert line.startswith("lastword: error: ")
        return code, line.removeprefix("lastword: error: ")

    return call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["show", "nobody"],
            "run nobody: expected to find it, but the store has no run with this id; `lastword list` shows",
        ),
        (["history", "nobody"], "run nobody: "),
        (["watch", "nobody"], "run nobody: "),
        (["cancel", "nobody"], "run nobody: "),
        (["progress", "nobody", "1"], "run nobody: "),
        (
            ["progress", "pending-1", "1"],
            "run pending-1: cannot go from pending to running (progress); start it first",
        ),
        (
            ["progress", "pending-1", "much"],
            "current: expected a number, found 'much'; e.g. 3 or 0.5",
        ),
        (["progress", "pending-1", "nan"], "current: expected a number, found 'nan'"),
        (
            ["progress", "3"],
            "progress: expected RUN CURRENT [TOTAL], found '3'; inside `lastword run` RUN may be left out",
        ),
        (
            ["list", "--since", "2026-02-05T22:00"],
            "since: expected a time with its zone, found '2026-02-05T22:00'; write 2026-02-05T22:00Z for UTC",
        ),
        (
            ["list", "--until", "yesterday"],
            "until: expected a time such as 2026-02-05T22:00Z, or how long ago such as 2h or 3d",
        ),
        (["list", "--since", "999999w"], "since: expected a time after the year 1"),
        (
            ["list", "--status", "stuck"],
            "status: expected one of pending, running, completed, failed, cancelled, found",
        ),
        (["list", "--tag", "team"], "tag: expected key=value, found 'team'; e.g. team=data"),
        (["list", "--limit", "0"], "limit: expected 1 or more, found 0"),
        (
            ["list", "--cursor", "abc"],
            "cursor: expected one that an earlier page gave, found 'abc'; start without one",
        ),
        (
            ["list", "--nonsense"],
            "No such option: --nonsense; `lastword list --help` shows what it takes",
        ),
        (
            ["list", "--url", "x.db"],
            "No such option: --url; --url goes before the command: lastword --url ... COMMAND",
        ),
        (["completions", "--after", "-1"], "Invalid value for '--after'"),
        (["nonsense"], "No such command 'nonsense'"),
        (["--log-format", "xml", "list"], "Invalid value for '--log-format'"),
        (
            ["--url", "mysql://db/runs", "list"],
            "url: expected a path, sqlite:///PATH, sqlite:///:memory: or postgresql://HOST/DATABASE, found the kind 'mysql'",
        ),
        (["run", "--"], "Missing argument"),
        (["run", "--tag", "team", "--", "true"], "tag: expected key=value, found 'team'"),
        (
            ["run", "--timeout", "soon", "--", "true"],
            "timeout: expected seconds, or a number with s, m, h, d or w, found 'soon'",
        ),
        (["run", "--timeout", "0", "--", "true"], "timeout: expected more than 0 s, found 0"),
        (
            ["run", "--name", " ", "--", "true"],
            "name: expected 1 to 200 printable characters, found ' '",
        ),
        (["run", "--run-id", "", "--", "true"], "run id: expected 1 to 200 printable characters"),
    ],
)
def test_wrong_usage_is_exit_code_2(cli: Cli, store: Path, arguments: list[str], said: str) -> None:
    """Nothing is written, and the line says what was expected."""
    with RunTracker(store) as tracker:
        tracker.create("later", run_id="pending-1")
        position = tracker.store.last_position()
        code, line = cli(*arguments)
        assert 2 == code
        assert said == line[: len(said)]
        assert position == tracker.store.last_position()


def a_folder(path: Path) -> None:
    path.mkdir()


def no_database(path: Path) -> None:
    path.write_text("no database at all, but long enough to look at\n" * 50)


def newer_schema(path: Path) -> None:
    RunTracker(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")


def missing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("command", [["list"], ["check"], ["cancel", "1"], ["sweep"]])
@pytest.mark.parametrize("trouble", [a_folder, no_database, newer_schema, missing])
def test_trouble_with_the_store_is_exit_code_3(
    cli: Cli, store: Path, trouble: Callable[[Path], None], command: list[str]
) -> None:
    """The line names the store."""
    trouble(store)
    code, line = cli(*command)
    assert 3 == code
    assert str(store) in line


def test_a_misspelt_store_is_not_created(cli: Cli, tmp_path: Path) -> None:
    """`--url typo.db list` says so, and leaves no file behind."""
    code, line = cli("--url", str(tmp_path / "typo.db"), "list")
    assert (3, []) == (code, [*tmp_path.glob("typo*")])
    assert line.endswith(
        "check --url and LASTWORD_URL, or begin with `lastword run`, which creates it"
    )


def test_the_default_store_may_be_missing(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has not run anything yet has no runs; asking does not make a store."""
    monkeypatch.delenv("LASTWORD_URL")
    assert 0 == run(["list"])
    assert 0 == run(["verify"])
    assert ("ok: 0 runs with 0 events\n", "lastword: no runs\n") == capsys.readouterr()
    assert [] == [*store.parent.rglob("*.db")]


def test_a_wrong_setting_names_its_variable(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it can be found and put right."""
    RunTracker(store).close()
    monkeypatch.setenv("LASTWORD_LEASE", "soon")
    code, line = cli("list")
    assert 2 == code
    assert line.endswith("found 'soon'; change the argument or LASTWORD_LEASE")


def test_a_read_only_store_takes_no_cancellation(store: Path) -> None:
    """One line and exit code 3 for who writes; who reads gets an answer or the same."""
    with RunTracker(store) as tracker:
        tracker.create("later", run_id="1")
    store.chmod(0o444)
    store.parent.chmod(0o555)
    try:
        done = subprocess.run(
            [*LASTWORD, "cancel", "1"],
            env=environment(store, LASTWORD_RETRY_ATTEMPTS="1"),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            preexec_fn=without_root_rights,
        )
    finally:
        store.parent.chmod(0o755)
    assert 3 == done.returncode
    assert b"lastword: error: " in done.stderr
    assert b"Traceback" not in done.stderr


def without_root_rights() -> None:
    """Root may write to a read-only file, unless it has lost the right to (CAP_DAC_OVERRIDE)."""
    if os.geteuid() == 0:
        import ctypes

        ctypes.CDLL(None).prctl(24, 1)


def test_a_fault_of_our_own_is_one_line_too(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback is for those who ask for it."""
    RunTracker(store).close()

    def broken(*arguments: object) -> None:
        raise TypeError("no\nway")

    monkeypatch.setattr(asking, "_print_runs", broken)
    assert (70, "internal error: TypeError: no way; LASTWORD_DEBUG=1 shows where") == cli("list")
    monkeypatch.setenv("LASTWORD_DEBUG", "1")
    done = lastword(store, "show", "nobody", LASTWORD_DEBUG="1")
    assert b"Traceback" in done.stderr


def test_a_reader_who_leaves_is_no_error(store: Path) -> None:
    """`lastword list | head -1` says nothing about a broken pipe."""
    with RunTracker(store) as tracker:
        for number in range(20):
            tracker.create("import", run_id=number, params={"text": "x" * 50_000})
    script = f"{sys.executable} -m lastword list --json | head -c 20"
    done = subprocess.run(
        ["sh", "-c", script],
        env=environment(store),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert (20, b"") == (len(done.stdout), done.stderr)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_signs_gets_the_rest(store: Path, encoding: str) -> None:
    """What its encoding cannot say is escaped: in JSON as JSON does it, so that it says the same."""
    with RunTracker(store) as tracker:
        tracker.create("näch日", run_id="ü日")
    for_people = lastword(store, "list", PYTHONIOENCODING=encoding)
    assert (0, b"") == (for_people.returncode, for_people.stderr)
    assert "näch日".encode(encoding, "backslashreplace") in for_people.stdout
    for_programs = lastword(store, "list", "--json", PYTHONIOENCODING=encoding)
    assert "näch日" == json.loads(for_programs.stdout)["name"]
    unknown = lastword(store, "show", "nobody日", PYTHONIOENCODING=encoding)
    assert 2 == unknown.returncode


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["export"]])
def test_output_that_cannot_be_written_is_named(store: Path, command: list[str]) -> None:
    """The disk with the output is full, not the one with the store."""
    with RunTracker(store) as tracker:
        tracker.create("import")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*LASTWORD, *command],
            env=environment(store),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert (3, b"lastword: error: No space left on device: standard output") == (
        done.returncode,
        done.stderr.partition(b";")[0],
    )


def test_a_narrow_table_keeps_what_names_a_run_and_what_became_of_it(store: Path) -> None:
    """Part of an id names no run; the other columns make room."""
    with RunTracker(store) as tracker:
        tracker.create("a name that takes its place", run_id="import-2026-11-29")
        tracker.cancel("import-2026-11-29")
    line = lastword(store, "list", COLUMNS="60").stdout.decode().splitlines()[1]
    assert line.startswith("import-2026-11-29  ")
    assert "  cancelled  " in line
