"""`lastword export` and `lastword import`: out, in, and clear answers."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from commandline import LASTWORD, PATIENCE, environment, json_lines
from lastword import RunTracker
from lastword.infrastructure.cli.app import run


class Called(NamedTuple):
    returncode: int
    stdout: bytes
    stderr: bytes


Lastword = Callable[..., Called]


@pytest.fixture
def lastword(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Lastword:
    """The command, in this process: what it says is what counts here."""

    def call(store: Path, *arguments: str) -> Called:
        capfdbinary.readouterr()
        monkeypatch.setenv("LASTWORD_URL", str(store))
        code = run(arguments)
        said = capfdbinary.readouterr()
        return Called(code, said.out, said.err)

    return call


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two runs: one that completed, one that is under way."""
    with RunTracker(tmp_path / "runs.db") as tracker:
        with tracker.run("import", run_id="alpha-1", params={"folder": "/home/ann"}):
            pass
        tracker.create("import", run_id="beta-2", tags={"ä": "ö"})
    return tmp_path / "runs.db"


def test_out_and_in_again(lastword: Lastword, store: Path, tmp_path: Path) -> None:
    """Through a file, into a store that is made for it; a repeat adds nothing."""
    file, other = tmp_path / "runs.jsonl", tmp_path / "other.db"
    written = lastword(store, "export", "--output", str(file))
    assert (0, b"", b"lastword: 4 events written to %s\n" % os.fsencode(file)) == (
        written.returncode,
        written.stdout,
        written.stderr,
    )
    assert file.read_bytes() == lastword(store, "export").stdout
    found = lastword(other, "import", str(file))
    assert (0, b"4 events of 2 runs read, 4 added: 2 new runs\n", b"") == (
        found.returncode,
        found.stdout,
        found.stderr,
    )
    again = lastword(other, "import", "--json", str(file))
    assert [{"events": 4, "runs": 2, "added": 0, "new_runs": 0, "extended_runs": 0}] == json_lines(
        again.stdout
    )
    assert 0 == lastword(other, "verify").returncode


def test_through_a_pipe(lastword: Lastword, store: Path, tmp_path: Path) -> None:
    """A longer history extends the shorter one."""
    other = tmp_path / "other.db"

    def piped() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*LASTWORD, "import", "-"],
            env=environment(other),
            input=lastword(store, "export").stdout,
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )

    assert b"4 events of 2 runs read, 4 added: 2 new runs\n" == piped().stdout
    with RunTracker(store) as tracker:
        tracker.start("beta-2")
    assert b"5 events of 2 runs read, 1 added: 0 new runs and 1 extended\n" == piped().stdout


def test_some_runs_by_a_part_of_their_id(lastword: Lastword, store: Path) -> None:
    """As all commands take them; an unknown one is wrong usage."""
    found = json_lines(lastword(store, "export", "beta", "pha-1").stdout)
    assert ["alpha-1", "alpha-1", "alpha-1", "beta-2"] == [line["subject"] for line in found]
    unknown = lastword(store, "export", "gamma")
    assert (2, b"") == (unknown.returncode, unknown.stdout)
    assert b"run gamma: expected to find it" in unknown.stderr


def test_redacted(lastword: Lastword, store: Path) -> None:
    """What people wrote is not there."""
    found = lastword(store, "export", "--redact")
    assert b"ann" not in found.stdout
    assert {"folder": "redacted"} == json_lines(found.stdout)[0]["data"]["params"]


def test_for_lineage_tools_and_back(lastword: Lastword, store: Path, tmp_path: Path) -> None:
    """Run events of OpenLineage, with the namespace that was asked for."""
    file = tmp_path / "lineage.jsonl"
    options = ("--format", "openlineage", "--namespace", "etl")
    assert 0 == lastword(store, "export", *options, "--output", str(file)).returncode
    assert {"etl"} == {line["job"]["namespace"] for line in json_lines(file.read_bytes())}
    found = lastword(tmp_path / "other.db", "import", *options[:2], "--json", str(file))
    assert (0, 2) == (found.returncode, json.loads(found.stdout)["new_runs"])


