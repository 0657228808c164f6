"""What a SQLite store says of files that are not what they should be."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from contracts.kit import Writer
from lastword.domain.errors import (
    LastwordError,
    StoreCorrupt,
    StoreUnavailable,
    UnsupportedSchema,
)
from lastword.domain.events import RunCompleted, RunCreated
from lastword.domain.status import RunStatus
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.sqlite.preparing import check_sqlite
from lastword.infrastructure.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION

CREATED = RunCreated(name="import")

Refusal = TypeVar("Refusal", bound=LastwordError)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def refused(path: Path | str, kind: type[Refusal], match: str) -> Refusal:
    """The error with which the path is refused; it names the path."""
    with pytest.raises(kind, match=match) as caught:
        SQLiteStore(path)
    assert str(path) in str(caught.value)
    return caught.value


@contextlib.contextmanager
def as_ordinary_user() -> Iterator[Path]:
    """A folder that an ordinary user owns, and that user's rights; root may write anything."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


# -- opening


def test_a_new_file_is_made_and_marked(path: Path):
    """It carries our mark and the schema's version, and stays a store when it is opened again."""
    SQLiteStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert raw.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    SQLiteStore(path).close()


def test_an_empty_file_becomes_a_store(path: Path):
    """As `mktemp` leaves it behind."""
    path.touch()
    with contextlib.closing(SQLiteStore(path)) as store:
        assert store.last_position() == 0


def test_a_relative_path_is_kept_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every connection goes to the file that was named at the beginning."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(SQLiteStore("runs.db")) as store:
        monkeypatch.chdir("elsewhere")
        appended = Writer(store).ask("a", CREATED, fresh=True)
        assert appended is not None
        assert store.url == f"sqlite:///{tmp_path / 'runs.db'}"
        assert store.view("a") == appended.view


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "what?mode=ro#.db", "ünï.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str):
    """Characters that mean something in a URL are part of the name."""
    with contextlib.closing(SQLiteStore(tmp_path / name)) as store:
        Writer(store).add("a", CREATED)
    assert (tmp_path / name).is_file()


def test_a_folder_is_refused(tmp_path: Path):
    """It says that a file is expected."""
    error = refused(tmp_path, StoreUnavailable, "expected a file, found a folder")
    assert error.transient is False


def test_a_missing_folder_is_named(tmp_path: Path):
    """It is not made: a typing error would make a second, empty store."""
    refused(tmp_path / "no" / "runs.db", StoreUnavailable, f"expected the folder {tmp_path / 'no'}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_named(path: Path):
    """``file/runs.db`` cannot be."""
    path.touch()
    refused(path / "runs.db", StoreUnavailable, "to be a folder, found a file")


@pytest.mark.parametrize("content", [b"x", b"some notes\n" * 1000, b"SQLite format 4\x00" * 100])
def test_a_file_that_is_no_database_is_left_alone(path: Path, content: bytes):
    """It says so and does not touch the file."""
    path.write_bytes(content)
    refused(path, StoreCorrupt, "no SQLite database")
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["runs.db"]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_somebody_else_is_left_alone(path: Path, mode: str):
    """Tables of others and none of ours: it names some of them and does not touch the file."""
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"PRAGMA journal_mode = {mode}")
        raw.execute("CREATE TABLE notes (text)")
    content = path.read_bytes()
    refused(path, StoreCorrupt, "found a database of something else with the tables notes")
    assert path.read_bytes() == content


def test_a_database_with_another_mark_is_left_alone(path: Path):
    """Also without tables."""
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA application_id = 77")
    content = path.read_bytes()
    refused(path, StoreCorrupt, "another application's mark")
    assert path.read_bytes() == content


def test_a_store_of_a_newer_release_is_refused(path: Path):
    """It says which schema was found and which is known."""
    SQLiteStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    error = refused(path, UnsupportedSchema, "upgrade lastword here")
    assert (error.found, error.supported) == (SCHEMA_VERSION + 1, SCHEMA_VERSION)


def test_a_damaged_store_is_corrupt(path: Path):
    """Pages that were overwritten are found when they are read."""
    with contextlib.closing(SQLiteStore(path)) as store:
        for number in range(50):
            Writer(store).start(number)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="restore a backup"):
        SQLiteStore(path)


