"""The spool as a folder of files: format, durability, privacy, limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from breaking.lines import new, rechecked
from lastword import RunCompleted, RunCreated, RunEvent, RunProgressed, StoreUnavailable
from lastword.domain.errors import RunNotFound
from lastword.infrastructure.spooling import files as spool_files
from lastword.infrastructure.spooling import spool as spool_module
from lastword.infrastructure.spooling.format import (
    Spooled,
    parsed,
)
from lastword.infrastructure.spooling.spool import Spool
from lastword.projections.ports import NewEvent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs.db.spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    spool = Spool(folder)
    yield spool
    spool.close()


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    """What is logged meanwhile."""
    capture = structlog.testing.LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries
    structlog.reset_defaults()


def abandoned(folder: Path, *items: tuple[int | str, RunEvent]) -> Path:
    """What a process that has ended left behind."""
    spool = Spool(folder)
    for number, (run_id, event) in enumerate(items, start=1):
        assert spool.keep(run_id, [new(event, number)])
    spool.close()
    (path,) = (path for path in folder.iterdir() if path.suffix == ".jsonl")
    return path


class Taker:
    """Takes what is delivered; refuses the runs that it is told to."""

    def __init__(self, refused: dict[int | str, Exception] | None = None) -> None:
        self.refused = refused or {}
        self.taken: list[tuple[int | str, list[str]]] = []

    def __call__(self, run_id: int | str, given: list[NewEvent]) -> int:
        if run_id in self.refused:
            raise self.refused[run_id]
        self.taken.append((run_id, [item.event.TOPIC for item in given]))
        return len(given)


# -- keeping


def test_it_is_private(spool: Spool, folder: Path) -> None:
    """The folder is its user's alone, and so is the file."""
    assert spool.keep(1, [new(RunCompleted())])
    (path,) = folder.iterdir()
    assert (0o700, 0o600) == tuple(stat.S_IMODE(entry.stat().st_mode) for entry in (folder, path))


