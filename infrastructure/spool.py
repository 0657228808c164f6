"""Where events wait that the store did not take.

A spool is a folder, readable by its user alone, with one file per process: a header line, then one JSON line per event, fsynced before
anybody is told that the event is safe. The process holds a lock on its file for as long as it lives, so a file whose lock can be
had belongs to nobody and may be delivered by whoever finds it. A file is removed only when the store has committed all of it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uuid_utils

from ..domain.events import RunProgressed
from ..domain.values import RunId
from ..projections.ports import NewEvent
from .liveness import this_owner
from .logs import get_logger
from .spool_format import HEADER, Spooled, Torn, decode_line, encode_line
from .telemetry import SPOOL_PENDING, gauge

log = get_logger("lastword.spool")

SUFFIX = ".jsonl"
MAX_BYTES = 64 * 1024 * 1024
"""A process stops spooling when its file is this large; it says so loudly. Progress is refused from half of it."""


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What waits in a spool folder."""

    files: int
    events: int
    """Whole lines in these files; torn ones are not counted."""
    bytes: int


class Spool:
    """One process's end of a spool folder. Implements `Keeper`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._pending: set[str] = set()

    def keep(self, run_id: RunId, events: Sequence[NewEvent]) -> bool:
        """Write the events and fsync; True when they would outlive this process.

        A full disk, a missing folder, a file at its limit: logged at critical level, and False.
        """
        self._after_fork()
        data = b"".join(encode_line(Spooled(run_id, item)) for item in events)
        with self._lock:
            only_progress = all(isinstance(item.event, RunProgressed) for item in events)
            try:
                self._write(data, MAX_BYTES // 2 if only_progress else MAX_BYTES)
            except OSError as error:
                names = [item.event.TOPIC for item in events]
                log.critical(
                    "lastword.spool.failed",
                    run_id=run_id,
                    events=names,
                    folder=str(self.folder),
                    error=str(error),
                    exc_info=True,
                )
                return False
            self._pending.update(item.event_id for item in events)
            gauge(SPOOL_PENDING, len(self._pending))
            return True

    def delivered(self, event_ids: Sequence[str]) -> None:
        """The store has these; the file goes when it has all."""
        self._after_fork()
        with self._lock:
            self._pending.difference_update(event_ids)
            gauge(SPOOL_PENDING, len(self._pending))
            if self._pending or self._file is None or self._path is None:
                return
            try:
                _remove(self._path)
            except OSError:  # what is delivered twice is known by its event id
                log.warning("lastword.spool.not_removed", file=str(self._path), exc_info=True)
            self._release()

    def pending(self) -> SpoolStatus:
        """What waits in the folder, of all processes."""
        files = events = size = 0
        for path in self._paths():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # delivered this very moment
            files += 1
            size += len(data)
            events += sum(isinstance(item, Spooled) for item in _parsed(data))
        return SpoolStatus(files, events, size)

    def deliver_abandoned(self, deliver: Callable[[RunId, list[NewEvent]], int]) -> int:
        """Hand over what ended processes left behind, run by run and in order; returns how many events got in.

        `deliver` raises when the store does not take them; then the file stays. Lines that are torn or damaged are set
        aside in a file ending in ``.torn``, and reported.
        """
        self._after_fork()
        delivered = 0
        for path in self._paths():
            if path == self._path:
                continue
            with _taken_over(path) as data:
                if data is None:
                    continue
                delivered += self._deliver_file(path, data, deliver)
                _remove(path)
        return delivered

    def close(self) -> None:
        """Let go of this process's file; if events wait in it, the next one who looks takes them over."""
        self._after_fork()
        with self._lock:
            self._release()

    # -- inside

    def _deliver_file(
        self, path: Path, data: bytes, deliver: Callable[[RunId, list[NewEvent]], int]
    ) -> int:
        runs: dict[str, tuple[RunId, list[NewEvent]]] = {}
        torn: list[bytes] = []
        for item in _parsed(data):
            if isinstance(item, Torn):
                torn.append(item.line)
            else:
                runs.setdefault(str(item.run_id), (item.run_id, []))[1].append(item.event)
        count = sum(deliver(run_id, events) for run_id, events in runs.values())
        if torn:
            aside = path.with_suffix(".torn")
            _write_private(aside, b"\n".join(torn) + b"\n")
            log.error("lastword.spool.torn", file=str(aside), lines=len(torn))
        log.info("lastword.spool.delivered", file=path.name, runs=len(runs), events=count)
        return count

    def _paths(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == SUFFIX)
        except FileNotFoundError:
            return []

    def _write(self, data: bytes, limit: int) -> None:
        if self._size + len(data) > limit:
            raise OSError(f"the spool file would grow over {limit:,} bytes")
        if self._file is None:
            self._open()
        assert self._file is not None  # noqa: S101  # _open sets it or raises
        try:
            _write_all(self._file, data)
            os.fsync(self._file)
        except OSError:
            self._cut_back()
            raise
        self._size += len(data)

    def _open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = this_owner()
        path = self.folder / f"{owner.pid}-{uuid_utils.uuid7().hex}{SUFFIX}"
        unseen = path.with_suffix(".new")  # nobody takes it over before it is locked
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        file = os.open(unseen, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            header = HEADER + owner.model_dump_json().encode() + b"\n"
            _write_all(file, header)
            os.fsync(file)
            unseen.rename(path)
            _fsync_folder(self.folder)
        except OSError:
            os.close(file)
            unseen.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        self._file, self._path, self._size = file, path, len(header)

    def _cut_back(self) -> None:
        """Take a half-written line out again; if that fails too, the reader sets it aside."""
        if self._file is None:
            return
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            log.warning("lastword.spool.not_cut_back", file=str(self._path), exc_info=True)

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._path, self._size = None, None, 0

    def _after_fork(self) -> None:
        """The file belongs to the parent. Closing the child's descriptor keeps the parent's lock."""
        if self._pid != os.getpid():
            if self._file is not None:
                os.close(self._file)
            self._reset()


def _parsed(data: bytes) -> Iterator[Spooled | Torn]:
    for line in data.split(b"\n"):
        if line and not line.startswith(HEADER):
            yield decode_line(line)


@contextmanager
def _taken_over(path: Path) -> Iterator[bytes | None]:
    """The file's content under its lock; None when its process lives, or somebody else delivers it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except PermissionError:
        log.warning("lastword.spool.not_ours", file=str(path))
        yield None
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held the lock before may have delivered and removed the file while we waited for it.
        yield path.read_bytes() if path.exists() else None
    except BlockingIOError:
        yield None
    finally:
        os.close(file)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _write_private(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        _write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