def test_a_store_without_its_tables_is_corrupt(path: Path):
    """Somebody dropped one."""
    with contextlib.closing(SQLiteStore(path)) as store:
        store.recorder.datastore.fetch("DROP TABLE leases")
        with pytest.raises(StoreCorrupt, match="no such table: leases") as caught:
            store.view("a")
        assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_a_file_that_may_only_be_read_can_be_read(path: Path):
    """Reading works; writing says that it cannot, and that trying again will not help."""
    with as_ordinary_user() as folder:
        mine = folder / "runs.db"
        with contextlib.closing(SQLiteStore(mine)) as store:
            view = Writer(store).start("a").view
        mine.chmod(0o444)
        with contextlib.closing(SQLiteStore(mine)) as store:
            assert store.view("a") == view
            with pytest.raises(StoreUnavailable, match=r"only be read.*write permission") as caught:
                Writer(store).add("b", CREATED)
            assert caught.value.transient is False
            assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_a_folder_that_may_not_be_written_is_named(path: Path):
    """A new file cannot be made in it."""
    with as_ordinary_user() as folder:
        folder.chmod(0o555)
        error = refused(folder / "runs.db", StoreUnavailable, "cannot be opened")
        assert error.transient is False


def test_a_file_that_may_not_be_read_is_named(path: Path):
    """No permission at all."""
    with as_ordinary_user() as folder:
        mine = folder / "runs.db"
        SQLiteStore(mine).close()
        mine.chmod(0)
        error = refused(mine, StoreUnavailable, "cannot be opened")
        assert error.transient is False


def test_an_old_sqlite_is_refused():
    """It names the release that is needed and the one that is there."""
    check_sqlite((3, 35, 0))
    with pytest.raises(
        StoreUnavailable, match=r"expected release 3\.35\.0 or newer, found 3\.34\.1"
    ):
        check_sqlite((3, 34, 1))


# -- a file that goes away while the store is open


def test_a_removed_file_is_noticed(path: Path):
    """Neither reads nor appends go to a file that nobody can find; no new one is made behind the user's back."""
    with contextlib.closing(SQLiteStore(path)) as store:
        writer = Writer(store)
        writer.start("a")
        for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
            (path.parent / name).unlink(missing_ok=True)
        for use in (
            lambda: writer.add("a", RunCompleted()),
            lambda: writer.ask("a", RunCompleted(), fresh=True),
            lambda: store.view("a"),
            lambda: store.wait(10, 5),
            lambda: list(store.scan()),
        ):
            with pytest.raises(StoreUnavailable, match="removed or replaced") as caught:
                use()
            assert caught.value.transient is True
        assert not path.exists()


def test_a_file_that_comes_back_is_used_again(path: Path, tmp_path: Path):
    """Moved away and put back: what was not acknowledged is not there, and the store goes on."""
    away = tmp_path / "away"
    away.mkdir()
    with contextlib.closing(SQLiteStore(path)) as store:
        writer = Writer(store)
        writer.start("a")
        store.recorder.datastore.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
        for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
            (tmp_path / name).rename(away / name)
        with pytest.raises(StoreUnavailable):
            writer.add("a", RunCompleted())
        (away / "runs.db").rename(path)
        for name in ("runs.db-wal", "runs.db-shm"):
            (away / name).unlink(missing_ok=True)
        view = store.view("a")
        assert view is not None
        writer.views["a"] = view
        assert writer.ask("a", RunCompleted()) is not None
        assert store.counts()[RunStatus.COMPLETED] == 1


def test_a_replaced_file_is_never_written_under_another_name(path: Path, tmp_path: Path):
    """An append that went to the old file is not acknowledged; the next one goes to the new file."""
    backup = tmp_path / "backup.db"
    with contextlib.closing(SQLiteStore(backup)) as other:
        Writer(other).start("restored")
    with contextlib.closing(SQLiteStore(path)) as store:
        Writer(store).start("a")
        for name in ("runs.db-wal", "runs.db-shm"):
            (tmp_path / name).unlink()
        backup.replace(path)
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            Writer(store).start("b")
        assert store.view("a") is None
        Writer(store).start("b")
        assert {view.run_id for view in store.active()} == {"restored", "b"}


def test_a_file_replaced_by_something_else_is_refused(path: Path):
    """The store does not write into a stranger's database."""
    with contextlib.closing(SQLiteStore(path)) as store:
        Writer(store).start("a")
        for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
            (path.parent / name).unlink()
        with contextlib.closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("CREATE TABLE notes (text)")
        content = path.read_bytes()
        with pytest.raises(StoreCorrupt, match="something else"):
            store.view("a")
        with pytest.raises(LastwordError):
            Writer(store).start("b")
        assert path.read_bytes() == content
