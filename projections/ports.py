"""What a store must offer.

Each store keeps the log of events and, in the same transaction, the row of each run's view. Every method may raise
`StoreUnavailable` (the store did not answer or did not take it) and `StoreCorrupt` (its content cannot be read); further errors
are named where they belong. No exception of a driver or of the eventsourcing library leaves a store.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from ..domain.errors import LastwordError
from ..domain.events import RecordedEvent, RunCreated, RunEvent
from ..domain.records import record
from ..domain.status import RunStatus
from ..domain.values import Owner, RunId
from .flags import Suspicion
from .importing import ImportReport, Placed
from .problems import Problem, ProblemKind
from .queries import Page, RunQuery, Tally, TallyQuery
from .run_view import RunView


class NewEvent(NamedTuple):
    """An event that the store has not seen yet."""

    event_id: str
    """32 hexadecimal digits, unique over all stores."""
    event: RunEvent
    occurred_at: datetime
    actor: str | None = None


class Append(NamedTuple):
    """Events to be put at the end of one run's history: all of them or none."""

    run_id: RunId
    expected_version: int
    """How many events the run has now; 0 for a new run."""
    events: tuple[NewEvent, ...]
    view: RunView | None
    """The fold of the run's events so far; None for a new run."""
    correlation_id: str | None = None
    guard: Callable[[RunView], bool] | None = None
    """Called inside the transaction with the run's current view, lease included; False: append nothing."""

    @property
    def exclusive(self) -> str | None:
        """The key of which the run wants to be the only active one."""
        if self.view is not None:
            return self.view.exclusive
        created = (new.event for new in self.events if isinstance(new.event, RunCreated))
        return next((event.exclusive for event in created), None)


class Appended:
    """What the store took. Its events may be given as a function that makes them: hardly anybody asks."""

    __slots__ = ("_events", "view")

    def __init__(
        self,
        events: tuple[RecordedEvent, ...] | Callable[[], tuple[RecordedEvent, ...]],
        view: RunView,
    ) -> None:
        self._events = events
        self.view = view
        """The fold of the run's events, the new ones included."""

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """With positions and `recorded_at`."""
        if callable(self._events):
            self._events = self._events()
        return self._events


class Flaw(NamedTuple):
    """Something of one run that cannot be read."""

    kind: ProblemKind
    what: str
    """Where it is, what was expected and what was found."""
    position: int | None = None
    """Of the event; None for a row."""


@record()
class ScannedRun:
    """One run as it lies in the store, for comparing its row with its events."""

    run_id: RunId
    events: tuple[RecordedEvent, ...]
    row: RunView | None
    """None when the run has events and no row."""
    flaws: tuple[Flaw, ...] = field(default=())
    """What could not be read."""


class SoundRuns(NamedTuple):
    """Runs that a store has looked at itself: their histories are whole, and their rows are what the fold of their events says."""

    runs: int
    events: int


StoredRow = Sequence[Any]
"""One event as it lies in the store, undecoded: position, originator_id, originator_version, topic, state, event_id, occurred_at,
recorded_at, actor, correlation_id, int_id. Each is an int, float, str, bytes or None; times are microseconds since 1970."""


@record()
class Past:
    """What a store says of an earlier moment: what its rows still tell, and the events of the runs whose rows have moved on."""

    position: int
    """The newest event that belongs to it; 0 when there is none."""
    settled: Mapping[RunStatus, int]
    """How many runs are in neither of the two below, by the status that they had then: runs with a last word."""
    active: tuple[RunView, ...] = ()
    """Rows of active runs that are as they were then, without leases."""
    changed: tuple[tuple[RecordedEvent, ...], ...] = ()
    """For each other run that may have existed then: its events in order, at least those of the moment."""


class Removed(NamedTuple):
    """What was removed for good."""

    runs: int
    events: int


class Rewrite(NamedTuple):
    """Events of one run that take the place of others, and the event that records it."""

    run_id: RunId
    expected_version: int
    """How many events the run has now."""
    changed: tuple[RecordedEvent, ...]
    """Each takes the place of the one with its version."""
    record: NewEvent
    """Goes behind them."""
    correlation_id: str | None = None
    """Of the record."""


