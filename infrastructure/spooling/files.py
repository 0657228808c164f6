"""Files of a spool on the disk: locked, private, fsynced."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HELD: set[int] = set()
"""Descriptors whose lock this process holds. A forked child closes them: a lock lasts as long as anybody has it open."""


def create_locked(path: Path, head: bytes) -> int:
    """Make a new file that begins with `head`, locked before anybody can see it, and give its descriptor. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unseen = path.with_suffix(".new")  # nobody takes it over before it is locked
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    file = os.open(unseen, flags, 0o600)
    _HELD.add(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_all(file, head)
        os.fsync(file)
        unseen.rename(path)
        fsync_folder(path.parent)
    except OSError:
        release(file)
        unseen.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
    return file


def release(file: int) -> None:
    """Close the descriptor and let go of its lock."""
    _HELD.discard(file)
    os.close(file)


@contextmanager
def taken_over(path: Path) -> Iterator[bytes | None]:
    """The file's content under its lock; None when its process lives, or somebody else delivers it. Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    _HELD.add(file)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # Whoever held the lock before may have delivered and removed the file while we waited for it.
        yield path.read_bytes() if path.exists() else None
    finally:
        release(file)


def write_all(file: int, data: bytes) -> None:
    """Write all of the data, however often it takes. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def write_private(path: Path, data: bytes) -> None:
    """Append to a file that only this user may read, and fsync. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    fsync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove the file for good. Raises OSError."""
    path.unlink(missing_ok=True)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in the folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _after_fork_in_child() -> None:
    while _HELD:
        with contextlib.suppress(OSError):  # closed by the parent at that very moment
            os.close(_HELD.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
