"""Group commit: what several threads want to append at one moment goes out at once, and is one transaction.

A step that writes nothing in it has an answer of its own: its thread asks for it alone. So does each of them when the server rolled all of it
back and one is to blame, or when somebody else's lock is in the way: what one has to wait for is nobody else's. A connection that is
lost is told to all; then each finds out by itself what became of its events, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg

from ...domain.errors import InvalidInput, LastwordError, StoreUnavailable
from ...domain.status import RunStatus
from ...domain.values import run_key
from ...projections.ports import Append, Appended
from ..logs import get_logger
from ..storing.columns import SELECT_VIEW
from ..storing.sharing import Sharing, Turn
from . import counters
from .appending import Lease, Step, execute, execute_all, refusal, step_of
from .connections import Connections
from .faults import is_of_one, translate
from .links import Link
from .rows import text_in, view_of
from .waiting import Ringer

log = get_logger("lastword.store")

_TRIES = 100
"""After so many changes between a look and the write, something else is wrong."""
PATIENCE_SECONDS = 0.03
"""Whoever was not taken along for so long writes beside those who do: they wait for somebody's lock. A busy crowd needs some of it: 32 threads come
round in 10 ms."""


class GroupCommit(Sharing[Step]):
    """Writes steps. `now` is the time in microseconds, or None for the server's."""

    def __init__(
        self, connections: Connections, ringer: Ringer, now: Callable[[], int | None]
    ) -> None:
        super().__init__(connections.url, PATIENCE_SECONDS)
        self._connections = connections
        self._ringer = ringer
        self._now = now

    def append(self, append: Append, *, fresh: bool = False) -> Appended | None:
        """Write it, alone or with what others append just now. Raises what `RunStore.append` raises."""
        checked(append)
        if fresh:
            with self._connections.separate() as link:
                return self._alone(append, link)
        if append.guard is not None or wants_exclusive(append):
            return self._alone(append)
        step = step_of(append, self._connections)
        turn = self._connections.turn
        had_it = turn.is_mine
        try:
            is_alone = turn.take_alone()  # by far the most common case
            if is_alone:
                self._do([step])
                turn.release()
        except BaseException:
            if not had_it:
                turn.drop()
            raise
        if not is_alone:
            self._share(step)
        outcome, step.outcome = step.outcome, None  # what was appended leads back to the step
        if outcome is None:  # why, or, if nothing stands in its way any more, what becomes of it
            return self._alone(append)
        if isinstance(outcome, Exception):
            raise outcome
        self._fold_counters_after(step)
        return outcome

    def append_all(self, appends: Sequence[Append]) -> list[Appended | LastwordError | None]:
        """See `RunStore.append_all`."""
        answers: list[Appended | LastwordError | None] = [None] * len(appends)
        steps: dict[int, Step] = {}
        for place, append in enumerate(appends):
            try:
                checked(append)
                asked, lease = self._asked(append)
                if asked:
                    steps[place] = step_of(append, self._connections, lease)
            except InvalidInput as error:
                answers[place] = error
        if not steps:
            return answers
        try:
            with self._connections.held(self._connections.patience) as link:
                written = execute_all(link, self._connections, [*steps.values()], self._now())
        except psycopg.errors.UniqueViolation:  # one of them meets events without a row
            written = [None] * len(steps)
        for place, appended in zip(steps, written, strict=True):
            answers[place] = appended or self._answer(appends[place])
        self._ringer.ring()
        for step in steps.values():
            self._fold_counters_after(step)
        return answers

    def _answer(self, append: Append) -> Appended | LastwordError | None:
        """Of one that wrote nothing beside others."""
        try:
            return self._alone(append)
        except StoreUnavailable:
            raise
        except LastwordError as error:
            return error

    # -- one

    def _alone(self, append: Append, link: Link | None = None) -> Appended | None:
        for _ in range(_TRIES):
            asked, lease = self._asked(append)
            if not asked:
                return None
            step = step_of(append, self._connections, lease)
            if link is not None:
                appended = self._write(link, step)
            else:
                with self._connections.held(self._connections.patience) as usual:
                    appended = self._write(usual, step)
            if appended is not None:
                self._ringer.ring()
                self._fold_counters_after(step)
                return appended
        raise StoreUnavailable(
            f"run {append.run_id}: expected to append, but lost {_TRIES} races against other writers; try again"
        )

    def _asked(self, append: Append) -> tuple[bool, Lease | None]:
        """Whether the guard lets it pass, and the lease that it saw, which has to be the same when the events are written."""
        if append.guard is None:
            return True, None
        found = self._connections.fetch(f"{SELECT_VIEW} WHERE r.run_key = ?", (str(append.run_id),))
        if not found:
            return True, None
        view = view_of(found[0])
        lease = None
        if view.status is RunStatus.RUNNING and view.owner is not None:
            lease = Lease(text_in(view.owner.key), found[0][-1])
        return append.guard(view), lease

    def _write(self, link: Link, step: Step) -> Appended | None:
        """One try; None when it is worth another one. Raises what stands in the way."""
        try:
            appended = execute(link, self._connections, step, self._now())
        except psycopg.errors.UniqueViolation:  # events without a row
            appended = None
        if appended is None:
            refused = refusal(link, self._connections, step.append)
            if refused is not None:
                raise refused
        return appended

    # -- several

    @property
    def turn(self) -> Turn[Step]:
        """See `Sharing`."""
        return self._connections.turn

    def _do(self, works: list[Step]) -> None:
        connections = self._connections
        if len(works) == 1:
            with connections.held(connections.patience) as link:
                works[0].outcome = self._write(link, works[0])
        else:
            works.sort(key=_run)  # who locks rows in one order never waits in a circle
            try:
                with connections.held(connections.patience) as link:
                    written = execute_all(link, connections, works, self._now(), hasty=True)
            except psycopg.Error as error:
                if not is_of_one(error):
                    raise
                return
            for step, appended in zip(works, written, strict=True):
                step.outcome = appended
        self._ringer.ring()

    def _meaning(self, error: Exception) -> LastwordError:
        return error if isinstance(error, LastwordError) else translate(error, self._url)

    # -- counters

    def _fold_counters_after(self, step: Step) -> None:
        """Now and then; one who adds a few thousand events up costs less than many who count them."""
        newest = step.base + len(step.append.events) - 1
        if step.base and newest // counters.FOLDED != (step.base - 1) // counters.FOLDED:
            self._fold_counters()

    def _fold_counters(self) -> None:
        try:
            counters.fold(self._connections)
        except (psycopg.Error, StoreUnavailable) as error:
            log.debug("lastword.store.counters_not_folded", error=str(error))


def checked(append: Append) -> None:
    """Refuse what no store may take. Raises `InvalidInput`."""
    run_id, view = append.run_id, append.view
    if view is None:
        run_key(run_id)  # an id that cannot be is refused before anything is written
        version = 0
    else:
        run_id, version = view.run_id, view.version
    if not append.events or version != append.expected_version:
        raise InvalidInput(
            f"run {run_id}: expected events and the view of version {append.expected_version},"
            f" found {len(append.events)} events and a view of version {version}; read the run again"
        )


def wants_exclusive(append: Append) -> bool:
    """Whether it may have to wait for another process that wants the same key."""
    return append.view is None and any(
        vars(new.event).get("exclusive") is not None for new in append.events
    )


def _run(step: Step) -> str:
    return str(step.append.run_id)
