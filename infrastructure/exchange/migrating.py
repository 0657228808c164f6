"""A whole store into another one of any kind, which becomes its copy.

    check       every history of the source is whole and can be read
    copy        the events as they lie there, in one transaction: positions, versions, times, ids, records of archives and erasures
    rows        computed anew from the events
    compare     the fingerprints of both logs, and every row of the copy with its events

The copy has the id of the source, so it gives the same answers and the same seals hold. A crash leaves a destination that is empty, or has all
events and computes its rows when it is opened next. A copy can be brought up to date: only what is new is copied then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ...domain.errors import InvalidInput, StoreCorrupt, StoreUnavailable
from ...domain.values import EPOCH
from ...projections.ports import Copied, RunStore, StoredRow
from ...projections.problems import ProblemKind
from ...projections.verifying import VerifyReport, verify
from ..auditing.sealing import Chain, Leaf, Mark, leaf_of
from ..opening import sqlite_path
from ..tracking.tracker import RunTracker

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much of it is done, how much it is in all)."""

_COMPUTED = frozenset({ProblemKind.ROW})
"""What may be wrong with the source, as the copy computes it anew."""


class MigrateReport(BaseModel):
    """What a migration did, and what is left to do."""

    model_config = ConfigDict(frozen=True)

    source: str
    destination: str
    """The two stores, without credentials."""
    copied: int
    """Events that the destination did not have before."""
    events: int
    """Events in its log now."""
    position: int
    """Of the newest of them; 0 when there is none."""
    digest: str
    """The fingerprint of the log up to there, the same in both stores; 64 hexadecimal digits."""
    verified: VerifyReport
    """What a verification of the destination found."""
    behind: int = 0
    """Positions that the source went on by meanwhile."""
    waiting: int = 0
    """Events that wait in the source's spool on this machine: of living processes, or not deliverable."""
    writers: tuple[str, ...] = ()
    """Processes that were at work on the source a moment ago, as ``pid 17 on host``."""

    @property
    def ok(self) -> bool:
        """True when the destination is a whole copy."""
        return self.verified.ok

    @property
    def settled(self) -> bool:
        """True when nothing is known that the destination does not have, and nobody is known to write to the source."""
        return not (self.behind or self.waiting or self.writers)


def migrate(
    source: str | Path, destination: str | Path, progress: Progress | None = None
) -> MigrateReport:
    """Copy a whole store to an empty one of any kind, or bring an earlier copy up to date.

    The destination is created when it is missing. Writers may go on with the source: stop them at the end and migrate once more, which
    copies only what is new, and give them the destination's URL. After a crash, call it again.

    Raises `InvalidInput` when the destination has other events or both are the same, `StoreCorrupt` when a history of the
    source is not whole, `UnsupportedSchema`, `StoreUnavailable`. Then the destination has nothing that it did not have before.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with RunTracker(f"{folder}/runs.db") as tracker:
    ...         _ = tracker.create("import", run_id=17)
    ...     report = migrate(f"{folder}/runs.db", f"{folder}/copy.db")
    ...     again = migrate(f"{folder}/runs.db", f"{folder}/copy.db")
    ...     report.copied, again.copied, again.events, again.ok
    (1, 0, 1, True)
    """
    _check_places(str(source), str(destination))
    with (
        RunTracker(source, strict=True) as old,
        RunTracker(destination, strict=True) as new,
    ):
        if old.store.url == new.store.url:
            raise _same(old.store.url)
        tell = progress or (lambda _step, _done, _total: None)
        copied, mark = copy_store(old.store, new.store, tell)
        tell("verifying", 0, 0)
        verified = new.verify(lambda done, total: tell("verifying", done, total))
        recent = old.clock() - timedelta(seconds=2 * old.settings.heartbeat)
        return MigrateReport(
            source=old.store.url,
            destination=new.store.url,
            copied=copied,
            events=mark.events,
            position=mark.position,
            digest=mark.digest.hex(),
            verified=verified,
            behind=old.store.last_position() - mark.position,
            waiting=old.spool_status().events,
            writers=tuple(
                f"pid {lease.pid} on {lease.host}"
                for lease in old.store.leases()
                if lease.renewed_at > recent
            ),
        )


