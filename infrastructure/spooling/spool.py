"""Where events wait that the store did not take.

A spool is a folder, readable by its user alone, with one file per process: a header line, then one JSON line per event, fsynced before
anybody is told that the event is safe. The process holds a lock on its file for as long as it lives, so a file whose lock can be
had belongs to nobody and may be delivered by whoever finds it. A file is removed only when the store has committed all of it.

What cannot go into the store as things are (an event of a newer release, a run that the store does not know) stays in its file, and
is tried again with every delivery. What never can is set aside: torn lines in ``.torn``, the events of a run whose id belongs to
another run by now in ``.rejected``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import uuid_utils

from ...domain.errors import LastwordError, StoreUnavailable, UnsupportedSchema
from ...domain.events import RunProgressed
from ...domain.records import record
from ...domain.values import RunId
from ...projections.ports import NewEvent
from ..liveness.owners import this_owner
from ..logs import get_logger
from ..telemetry.metrics import SPOOL_PENDING, gauge
from .files import create_locked, release, remove, taken_over, write_all, write_private
from .format import HEADER, Newer, Spooled, Torn, encode_line, parsed

log = get_logger("lastword.spool")

SUFFIX = ".jsonl"
ASIDE = (".torn", ".rejected")
"""Endings of files with lines that nobody can deliver."""
MAX_BYTES = 64 * 1024 * 1024
"""A process stops spooling when its file is this large; it says so loudly. Progress is refused from half of it."""

Deliver = Callable[[RunId, list[NewEvent]], int]
"""Takes one run's events, in order, and says how many got in. Raises when the store does not take them."""


@record()
class SpoolStatus:
    """What waits in a spool folder."""

    files: int = 0
    events: int = 0
    """Whole lines in these files; torn ones are not counted."""
    bytes: int = 0
    set_aside: int = 0
    """Files with lines that were torn, or that can never be stored; somebody should look at them."""