class Lease(NamedTuple):
    """When an owner was last known to live."""

    owner: str
    """Its key."""
    host: str
    pid: int
    renewed_at: datetime


class Copied(NamedTuple):
    """What one store gives to another that becomes its copy."""

    store_id: str
    """Of the one that gives; the copy has the same."""
    after: int
    """The position of the newest event that the copy has already; 0 for none."""
    log: Iterable[Sequence[StoredRow]]
    """The events behind it as they lie in the store that gives, in batches and in order of position."""
    leases: Sequence[Lease]


class RunStore(Protocol):
    """A place for events and views. Safe to use from many threads, processes, and after a fork."""

    @property
    def url(self) -> str:
        """Where the store is, without credentials."""
        ...

    @property
    def clock(self) -> Callable[[], datetime]:
        """By which everybody who uses the store tells leases and flags: that of its server, if it has one."""
        ...

    def append(self, append: Append, *, fresh: bool = False) -> Appended | None:
        """Commit the events and the run's row together; durable when this returns.

        None when the guard said no. `fresh` uses a connection of its own instead of the usual one.
        Raises `VersionConflict`, and `RunAlreadyActive` when the exclusive key is held.
        """
        ...

    def append_all(self, appends: Sequence[Append]) -> list[Appended | LastwordError | None]:
        """Commit several appends, of different runs, in one transaction; durable when this returns. What became of each, in their order.

        One that is refused fails alone: its error (`VersionConflict`, `RunAlreadyActive`, `InvalidInput`) stands in its place, nothing of it
        was written, and the others are as if it had not been there. Raises `StoreUnavailable` when nothing was committed, and what a guard
        raises; then nothing was, either.
        """
        ...

    def read_run(self, run_id: RunId) -> list[RecordedEvent]:
        """The run's events in order of version; empty for an unknown run. Raises `UnsupportedSchema`."""
        ...

    def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[RecordedEvent]:
        """Up to `limit` events behind a position, in order of position; of these topics only, if any are named.

        Among them are events of the store itself (`RecordedEvent.is_of_store`).
        """
        ...

    def last_position(self) -> int:
        """The position of the newest event; 0 for an empty store."""
        ...

    def wait(self, after: int, timeout: float) -> bool:
        """Block until there is an event behind the position, for at most `timeout` seconds; True if there is one.

        Returns False early when the store is closed.
        """
        ...

    def view(self, run_id: RunId) -> RunView | None:
        """The run's row, `last_seen_at` including its owner's lease; None for an unknown run."""
        ...

    def query(
        self,
        query: RunQuery,
        keep: Callable[[RunView], bool] | None = None,
        suspicion: Suspicion | None = None,
    ) -> Page[RunView]:
        """Runs newest first, by time of creation; of these only the ones that `keep` accepts, up to the query's limit.

        `keep` is asked in the order of the page. With a suspicion, runs that cannot be flagged are left out.
        """
        ...

    def active(self, suspicion: Suspicion | None = None) -> Iterator[RunView]:
        """All runs without a last word, oldest first; with a suspicion, runs that cannot be flagged are left out."""
        ...

    def find(self, fragment: str, limit: int = 10) -> list[RunId]:
        """Up to `limit` ids that begin or end with the fragment; an exact match alone, if there is one."""
        ...

    def counts(self) -> dict[RunStatus, int]:
        """How many runs have each status; every status has a number."""
        ...

    def tally(self, query: TallyQuery) -> Tally:
        """How many runs were created in each stretch of time, by status; never reads more than the query's limit of each."""
        ...

    def renew_lease(self, owner: Owner, now: datetime) -> None:
        """Record that the owner lives. Never goes back in time."""
        ...

    def forget_leases(self, before: datetime) -> int:
        """Drop the leases that were last renewed before this moment: of owners that are long gone. Returns how many."""
        ...

    def record_outage(self, since: datetime, until: datetime) -> None:
        """Write down that the store could not be reached in this time; overlapping ones become one."""
        ...

    def outages(self, since: datetime) -> list[tuple[datetime, datetime]]:
        """The known outages that ended after this moment, oldest first, without overlaps."""
        ...

    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Compute every row anew from the events and put the new rows in place at once; how many there are.

        `progress` is called with (events done, events in all).
        """
        ...

    def scan(self) -> Generator[ScannedRun]:
        """Every run with its events and its row, in one consistent snapshot; also rows without events.

        The snapshot is held until the last run was given or the generator is closed.
        """
        ...

    def check(self) -> Generator[ScannedRun | SoundRuns]:
        """The same for a verification: runs that are sound are only counted, all others are given as `scan` gives them.

        Sound is what `verifying.problems_of` finds nothing wrong with.
        """
        ...

    def inspect(self, now: datetime) -> list[Problem]:
        """What is wrong beside runs and their rows: counters, tags, leases, owners, outages, the order of the log."""
        ...

    def store_id(self) -> str:
        """The UUID that the store was given when it was made; a copy has the same."""
        ...

    def position_at(self, when: datetime) -> int:
        """The position of the newest event that was recorded at or before this moment; 0 when there is none."""
        ...

    def past(self, when: datetime, *, occurred: bool = False) -> Past:
        """What rows and events say of a moment, in one consistent snapshot.

        By the time at which the store took the events; with `occurred`, by the time at which they happened.
        """
        ...

    def log(
        self, after: int = 0, run_ids: Sequence[RunId] | None = None
    ) -> Generator[Sequence[StoredRow]]:
        """All events behind a position as they lie there, in order of position and in batches, in one consistent snapshot.

        Also what cannot be decoded. Text that is not UTF-8 comes with surrogate escapes. With `run_ids` those of these runs alone.
        The snapshot is held until the last batch was given or the generator is closed.
        """
        ...

    def import_runs(
        self, events: Iterable[Placed], progress: Callable[[int], None] | None = None
    ) -> ImportReport:
        """Take in histories of another store, each from its first event on and in order: all of them or none.

        What the store has already is passed over; a longer history extends the one that is there. Positions are new, in the order in which
        the events come; event ids, versions and `occurred_at` stay. An empty store also keeps `recorded_at`, as far as it does not
        go back or lie in the future; any other takes the events now. `progress` gets the number of events that were read.

        Raises `InvalidInput`, which names place and field, for a history that does not begin with `RunCreated`, has gaps, is out of order, is
        another one than the store has, or needs an exclusive key that an active run holds; and what `events` raises.
        """
        ...

    def finished(self, before: datetime) -> list[tuple[RunId, int]]:
        """Id and version of every run whose last word happened before this moment, in order of their newest events."""
        ...

    def store_events(self, after: int = 0) -> Iterator[RecordedEvent]:
        """The events of the store itself behind a position, in order; their run id is empty."""
        ...

    def remove_runs(
        self,
        runs: Sequence[tuple[RunId, int]],
        record: Callable[[Sequence[StoredRow]], NewEvent],
    ) -> Removed:
        """Remove finished runs with everything that belongs to them, and put on record that it was done, in one transaction.

        A run that is gone, is active, or has not the version that is named, is passed over. `record` is called inside the transaction with
        all events that go, in order of position, and gives the event of the store that says so. Positions are never given out again.
        Raises `StoreCorrupt` for a run whose row is not what its events say; then nothing is removed.
        """
        ...

    def rewrite(self, rewrite: Rewrite) -> RunView:
        """Replace events of a run, put on record that it was done, and compute the run's row anew, in one transaction; the new row.

        What was there is overwritten, not only let go. Raises `VersionConflict`.
        """
        ...

    def leases(self) -> list[Lease]:
        """Every owner that beats, or did so not long ago, in order of the key."""
        ...

    def restore(self, copied: Copied) -> int:
        """Become the copy of another store: take its events as they lie there, with positions, times and all, and its id; how many they are.

        One transaction. Rows are not computed: call `rebuild` next. Whoever opens the store before that computes them first.
        Raises `StoreUnavailable` when the newest event is not at the position `after`: somebody has written meanwhile; what `log` raises;
        and `InvalidInput` for an event that this kind of store cannot hold as it is. Then nothing has changed.
        """
        ...

    def compact(self, *, whole: bool) -> bool:
        """Leave nothing of what was removed or overwritten in journals; with `whole` the store is written anew, so that nothing is left in
        its unused parts either. False when somebody reads an earlier state, which keeps it, or this user may not clear it.
        """
        ...

    def close(self) -> None:
        """Let go of all connections. Closing twice is harmless."""
        ...