def test_file_and_folder_are_fsynced_before_anybody_is_told(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file with its content, and the folder with its name; on removal the folder again."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append("folder" if target.is_dir() else f"file of {target.stat().st_size} bytes")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert spool.keep(1, [new(RunCompleted())])
    (path,) = folder.iterdir()
    header = len(path.read_bytes().splitlines(keepends=True)[0])
    assert [
        f"file of {header} bytes",
        "folder",
        f"file of {path.stat().st_size} bytes",
    ] == synced
    synced.clear()
    spool.delivered([new(RunCompleted()).event_id])
    assert (["folder"], []) == (synced, list(folder.iterdir()))


def test_the_file_goes_when_all_of_it_is_delivered(spool: Spool, folder: Path) -> None:
    """Not before the last event, and not twice."""
    items = [new(RunProgressed(current=number), number) for number in (1, 2)]
    spool.keep(1, items)
    spool.delivered([items[0].event_id])
    assert 1 == len(list(folder.iterdir()))
    spool.delivered([items[1].event_id])
    spool.delivered([items[1].event_id])
    assert [] == list(folder.iterdir())


def test_the_limit_refuses_progress_first(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, logged: list[structlog.typing.EventDict]
) -> None:
    """From half of the limit on only what matters is kept; over the limit nothing is, and that is said at critical level."""
    monkeypatch.setattr(spool_module, "MAX_BYTES", 4000)
    progress = RunProgressed(current=1, message="x" * 500)
    kept = [spool.keep(1, [new(progress, number)]) for number in range(10)]
    assert [True, True, False] == [kept[0], kept[1], kept[-1]]
    assert spool.pending().bytes <= 2000
    outcomes = [spool.keep(1, [new(RunCompleted(result="x" * 500), 100 + n)]) for n in range(10)]
    assert [True, False] == [outcomes[0], outcomes[-1]]
    assert 2000 < spool.pending().bytes <= 4000
    assert {"critical"} == {
        entry["log_level"] for entry in logged if entry["event"] == "lastword.spool.failed"
    }
    assert sum(kept) + sum(outcomes) == spool.pending().events


def test_what_is_half_written_does_not_spoil_what_follows(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in the middle of a line and the file cannot even be cut back: the next event is whole all the same."""
    spool.keep(1, [new(RunCreated(name="import"), 1)])
    real = spool_files.write_all

    def half(file: int, data: bytes) -> None:
        real(file, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    def refuse(_file: int, _size: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as fault:
        fault.setattr(spool_module, "write_all", half)
        fault.setattr(os, "ftruncate", refuse)
        assert not spool.keep(1, [new(RunCompleted(), 2)])
    assert spool.keep(1, [new(RunCompleted(), 3)])
    assert spool.keep(1, [new(RunCompleted(), 4)])
    spool.close()
    taker = Taker()
    assert 3 == spool.deliver_abandoned(taker)
    assert [(1, ["RunCreated", "RunCompleted", "RunCompleted"])] == taker.taken
    assert [".torn"] == [path.suffix for path in folder.iterdir()]


def test_a_folder_that_cannot_be_had_is_said_and_survived(
    tmp_path: Path, logged: list[structlog.typing.EventDict]
) -> None:
    """A file where the folder should be: nothing is kept, and nothing raises."""
    (tmp_path / "spool").write_text("not a folder")
    spool = Spool(tmp_path / "spool")
    assert not spool.keep(1, [new(RunCompleted())])
    assert (0, 0) == (spool.deliver_abandoned(Taker()), spool.pending().events)
    assert {"lastword.spool.failed", "lastword.spool.unreadable"} == {
        entry["event"] for entry in logged
    }


# -- delivering what others left behind


def test_runs_are_handed_over_in_order(spool: Spool, folder: Path) -> None:
    """Each run's events together, and as they happened; then the file goes."""
    abandoned(
        folder,
        (1, RunCreated(name="a")),
        ("x", RunCreated(name="b")),
        (1, RunProgressed(current=1)),
        (1, RunCompleted()),
    )
    taker = Taker()
    assert 4 == spool.deliver_abandoned(taker)
    assert [
        (1, ["RunCreated", "RunProgressed", "RunCompleted"]),
        ("x", ["RunCreated"]),
    ] == taker.taken
    assert [] == list(folder.iterdir())


@pytest.mark.parametrize("keep_lines", [0, 1])
def test_a_file_without_events_goes(spool: Spool, folder: Path, keep_lines: int) -> None:
    """Empty, or a header alone: the process died before it kept anything."""
    path = abandoned(folder, (1, RunCompleted()))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep_lines]))
    assert 0 == spool.pending().events
    assert 0 == spool.deliver_abandoned(Taker())
    assert [] == list(folder.iterdir())