class Spool:
    """One process's end of a spool folder. Implements `Keeper`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reported: set[Path] = set()
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._is_torn = False
        self._pending: set[str] = set()

    def keep(self, run_id: RunId, events: Sequence[NewEvent]) -> bool:
        """Write the events and fsync; True when they would outlive this process.

        A full disk, a missing folder, a file at its limit: logged at critical level, and False.
        """
        self._after_fork()
        data = _lines(run_id, events)
        with self._lock:
            only_progress = all(isinstance(item.event, RunProgressed) for item in events)
            try:
                self._write(data, MAX_BYTES // 2 if only_progress else MAX_BYTES)
            except OSError as error:
                self._failed("lastword.spool.failed", run_id, events, error)
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
                remove(self._path)
            except OSError:  # what is delivered twice is known by its event id
                log.warning("lastword.spool.not_removed", file=str(self._path), exc_info=True)
            self._release()

    def set_aside(self, run_id: RunId, events: Sequence[NewEvent]) -> bool:
        """Write down what can never be stored, for people to look at; True when that is safe on the disk."""
        path = self.folder / f"{os.getpid()}-{uuid_utils.uuid7().hex}.rejected"
        try:
            write_private(path, _lines(run_id, events))
        except OSError as error:
            self._failed("lastword.spool.not_set_aside", run_id, events, error)
            return False
        log.critical("lastword.spool.rejected", run_id=run_id, file=str(path), events=len(events))
        return True

    def pending(self) -> SpoolStatus:
        """What waits in the folder, of all processes."""
        files = events = size = 0
        for path in self._paths():
            try:
                size += path.stat().st_size
                files += 1
                events += sum(not isinstance(item, Torn) for item in parsed(path.read_bytes()))
            except FileNotFoundError:
                continue  # delivered this very moment
            except (OSError, UnsupportedSchema) as error:
                self._report("lastword.spool.unreadable", path, error)
        return SpoolStatus(files, events, size, len(self._paths(*ASIDE)))

    def deliver_abandoned(self, deliver: Deliver) -> int:
        """Hand over what ended processes left behind, run by run and in order; returns how many events got in.

        Raises `StoreUnavailable` when the store does not take them; then the file stays. A file, or a run in it, that cannot be
        delivered for another reason stays too, is logged, and does not keep the others waiting. Lines that are torn or damaged are
        set aside in a file ending in ``.torn``, and reported.
        """
        self._after_fork()
        delivered = 0
        for path in self._paths():
            if path == self._path:
                continue
            try:
                with taken_over(path) as data:
                    if data is not None:
                        delivered += self._deliver_file(path, data, deliver)
            except StoreUnavailable:
                raise
            except (OSError, LastwordError) as error:
                self._report("lastword.spool.not_delivered", path, error)
        return delivered

    def close(self) -> None:
        """Let go of this process's file; if events wait in it, the next one who looks takes them over."""
        self._after_fork()
        with self._lock:
            self._release()

    # -- inside

    def _deliver_file(self, path: Path, data: bytes, deliver: Deliver) -> int:
        items = list(parsed(data))
        torn = [item.line for item in items if isinstance(item, Torn)]
        stuck = {str(item.run_id): item.why for item in items if isinstance(item, Newer)}
        runs: dict[str, tuple[RunId, list[NewEvent]]] = {}
        for item in items:
            if isinstance(item, Spooled) and str(item.run_id) not in stuck:
                runs.setdefault(str(item.run_id), (item.run_id, []))[1].append(item.event)
        count = 0
        for key, (run_id, events) in runs.items():
            try:
                count += deliver(run_id, events)
            except StoreUnavailable:
                raise
            except LastwordError as error:
                stuck[key] = str(error)
        if torn:
            aside = path.with_suffix(".torn")
            write_private(aside, b"\n".join(torn) + b"\n")
            log.error("lastword.spool.torn", file=str(aside), lines=len(torn))
        left = [
            item.line for item in items if not isinstance(item, Torn) and str(item.run_id) in stuck
        ]
        if stuck:
            path = self._leave(path, data, left)
            self._report("lastword.spool.stuck", path, "; ".join(list(stuck.values())[:5]))
        else:
            remove(path)
        log.info("lastword.spool.delivered", file=path.name, runs=len(runs), events=count)
        return count

    def _leave(self, path: Path, data: bytes, left: list[bytes]) -> Path:
        """Reduce the file to these lines; where they are all it has, it stays as it is."""
        if len(left) == sum(bool(line) for line in data.split(b"\n")) - 1:
            return path
        smaller = path.with_name(f"left-{uuid_utils.uuid7().hex}{SUFFIX}")
        lines = [_header(), *(line + b"\n" for line in left)]
        release(create_locked(smaller, b"".join(lines)))
        remove(path)
        return smaller

    def _paths(self, *suffixes: str) -> list[Path]:
        wanted = suffixes or (SUFFIX,)
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix in wanted)
        except FileNotFoundError:
            return []
        except OSError as error:  # another user's folder
            self._report("lastword.spool.unreadable", self.folder, error)
            return []

    def _write(self, data: bytes, limit: int) -> None:
        if self._size + len(data) > limit:
            raise OSError(f"the spool file would grow over {limit:,} bytes")
        if self._file is None:
            self._open()
        assert self._file is not None  # noqa: S101  # _open sets it or raises
        if self._is_torn:
            data = b"\n" + data  # what is torn there must not run into what comes now
        try:
            write_all(self._file, data)
            os.fsync(self._file)
        except OSError:
            self._cut_back()
            raise
        self._size = os.fstat(self._file).st_size if self._is_torn else self._size + len(data)
        self._is_torn = False

    def _open(self) -> None:
        path = self.folder / f"{os.getpid()}-{uuid_utils.uuid7().hex}{SUFFIX}"
        header = _header()
        self._file, self._path, self._size = create_locked(path, header), path, len(header)

    def _cut_back(self) -> None:
        """Take a half-written line out again; if that fails too, the reader sets it aside."""
        if self._file is None:
            return
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._is_torn = True
            log.warning("lastword.spool.not_cut_back", file=str(self._path), exc_info=True)

    def _release(self) -> None:
        if self._file is not None:
            release(self._file)
        self._file, self._path, self._size, self._is_torn = None, None, 0, False

    def _report(self, event: str, path: Path, error: object) -> None:
        """Once per file: delivery is tried every few seconds."""
        if path not in self._reported:
            self._reported.add(path)
            log.error(event, file=str(path), error=str(error))

    def _failed(
        self, event: str, run_id: RunId, events: Sequence[NewEvent], error: OSError
    ) -> None:
        log.critical(
            event,
            run_id=run_id,
            events=[item.event.TOPIC for item in events],
            folder=str(self.folder),
            error=str(error),
            exc_info=error,
        )

    def _after_fork(self) -> None:
        """The file belongs to the parent; the child has closed its descriptor when it was forked."""
        if self._pid != os.getpid():
            self._reset()


def _lines(run_id: RunId, events: Sequence[NewEvent]) -> bytes:
    return b"".join(encode_line(Spooled(run_id, item)) for item in events)


def _header() -> bytes:
    return HEADER + this_owner().model_dump_json().encode() + b"\n"
