"""What a tracker lets go of: finished runs that go into a file, and what people wrote."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import uuid_utils

from ...domain.events import RunEvent
from ...domain.values import RunId, name_of, run_key, utc
from ...projections.ports import NewEvent
from ..clock import Clock
from ..exchange.tracking import ImportingTracker
from ..tracking.batch_journal import BatchJournal

if TYPE_CHECKING:
    from .archiving import ArchiveReport
    from .erasing import EraseReport


class RetainingTracker(ImportingTracker):
    """The part of `RunTracker` that archives and erases."""

    _journal: BatchJournal
    _clock: Clock
    spool_folder: Path | None

    def archive(
        self,
        before: datetime,
        path: str | Path,
        progress: Callable[[int, int], None] | None = None,
        *,
        actor: str | None = None,
        dry_run: bool = False,
    ) -> ArchiveReport:
        """Write the runs whose last word happened before a moment into a new file, and remove them from the store.

        The file is an export: `import_events` brings the runs back. It is fsynced, read back and compared with the store before anything
        is removed. Runs are removed a few at a time, each batch with a record of it in the log, so that seals still verify. Runs that have
        events in the spool stay. When the file is there already, the archiving that wrote it is gone on with, as after a crash: nothing
        is added to the file. `progress` gets (done, in all). With `dry_run` nothing is written or removed.

        Raises `InvalidInput` for a naive time, and for a file that is not the archive of these runs; `StoreCorrupt` for a run whose row is not
        what its events say.

        >>> import tempfile
        >>> from datetime import UTC, datetime, timedelta
        >>> from lastword import RunTracker
        >>> now = datetime(2026, 2, 5, tzinfo=UTC)
        >>> with tempfile.TemporaryDirectory() as folder, RunTracker("sqlite:///:memory:", clock=lambda: now) as tracker:
        ...     with tracker.run("import", run_id=17):
        ...         pass
        ...     now += timedelta(days=90)
        ...     report = tracker.archive(now - timedelta(days=30), f"{folder}/old.jsonl")
        ...     gone = tracker.find("17")
        ...     back = tracker.import_events(report.file)
        >>> report.runs, report.events, gone, back.new_runs
        (1, 3, [], 1)
        """
        from ..spooling.checking import waiting_runs
        from .archiving import Archiving

        if actor is not None:
            name_of(actor, "actor")
        archiving = Archiving(
            self._store, Path(path), self._new_event, actor=actor, progress=progress
        )
        waiting = {run_key(it) for it in self._journal.unsent()} | waiting_runs(self.spool_folder)
        report, gone = archiving.run(utc(before, "before"), waiting, dry_run=dry_run)
        self._journal.forget(gone)
        return report

    def erase(
        self,
        run_id: RunId,
        *,
        reason: str | None = None,
        actor: str | None = None,
        compact: bool = True,
    ) -> EraseReport:
        """Replace what people wrote into a finished run by placeholders, in its events and in its row; `RunErased` records it.

        Params, results, tags, error texts, steps, messages, reasons, notes, actors, correlation ids, exclusive keys and host names go; the same
        stays as with ``export(redact=True)``. Seals still verify: the fingerprints of the events as they were are on record. `reason` and
        `actor` stay readable. `compact` writes the whole file anew, so that nothing is left in its unused parts; on a large store others wait
        meanwhile. What is elsewhere stays: exports, archives, backups, logs. Erasing again is harmless.

        Raises `RunNotFound`, `InvalidTransition` for an active run, `InvalidInput` when events of the run wait in the spool.

        >>> from lastword import RunTracker
        >>> with RunTracker("sqlite:///:memory:") as tracker:
        ...     with tracker.run("import", run_id=17, params={"folder": "/home/ann"}):
        ...         pass
        ...     report = tracker.erase(17, reason="asked for by letter")
        ...     tracker.get(17).params, report.events, tracker.history(17)[-1].event.reason
        ({'folder': 'redacted'}, 2, 'asked for by letter')
        """
        from ..spooling.checking import waiting_runs
        from .erasing import erase, refuse_waiting

        key = run_key(run_id)
        if key in {run_key(it) for it in self._journal.unsent()} | waiting_runs(self.spool_folder):
            raise refuse_waiting(run_id)
        report = erase(
            self._store, run_id, self._new_event, reason=reason, actor=actor, compact=compact
        )
        self._journal.forget([report.run_id])
        return report

    def _new_event(self, event: RunEvent, actor: str | None) -> NewEvent:
        return NewEvent(uuid_utils.uuid7().hex, event, self._clock(), actor)