def copy_store(source: RunStore, destination: RunStore, tell: Progress) -> tuple[int, Mark]:
    """Make the destination a copy of the source; how many events were copied, and how far the log goes. See `migrate`."""
    _check_histories(source, tell)
    known = _known(source, destination, tell)
    reading = _Reading(source, known, tell)
    taken = destination.restore(
        Copied(source.store_id(), known.position, reading.behind(), source.leases())
    )
    for since, until in source.outages(EPOCH):
        destination.record_outage(since, until)
    if taken:
        tell("computing rows", 0, 0)
        destination.rebuild(lambda done, total: tell("computing rows", done, total))
    found = _mark_of(destination, reading.mark.position, tell)
    if found != reading.mark:
        raise StoreCorrupt(
            f"{destination.url}: expected the {reading.mark.events} events of {source.url} with the fingerprint"
            f" {reading.mark.digest.hex()[:16]}, found {found.events} with {found.digest.hex()[:16]};"
            " remove this copy, and migrate into an empty store"
        )
    return taken, found


class _Reading:
    """One pass over the source's log: what the destination has is compared, the rest is handed on."""

    def __init__(self, source: RunStore, known: Mark, tell: Progress) -> None:
        self._source, self._known, self._tell = source, known, tell
        self._chain = Chain()

    @property
    def mark(self) -> Mark:
        """How far the log goes that was read."""
        return self._chain.mark

    def behind(self) -> Iterator[Sequence[StoredRow]]:
        """The events that the destination does not have, in batches. Raises `InvalidInput` when it has other ones."""
        total = self._source.last_position()
        with closing(self._source.log()) as batches:
            for batch in batches:
                new: list[StoredRow] = []
                for row in batch:
                    if row[0] > self._known.position:
                        if not new:
                            self._check()
                        new.append(row)
                    self._chain.add(Leaf(row[0], leaf_of(row)))
                if new:
                    yield new
                self._tell("copying", self.mark.position, max(total, self.mark.position))
        if self.mark.position <= self._known.position:
            self._check()

    def _check(self) -> None:
        if self.mark.position <= self._known.position and self.mark != self._known:
            raise InvalidInput(
                f"migrate: expected a destination whose {self._known.events} events are the first ones of {self._source.url},"
                " found other ones: somebody has written there, or the source was archived or erased from since;"
                " migrate into an empty store (nothing was changed)"
            )


def _check_places(source: str, destination: str) -> None:
    """Refuse what cannot be right before a file is made for it."""
    old, new = sqlite_path(source), sqlite_path(destination)
    for path in (old, new):
        if path == ":memory:":
            raise InvalidInput(
                "migrate: expected two stores that last, found one in memory, which ends with this process;"
                " name a file or a server"
            )
    if old is not None and not Path(old).exists():
        raise StoreUnavailable(
            f"store {old}: expected a file to copy from, found none; check the URL", transient=False
        )
    if old is not None and new is not None and Path(new).exists() and Path(old).samefile(new):
        raise _same(source)


def _same(url: str) -> InvalidInput:
    return InvalidInput(
        f"migrate: expected two stores, found {url} twice; name another destination"
    )


def _check_histories(source: RunStore, tell: Progress) -> None:
    """Refuse a source of which a history is not whole: a copy cannot be better, and its rows could not be computed."""
    total = sum(source.counts().values())
    tell("checking", 0, total)
    report = verify(source.check(), lambda done: tell("checking", done, max(done, total)))
    wrong = [problem for problem in report.problems if problem.kind not in _COMPUTED]
    if wrong:
        raise StoreCorrupt(
            f"{source.url}: expected whole histories to copy, found {len(wrong) + report.omitted} problems, first of"
            f" all: {wrong[0]} (nothing was copied)"
        )


def _known(source: RunStore, destination: RunStore, tell: Progress) -> Mark:
    """What the destination has already. Raises `InvalidInput` when that is not of the source."""
    newest = destination.last_position()
    if not newest:
        return Mark()
    if destination.store_id() != source.store_id():
        raise InvalidInput(
            f"migrate: expected {destination.url} to be empty, or a copy of {source.url}, found the events of another store"
            f" ({destination.store_id()}); name another destination, or bring runs together with `lastword export` and"
            " `lastword import` (nothing was changed)"
        )
    return _mark_of(destination, newest, tell)


def _mark_of(store: RunStore, until: int, tell: Progress) -> Mark:
    """The chain over the log up to a position."""
    found = Chain()
    with closing(store.log()) as batches:
        for batch in batches:
            for row in batch:
                if row[0] > until:
                    return found.mark
                found.add(Leaf(row[0], leaf_of(row)))
            tell("comparing", batch[-1][0], until)
    return found.mark