@pytest.mark.parametrize("damage", ["torn", "flipped"])
def test_damage_is_set_aside_and_the_rest_delivered(
    spool: Spool, folder: Path, damage: str, logged: list[structlog.typing.EventDict]
) -> None:
    """A torn last line, or a damaged one in the middle, costs nobody else anything; it is kept for people to look at."""
    path = abandoned(
        folder, (1, RunCreated(name="a")), (2, RunCreated(name="b")), (3, RunCompleted())
    )
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "torn":
        expected, lines[3] = [1, 2], lines[3][: len(lines[3]) // 2]
    else:
        expected, lines[2] = [1, 3], lines[2].replace(b'"b"', b'"c"')
    path.write_bytes(b"".join(lines))
    taker = Taker()
    assert (2, 2) == (spool.pending().events, spool.deliver_abandoned(taker))
    assert expected == [run_id for run_id, _ in taker.taken]
    (aside,) = folder.iterdir()
    assert (".torn", 0o600) == (aside.suffix, stat.S_IMODE(aside.stat().st_mode))
    assert (lines[3] if damage == "torn" else lines[2]).strip() == aside.read_bytes().strip()
    assert [1] == [entry["lines"] for entry in logged if entry["event"] == "lastword.spool.torn"]


@pytest.mark.parametrize(
    ("old", "put"), [(b'"type":"RunCompleted"', b'"type":"RunPaused"'), (b'"v":1', b'"v":2')]
)
def test_an_event_of_a_newer_release_waits_and_blocks_nobody(
    spool: Spool, folder: Path, old: bytes, put: bytes, logged: list[structlog.typing.EventDict]
) -> None:
    """Its run stays in the file, whole and in order; the other runs get in, and it is reported once."""
    path = abandoned(
        folder, (1, RunCreated(name="a")), (2, RunCreated(name="b")), (1, RunCompleted())
    )
    lines = path.read_bytes().splitlines()
    newer = rechecked(lines[3], old, put)
    path.write_bytes(b"\n".join([*lines[:3], newer]) + b"\n")
    taker = Taker()
    assert [1, 0] == [spool.deliver_abandoned(taker) for _ in range(2)]
    assert [(2, ["RunCreated"])] == taker.taken
    (left,) = folder.iterdir()
    assert [lines[1], newer] == left.read_bytes().splitlines()[1:]
    assert 2 == spool.pending().events
    assert 1 == sum(entry["event"] == "lastword.spool.stuck" for entry in logged)


def test_a_file_of_a_newer_release_stays_and_blocks_nobody(spool: Spool, folder: Path) -> None:
    """A header that is not known here: the file is not touched, the next one is delivered."""
    path = abandoned(folder, (1, RunCompleted()))
    strange = path.with_name("0-newer.jsonl")
    strange.write_bytes(b"lastword-spool 2 {}\nwhatever\n")
    taker = Taker()
    assert 1 == spool.deliver_abandoned(taker)
    assert b"lastword-spool 2 {}\nwhatever\n" == strange.read_bytes()
    assert [1] == [run_id for run_id, _ in taker.taken]
    assert 1 == spool.pending().files


def test_a_run_that_cannot_be_delivered_blocks_nobody(spool: Spool, folder: Path) -> None:
    """The store does not know one of the runs: it waits, the others get in; once it is known it gets in, too."""
    abandoned(folder, (1, RunCompleted()), (2, RunCompleted()), (3, RunCompleted()))
    taker = Taker({1: RunNotFound(1)})
    assert 2 == spool.deliver_abandoned(taker)
    assert 1 == spool.pending().events
    taker.refused.clear()
    assert 1 == spool.deliver_abandoned(taker)
    assert [2, 3, 1] == [run_id for run_id, _ in taker.taken]
    assert [] == list(folder.iterdir())


def test_the_file_stays_while_the_store_is_away(spool: Spool, folder: Path) -> None:
    """Half of it got in: all of it stays, byte for byte, and comes again."""
    path = abandoned(folder, (1, RunCompleted()), (2, RunCompleted()))
    content = path.read_bytes()
    with pytest.raises(StoreUnavailable):
        spool.deliver_abandoned(Taker({2: StoreUnavailable("away")}))
    assert content == path.read_bytes()
    assert 2 == spool.deliver_abandoned(Taker())


def test_what_cannot_be_read_is_passed_over(
    spool: Spool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[structlog.typing.EventDict],
) -> None:
    """Another user's file: said once, and the others are delivered."""
    hidden = abandoned(folder, (1, RunCompleted())).rename(folder / "hidden")
    abandoned(folder, (2, RunCompleted()))
    theirs = hidden.rename(folder / "0-theirs.jsonl")
    real = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path) == theirs:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    taker = Taker()
    assert [1, 0] == [spool.deliver_abandoned(taker) for _ in range(2)]
    assert [2] == [run_id for run_id, _ in taker.taken]
    said = [entry for entry in logged if entry["event"] == "lastword.spool.not_delivered"]
    assert [str(theirs)] == [entry["file"] for entry in said]


def test_a_folder_of_another_user_is_survived(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot even be listed: nothing is delivered, and opening a tracker does not fail over it."""
    folder.mkdir()

    def refuse(_path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    spool = Spool(folder)
    assert (0, 0) == (spool.deliver_abandoned(Taker()), spool.pending().files)


def test_what_was_rejected_is_kept_for_people(spool: Spool, folder: Path) -> None:
    """The events of a run whose id belongs to another run by now: whole lines, in a private file that nobody delivers."""
    assert spool.set_aside(7, [new(RunCreated(name="a"), 1), new(RunCompleted(), 2)])
    (path,) = folder.iterdir()
    assert (".rejected", 0o600) == (path.suffix, stat.S_IMODE(path.stat().st_mode))
    found = [item for item in parsed(path.read_bytes()) if isinstance(item, Spooled)]
    assert [(7, "RunCreated"), (7, "RunCompleted")] == [
        (i.run_id, i.event.event.TOPIC) for i in found
    ]
    assert (0, 0) == (spool.pending().files, spool.deliver_abandoned(Taker()))