def test_what_is_wrong_is_one_line(lastword: Lastword, store: Path, tmp_path: Path) -> None:
    """With file, line and field; the exit code tells a wrong file from a newer release."""
    lines = lastword(store, "export").stdout.splitlines(keepends=True)
    newer = lines[0].replace(b'"schemaversion":1', b'"schemaversion":9')
    cases = {
        "gap": (lines[0] + lines[2], 2, "gap.jsonl, line 2, field runversion: expected 2"),
        "cut": (lines[0][:-9], 2, "cut.jsonl, line 1: expected a whole JSON object"),
        "empty": (b"", 2, "empty.jsonl: expected at least one event"),
        "newer": (newer, 3, "newer.jsonl, line 1, field schemaversion: event RunCreated"),
    }
    for name, (content, code, message) in cases.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_bytes(content)
        found = lastword(tmp_path / "other.db", "import", str(file))
        assert (code, b"") == (found.returncode, found.stdout)
        assert found.stderr.decode().startswith(f"lastword: error: {message}")
        assert 1 == found.stderr.count(b"\n")
    assert b"" == lastword(tmp_path / "other.db", "export").stdout


def test_a_file_may_have_any_name(lastword: Lastword, store: Path, tmp_path: Path) -> None:
    """Also one that is not in UTF-8, as old archives have it; it is named as well as can be."""
    file = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    other = tmp_path / "other.db"
    for options in ((), ("--format", "openlineage")):
        file.write_bytes(lastword(store, "export", *options).stdout)
        taken = lastword(other, "import", *options, str(file))
        assert (0, b"") == (taken.returncode, taken.stderr)
    file.write_bytes(b"{")
    refused = lastword(other, "import", str(file))
    assert refused.stderr.startswith(rb"lastword: error: caf\udce9.jsonl, line 1: expected a whole")


def test_a_store_is_not_made_for_nothing(lastword: Lastword, store: Path, tmp_path: Path) -> None:
    """Where the file is missing, and where there is nothing to export."""
    other = tmp_path / "other.db"
    missing = lastword(other, "import", str(tmp_path / "nowhere.jsonl"))
    assert (2, True) == (missing.returncode, b"No such file" in missing.stderr)
    assert 3 == lastword(other, "export").returncode
    assert not other.exists()


def test_the_store_itself_is_refused(lastword: Lastword, store: Path) -> None:
    """In both directions."""
    before = store.read_bytes()
    for arguments in (("export", "--output", str(store)), ("import", str(store))):
        found = lastword(store, *arguments)
        assert (2, True) == (found.returncode, b"found the store itself" in found.stderr)
    assert before == store.read_bytes()


def test_a_reader_that_leaves_is_no_error(store: Path, tmp_path: Path) -> None:
    """`lastword export | head -1` ends quietly."""
    with RunTracker(store) as tracker:
        for number in range(1500):
            tracker.create("import", run_id=number)
    command = [*LASTWORD, "export"]
    with subprocess.Popen(
        command, env=environment(store), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert (141, b"") == (process.wait(PATIENCE), errors)


def test_a_bar_on_a_terminal(store: Path, tmp_path: Path) -> None:
    """On stderr, and only there."""
    file = tmp_path / "runs.jsonl"
    for arguments, word in (
        (("export", "--output", str(file)), b"exporting"),
        (("import", str(file)), b"importing"),
    ):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*LASTWORD, *arguments],
            env=environment(store, TERM="xterm"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = b""
            while chunk := _read(ours):
                shown += chunk
            os.close(ours)
            assert 0 == process.wait(PATIENCE)
            assert word in shown


def _read(terminal: int) -> bytes:
    """What the other end wrote; nothing once it is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
