"""The way of a fact: decide, append, and what to do when the store does not take it.

    command --decide--> events --append--> store
                 ^                           |-- conflict: reload, decide again
                 |                           |-- transient fault: retry with backoff, then once on a fresh connection
                 '-- cached state            '-- still no: keep the events; they go in front of the run's next append

Nothing is read before an append for runs that this process knows. Commands on one run are taken one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ...domain.commands import Command, CreateRun, RecordProgress
from ...domain.errors import (
    InvalidTransition,
    LastwordError,
    RunAlreadyActive,
    RunAlreadyExists,
    StoreCorrupt,
    StoreUnavailable,
    VersionConflict,
)
from ...domain.run import RunState, decide, evolve, fold, reconcile
from ...domain.values import RunId, run_key
from ...projections.ports import Appended, NewEvent, RunStore
from ...projections.run_view import RunView, fold_view
from ..clock import Clock
from ..liveness.outages import OutageWatch
from ..logs import get_logger
from .alerts import Alerts, Failure
from .downtime import Downtime
from .receipts import Keeper, Receipt
from .retrying import RetryPolicy
from .run_cache import Entry, RunCache
from .unsent import (
    has_last_word,
    is_progress,
    on_top,
    request_for,
    wants_exclusive,
    without_exclusive,
)

log = get_logger("lastword.journal")

_MAX_CONFLICTS = 100
"""After so many lost races for one run, something else is wrong."""


class Journal:
    """Executes commands on runs against one store."""

    def __init__(
        self,
        store: RunStore,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        retry: RetryPolicy,
        keeper: Keeper | None = None,
        alerts: Alerts,
        outages: OutageWatch,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._retry = retry
        self._keeper = keeper
        self._alerts = alerts
        self._outages = outages
        self._runs = RunCache()
        self._downtime = Downtime()

    def execute(
        self,
        run_id: RunId,
        *commands: Command,
        guard: Callable[[RunView], bool] | None = None,
        strict: bool = False,
        later: bool = False,
    ) -> Receipt:
        """Decide the commands one after the other and append what happened in one transaction.

        With `later` it is decided now and waits for `send_all`; a claim to an exclusive key is not put off.

        Raises the errors of `decide`, `RunAlreadyActive`, and `StoreUnavailable` when `strict`, or when the run's state cannot
        be known without the store. A `guard` that says no makes it a harmless repeat.
        """
        key = run_key(run_id)
        with self._runs.one_at_a_time(key):
            return self._execute(key, run_id, commands, guard, strict=strict, later=later)

    def last_known(self, run_id: RunId) -> RunView | None:
        """The run as the store is last known to have held it; None when this process never saw it stored."""
        entry = self._runs.get(run_key(run_id))
        return None if entry is None else entry.view

    def forget(self, run_ids: Iterable[RunId]) -> None:
        """The store has these no longer, or has them changed behind this journal: read them again when they are asked for."""
        for run_id in run_ids:
            self._runs.forget(run_key(run_id))

    def unsent(self) -> list[RunId]:
        """The runs that have events which the store has not taken yet."""
        return [entry.run_id for _, entry in self._runs.waiting()]

    def send_unsent(self) -> int:
        """Try once to append what is unsent, run by run; stops at the first fault. Returns how many events got in."""
        sent = 0
        for key, waiting in self._runs.waiting():
            with self._runs.one_at_a_time(key):
                try:
                    sent += self._send(key, self._runs.get(key) or waiting)
                except StoreUnavailable as error:
                    log.debug(
                        "lastword.unsent.still_waiting", run_id=waiting.run_id, error=str(error)
                    )
                    break
                except LastwordError as error:
                    log.error(
                        "lastword.unsent.refused",
                        run_id=waiting.run_id,
                        error=str(error),
                        exc_info=True,
                    )
        return sent

    def adopt(self, run_id: RunId, events: Sequence[NewEvent]) -> int:
        """Append events that another process left behind; those that the store has already are passed over.

        Returns how many got in. Raises `StoreUnavailable`, and `LastwordError` when they cannot be appended at all.
        """
        key = run_key(run_id)
        with self._runs.one_at_a_time(key):
            entry = self._runs.get(key) or Entry.unknown(run_id)
            entry.unsent.extend(events)
            before = [item.event_id for item in events]
            try:
                return self._send(key, self._reload(key, entry)[0])
            except LastwordError:
                entry = (
                    self._runs.get(key) or entry
                )  # the spool file still has them; they are not ours to keep
                entry.unsent = [item for item in entry.unsent if item.event_id not in before]
                entry.state = on_top(entry.stored, entry.unsent)
                raise

    # -- inside

    def _execute(
        self,
        key: str,
        run_id: RunId,
        commands: Sequence[Command],
        guard: Callable[[RunView], bool] | None,
        *,
        strict: bool,
        later: bool,
    ) -> Receipt:
        entry, is_fresh = self._entry(key, run_id, commands[0])
        for _ in range(_MAX_CONFLICTS):
            try:
                state, new = self._decide(entry, commands)
            except LastwordError as refused:
                if is_fresh:
                    raise
                entry, is_fresh = self._seen_again(key, entry, refused), True
                continue
            if not new and not entry.unsent:
                if entry.is_waiting:
                    self._settle(key, entry)
                return Receipt(entry.run_id, state.status, (), stored=True)
            happened = tuple([item.event for item in new])
            if later and not wants_exclusive(new):
                entry.state = state
                entry.unsent.extend(new)
                self._runs.put(key, entry)
                return Receipt(entry.run_id, state.status, happened, stored=False)
            down = self._downtime.now
            if down is not None and (
                is_progress(new) or (not strict and self._downtime.is_being_tried)
            ):
                return self._not_stored(key, entry, state, new, down, strict=strict)
            try:
                appended = self._append(key, entry, new, state, guard)
            except VersionConflict:
                try:
                    entry, present = self._reload(key, entry)
                except StoreUnavailable as error:
                    return self._not_stored(key, entry, state, new, error, strict=strict)
                is_fresh = True
                if new and all(item.event_id in present for item in new):
                    # The store took it before and could not say so: our own event is in the way.
                    return Receipt(
                        entry.run_id, entry.state.status, happened, stored=True, view=entry.view
                    )
                continue
            except (StoreUnavailable, StoreCorrupt) as error:
                return self._not_stored(key, entry, state, new, error, strict=strict)
            except LastwordError:
                raise
            except BaseException as error:
                # Ctrl-C, or what a signal's handler raises, while the store was waited for: the work has ended all the same.
                if guard is None and has_last_word(new):
                    why = StoreUnavailable(
                        f"run {run_id}: expected an answer of the store, but waiting for it was interrupted ({error!r:.60});"
                        " what happened is kept and delivered later"
                    )
                    self._not_stored(key, entry, state, new, why, strict=False)
                raise
            if appended is None:
                return Receipt(entry.run_id, entry.state.status, (), stored=True)
            return Receipt(entry.run_id, state.status, happened, stored=True, view=appended.view)
        raise StoreUnavailable(
            f"run {run_id}: expected to append, but lost {_MAX_CONFLICTS} races against other writers; try again"
        )

    def _decide(self, entry: Entry, commands: Sequence[Command]) -> tuple[RunState, list[NewEvent]]:
        state = entry.state
        new: list[NewEvent] = []
        for number, command in enumerate(commands, start=1):
            try:
                events = decide(command, state)
            except InvalidTransition:
                if isinstance(command, RecordProgress) and number < len(commands):
                    log.debug(
                        "lastword.progress.dropped", run_id=entry.run_id, status=state.status.value
                    )
                    continue  # held progress that rides along with a last word must not stand in its way
                raise
            for event in events:
                state = evolve(state, event)
                actor = event.__dict__.get("actor")  # `getattr` searches 5 us for what is not there
                new.append(NewEvent(self._new_id(), event, command.now or self._clock(), actor))
        return state, new

    def _append(
        self,
        key: str,
        entry: Entry,
        new: Sequence[NewEvent],
        state: RunState,
        guard: Callable[[RunView], bool] | None = None,
        attempts: int | None = None,
    ) -> Appended | None:
        """One transaction with everything that is unsent, then the new events; `state` is the run with all of them."""
        request = request_for(entry, (*entry.unsent, *new), state, guard)
        began = self._clock()
        try:
            if self._downtime.is_forgotten:  # a `with` for each append costs more than it looks
                appended = self._retry.append(self._store, request, attempts)
            else:
                with self._downtime.trying() as down:
                    if down:
                        attempts = 1  # all of the patience was spent a moment ago
                    appended = self._retry.append(self._store, request, attempts)
        except StoreUnavailable as error:
            self._downtime.failed(error)
            self._outages.failed(began)
            raise
        self._outages.succeeded(began)
        if appended is not None:
            self._took(key, entry, state, appended)
        return appended

    def _took(self, key: str, entry: Entry, state: RunState, appended: Appended) -> None:
        """The store has all of it."""
        entry.stored = entry.state = state
        entry.view = appended.view
        entry.unsent = []
        if entry.kept_ids:
            self._settle(key, entry)
        else:
            self._runs.put(key, entry)

    def _send(self, key: str, entry: Entry, *, set_aside: bool = True) -> int:
        """Append what is unsent, trying once; how many events got in. `set_aside` as for `_reload`."""
        for _ in range(_MAX_CONFLICTS):
            count = len(entry.unsent)
            if not count:
                self._settle(key, entry)
                return 0
            try:
                self._append(key, entry, (), entry.state, attempts=1)
            except VersionConflict:
                entry, _present = self._reload(key, entry, set_aside=set_aside)
            except RunAlreadyActive as error:
                # The work has been done already; that another run holds its key now cannot undo it.
                log.error(
                    "lastword.unsent.exclusive_given_up", run_id=entry.run_id, error=str(error)
                )
                entry.unsent = [without_exclusive(item) for item in entry.unsent]
            else:
                return count
        raise StoreUnavailable(
            f"run {entry.run_id}: lost {_MAX_CONFLICTS} races against other writers; try again"
        )

    def _settle(self, key: str, entry: Entry) -> None:
        """Everything of this run is in the store."""
        if entry.kept_ids and self._keeper is not None:
            self._keeper.delivered(entry.kept_ids)
        entry.kept_ids = []
        self._runs.put(key, entry)

    def _not_stored(
        self,
        key: str,
        entry: Entry,
        state: RunState,
        new: Sequence[NewEvent],
        error: StoreUnavailable | StoreCorrupt,
        *,
        strict: bool,
    ) -> Receipt:
        if strict or wants_exclusive(new):  # an exclusive key cannot be promised without the store
            raise error
        entry.state = state
        entry.unsent.extend(new)
        kept = False
        if self._keeper is not None and new:
            kept = self._keeper.keep(entry.run_id, new)
            if kept:
                entry.kept_ids.extend(item.event_id for item in new)
        self._runs.put(key, entry)
        happened = tuple(item.event for item in new)
        if happened:  # a repeat is no news
            names = tuple(event.TOPIC for event in happened)
            self._alerts.raise_(Failure(entry.run_id, names, error, kept))
        safe = {item.event_id for item in entry.unsent} <= set(entry.kept_ids)
        return Receipt(entry.run_id, state.status, happened, stored=False, error=error, kept=safe)

    def _entry(self, key: str, run_id: RunId, first: Command) -> tuple[Entry, bool]:
        known = self._runs.get(key)
        if known is not None:
            return known, False
        if isinstance(
            first, CreateRun
        ):  # most likely new; the store's unique key says so if it is not
            return Entry.unknown(run_id), False
        return self._reload(key, Entry.unknown(run_id))[0], True

    def _seen_again(self, key: str, entry: Entry, refused: LastwordError) -> Entry:
        """The run as it is now; perhaps somebody else moved it on, and what was refused is allowed."""
        try:
            return self._reload(key, entry)[0]
        except StoreUnavailable:
            raise refused from None

    def _reload(self, key: str, old: Entry, *, set_aside: bool = True) -> tuple[Entry, set[str]]:
        """The run as the store has it now, with what is unsent and still says something; and the stored events' ids.

        When the id belongs to another run by now, what is unsent is set aside for people; or `RunAlreadyExists` is raised.
        """
        recorded = self._retry.call(lambda: self._store.read_run(old.run_id))
        present = {item.event_id for item in recorded}
        run_id = recorded[0].run_id if recorded else old.run_id
        stored = fold(run_id, (item.event for item in recorded))
        entry = Entry(run_id, stored, fold_view(recorded), stored, kept_ids=old.kept_ids)
        waiting = [item for item in old.unsent if item.event_id not in present]
        try:
            for item in waiting:
                for event in reconcile(item.event, entry.state):
                    entry.unsent.append(
                        NewEvent(item.event_id, event, item.occurred_at, item.actor)
                    )
                    entry.state = evolve(entry.state, event)
        except RunAlreadyExists as error:
            if not set_aside:
                raise
            # The id belongs to another run now; nothing of ours may be mixed into its history.
            names = [item.event.TOPIC for item in waiting]
            log.critical("lastword.unsent.rejected", run_id=run_id, events=names, error=str(error))
            if self._keeper is not None and not self._keeper.set_aside(run_id, waiting):
                raise
            entry.unsent, entry.state = [], stored
        if recorded or entry.is_waiting:
            self._runs.put(key, entry)
        return entry, present
