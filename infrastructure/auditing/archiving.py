"""Finished runs into a file and out of the store.

    write       every event of the runs into a new file, as an export writes it; fsynced
    verify      read the file back and compare each event with the one in the store
    remove      a few runs at a time: events, rows and tags go, and an event of the store records it, in one transaction

A crash leaves a part of a file beside the one that was asked for, or a whole file and a store that still has some of its runs. Doing the
same again with the same file goes on where it stopped; nothing is lost and nothing is there twice.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ...domain.errors import InvalidInput
from ...domain.events import RecordedEvent, RunEvent, RunsArchived
from ...domain.leaves import Leaves
from ...domain.values import RunId, run_key
from ...projections.ports import NewEvent, RunStore, StoredRow
from ..exchange.exporting import SOURCE_PREFIX, check_elsewhere, write_export
from ..exchange.importing import bounded, opened
from ..exchange.lines import line_of, read_lines
from ..mapper import recorded_event
from ..spooling.files import fsync_folder
from .sealing import Former, leaves
from .vouching import erased_leaves

BATCH_RUNS = 100
"""Runs that are removed in one transaction."""
_LONGEST_PAUSE = 0.05

Progress = Callable[[int, int], None]


class ArchiveReport(BaseModel):
    """What an archiving did, or would do."""

    model_config = ConfigDict(frozen=True)

    file: str
    """The file, as it was named."""
    runs: int
    """Runs that were removed now; with a dry run: that would be."""
    events: int = 0
    """Their events; not counted by a dry run."""
    batches: int = 0
    """Transactions, each with its record."""
    left: int = 0
    """Finished runs from before the moment that stay: they have events in the spool, or are not in a file that was there already."""
    resumed: bool = False
    """True when the file was there already, and was gone on with."""


class Archiving:
    """One archiving. `waiting` has the keys of runs that must stay."""

    def __init__(
        self,
        store: RunStore,
        path: Path,
        new_event: Callable[[RunEvent, str | None], NewEvent],
        *,
        actor: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_elsewhere(path, store.url, "archive")
        self._store = store
        self._path = path
        self._new_event = new_event
        self._actor = actor
        self._progress = progress
        self._source = SOURCE_PREFIX + store.store_id()
        self._done = 0
        self._total = 0

    def run(
        self, before: datetime, waiting: Collection[str], *, dry_run: bool = False
    ) -> tuple[ArchiveReport, list[RunId]]:
        """Do it; the report, and the runs that are not in the store any more."""
        finished = self._store.finished(before)
        runs = {
            run_key(it): (it, version) for it, version in finished if run_key(it) not in waiting
        }
        resumed = self._path.exists()
        if resumed:
            in_file = self._versions()
            runs = {key: run for key, run in runs.items() if in_file.get(key) == run[1]}
        report = ArchiveReport(
            file=str(self._path), runs=len(runs), left=len(finished) - len(runs), resumed=resumed
        )
        if dry_run or not runs:
            return report, []
        self._total = sum(version for _, version in runs.values()) * (2 if resumed else 3)
        if not resumed:
            self._write([run_id for run_id, _ in runs.values()])
        self._verify(runs)
        return self._remove(list(runs.values()), report)

    def _write(self, run_ids: list[RunId]) -> None:
        def lines() -> Iterator[bytes]:
            for recorded in self._stored(run_ids):
                yield line_of(recorded, self._source)
                self._count(1)

        write_export(self._path, lines())
        fsync_folder(self._path.resolve().parent)

    def _versions(self) -> dict[str, int]:
        """How many events of each run a file holds that was there already. Raises `InvalidInput` when it is no archive of this store."""
        held: dict[str, int] = {}
        source = b',"source":"%s",' % self._source.encode()
        for where, recorded, line in self._lines():
            if source not in line:
                raise InvalidInput(
                    f"{where}, field source: expected {self._source}, which is this store, found another one;"
                    " name a file that is not there yet"
                )
            key = run_key(recorded.run_id)
            held[key] = held.get(key, 0) + 1
        if not held:
            raise InvalidInput(
                f"archive {self._path.name}: expected a new file or an archive to go on with, found an empty file;"
                " name another file, or remove it"
            )
        return held

    def _verify(self, runs: dict[str, tuple[RunId, int]]) -> None:
        """Each line is an event of the store as it lies there, none is missing, and an import reads what the store reads."""
        with closing(self._stored([run_id for run_id, _ in runs.values()])) as stored:
            for where, recorded, line in self._lines():
                key = run_key(recorded.run_id)
                if key not in runs or recorded.version > runs[key][1]:
                    continue
                expected = self._next_of(stored, runs)
                if (
                    expected is None
                    or expected != recorded
                    or line != line_of(expected, self._source)
                ):
                    raise self._differs(where, expected)
                self._count(1)
            expected = self._next_of(stored, runs)
            if expected is not None:
                raise self._differs(f"{self._path.name}, behind its last line", expected)

    def _stored(self, run_ids: list[RunId]) -> Generator[RecordedEvent]:
        """All events of these runs, in order of position."""
        with closing(self._store.log(run_ids=run_ids)) as batches:
            for batch in batches:
                yield from map(recorded_event, batch)

    def _next_of(
        self, stored: Iterator[RecordedEvent], runs: dict[str, tuple[RunId, int]]
    ) -> RecordedEvent | None:
        """The next event in the store that is to go; what a run got since it was chosen keeps it from going at all."""
        for recorded in stored:
            if recorded.version <= runs[run_key(recorded.run_id)][1]:
                return recorded
        return None

    def _differs(self, where: str, expected: RecordedEvent | None) -> InvalidInput:
        what = (
            "no further event"
            if expected is None
            else f"version {expected.version} of run {expected.run_id} as the store has it"
        )
        return InvalidInput(
            f"{where}: expected {what}, found something else; nothing was removed: name a file that is not there yet"
        )

    def _remove(
        self, runs: list[tuple[RunId, int]], report: ArchiveReport
    ) -> tuple[ArchiveReport, list[RunId]]:
        erased = erased_leaves(self._store)
        removed = events = batches = 0
        for start in range(0, len(runs), BATCH_RUNS):
            batch = runs[start : start + BATCH_RUNS]
            began = time.monotonic()
            done = self._store.remove_runs(batch, lambda rows: self._record(rows, erased))
            removed += done.runs
            events += done.events
            batches += done.runs > 0
            self._count(done.events)
            # As long as the lock was held: others wait for their turn.
            threading.Event().wait(min(_LONGEST_PAUSE, time.monotonic() - began))
        moved_on = len(runs) - removed
        found = report.model_copy(
            update={
                "runs": removed,
                "events": events,
                "batches": batches,
                "left": report.left + moved_on,
            }
        )
        return found, [run_id for run_id, _ in runs]

    def _record(self, rows: Sequence[StoredRow], erased: dict[int, Former]) -> NewEvent:
        """What stays of the events of a batch."""
        fingerprint = hashlib.sha256()
        for row in rows:
            fingerprint.update(line_of(recorded_event(row), self._source))
        record = RunsArchived(
            runs=len({row[1] for row in rows}),
            file=self._path.name,
            fingerprint=fingerprint.hexdigest(),
            actor=self._actor,
            leaves=Leaves.of((leaf.position, leaf.digest) for leaf in leaves(rows, (), erased)),
        )
        return self._new_event(record, self._actor)

    def _lines(self) -> Iterator[tuple[str, RecordedEvent, bytes]]:
        """Place, event and the line itself of each line of the file."""
        line = b""

        def remembered(lines: Iterable[bytes]) -> Iterator[bytes]:
            nonlocal line
            for line in lines:  # noqa: UP028  # `yield from` would not remember it
                yield line

        with opened(self._path, self._store.url) as file:
            for where, recorded in read_lines(
                remembered(bounded(file, self._path.name)), self._path.name
            ):
                yield where, recorded, line

    def _count(self, events: int) -> None:
        self._done += events
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)
