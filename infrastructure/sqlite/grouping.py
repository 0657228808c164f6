"""Group commit: what several threads want to append at one moment shares a transaction, and so one wait for the disk.

Nobody's step is done before the COMMIT that holds it has returned. A step that is refused fails alone; a transaction that fails as a
whole fails for all of its steps.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from ...domain.errors import LastwordError, StoreCorrupt
from ...domain.values import to_micros
from ...projections.ports import Append, Appended
from ..storing.sharing import GLANCE_SECONDS, Sharing, Turn, Work
from .datastore import ThreadDatastore
from .faults import translate
from .links import Link
from .steps import OwnerIds, PartlyWrittenError, Step
from .transactions import Transaction, waited_for_another_thread


class Waiting(Work):
    """An append whose thread waits for somebody to write it, who makes the step, too: one after the other takes less than each in its thread."""

    __slots__ = ("append",)

    def __init__(self, append: Append) -> None:
        super().__init__()
        self.append = append


class GroupCommit(Sharing[Waiting]):
    """Writes steps. `clock` says when an event was taken."""

    def __init__(self, datastore: ThreadDatastore, clock: Callable[[], datetime]) -> None:
        super().__init__(datastore.url, datastore.busy_timeout)
        self._datastore = datastore
        self._clock = clock

    def append(self, append: Append) -> Appended | None:
        """Write it, alone or with what others append just now. Raises what `RunStore.append` raises."""
        if append.guard is not None:  # what it raises, and how long it takes, is nobody else's
            step = self._step(append)
            self.write([step])
            return _answer(step)
        turn = self._datastore.writing
        had_it = turn.is_mine
        try:
            is_alone = turn.take_alone()  # by far the most common case
            if is_alone:
                step = Step(append, self._datastore.owner_ids)
                self.write((step,), has_turn=True)
                turn.release()
                return _answer(step)
        except BaseException:
            if not had_it:
                turn.drop()
            raise
        work = Waiting(append)
        self._share(work)
        return _answer(work)

    def append_all(self, appends: Sequence[Append]) -> list[Appended | LastwordError | None]:
        """See `RunStore.append_all`."""
        found: list[Step | LastwordError] = []
        for append in appends:
            try:
                found.append(self._step(append))
            except LastwordError as error:
                found.append(error)
        steps = [step for step in found if isinstance(step, Step)]
        if steps:
            self.write(steps)
        return [self._told(item.outcome if isinstance(item, Step) else item) for item in found]

    def append_fresh(self, append: Append) -> Appended | None:
        """Write it on a connection of its own."""
        step = self._step(append)
        link = None if self._datastore.in_memory else self._datastore.separate_link()
        try:
            self.write([step], link=link)
        finally:
            if link is not None:
                self._datastore.discard(link)
        return _answer(step)

    def write(
        self, steps: Sequence[Step], *, link: Link | None = None, has_turn: bool = False
    ) -> None:
        """Write the steps in one transaction, on the thread's connection or another one; what became of each stands in its `outcome`.

        Raises when the transaction failed; then nothing was written.
        """
        try:
            self._write(steps, link, has_turn=has_turn, apart=False)
        except PartlyWrittenError:
            if len(steps) > 1:  # one that is alone has its answer, and nothing else was rolled back
                self._write(steps, link, has_turn=has_turn, apart=True)

    def _write(
        self, steps: Sequence[Step], link: Link | None, *, has_turn: bool, apart: bool
    ) -> None:
        datastore = self._datastore
        transaction = Transaction(datastore, link, commit=True, has_turn=has_turn)
        known, met = datastore.owner_ids, OwnerIds()
        # Nothing is called between this and `try`: an interrupt would leave it open.
        link = transaction.begin()
        try:
            cursor = link.cursor_for_writing
            now = to_micros(self._clock())
            if apart:
                _write_apart(steps, cursor, link, now, known, met)
            else:
                for step in steps:
                    step.write(cursor, link, now, known, met)
        except BaseException as error:
            transaction.end(error)
            raise
        try:
            transaction.end()
        except BaseException as error:
            transaction.clear(error)
            raise
        if met:
            known.update(met)
        datastore.bell.ring()

    def _step(self, append: Append) -> Step:
        return Step(append, self._datastore.owner_ids)

    # -- threads

    @property
    def turn(self) -> Turn[Waiting]:
        """See `Sharing`."""
        return self._datastore.writing

    def _do(self, works: list[Waiting]) -> None:
        steps: dict[Waiting, Step] = {}
        for work in works:
            try:
                steps[work] = self._step(work.append)
            except Exception as error:  # noqa: BLE001  # raised where the append came from
                work.outcome = error
        if steps:
            self._write_all([*steps.values()])
        for work, step in steps.items():
            work.outcome = step.outcome

    def _write_all(self, steps: Sequence[Step]) -> None:
        try:
            self.write(steps, has_turn=True)
        except Exception as error:
            if len(steps) == 1 or not isinstance(self._meaning(error), StoreCorrupt):
                raise
            for step in (
                steps
            ):  # what one of them touches is damaged; that is no reason to refuse the others
                self._write_one(step)

    def _write_one(self, step: Step) -> None:
        try:
            self.write([step], has_turn=True)
        except Exception as error:  # noqa: BLE001  # raised where the step came from
            step.outcome = error

    def _lead(self, turn: Turn[Waiting], own: Waiting) -> None:
        super()._lead(turn, own)
        if not own.done:  # only who has the turn takes work along, and nobody had it
            self._desert(own)

    def _wait_on(self, turn: Turn[Waiting], work: Waiting, gate: threading.Lock) -> None:
        if turn.withdraw(work):
            raise waited_for_another_thread(self._datastore)
        # Taken along and not done yet: whoever took it is at it, and says so in the time that a transaction may take.
        gate.acquire(timeout=GLANCE_SECONDS)
        if not work.done and turn.acquire():
            self._lead(turn, work)

    def _meaning(self, error: Exception) -> LastwordError:
        return error if isinstance(error, LastwordError) else translate(error, self._url)

    def _told(self, outcome: Appended | Exception | None) -> Appended | LastwordError | None:
        return self._meaning(outcome) if isinstance(outcome, Exception) else outcome


def _write_apart(
    steps: Sequence[Step],
    cursor: sqlite3.Cursor,
    link: Link,
    now: int,
    known: OwnerIds,
    met: OwnerIds,
) -> None:
    """Each behind a savepoint, so that one which is refused fails alone."""
    for step in steps:
        cursor.execute("SAVEPOINT step")
        try:
            step.write(cursor, link, now, known, met)
        except PartlyWrittenError:
            cursor.execute("ROLLBACK TO step")
            link.newest = -1
            met.clear()
        cursor.execute("RELEASE step")


def _answer(done: Step | Waiting) -> Appended | None:
    outcome = done.outcome
    if type(outcome) is not Appended and isinstance(outcome, Exception):
        raise outcome
    return outcome
