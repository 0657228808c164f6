"""Group commit: what several threads want to append at one moment shares a transaction, and so one wait for the disk.

There is no thread for it. Who finds nobody writing writes at once, and takes along whatever others have queued meanwhile; who
finds somebody writing queues, and waits until it was taken along or the turn is free. A writer that is alone pays nothing for this.

Nobody's step is done before the COMMIT that holds it has returned. A step that is refused fails alone; a transaction that fails as a
whole fails for all of its steps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from copy import copy
from datetime import datetime
from time import monotonic

from ...domain.errors import LastwordError, StoreCorrupt, StoreUnavailable
from ...domain.values import to_micros
from ...projections.ports import Append, Appended
from ..storing.faults import driver_error
from .datastore import ThreadDatastore
from .faults import translate
from .links import Link
from .steps import PENDING, OwnerIds, PartlyWrittenError, Step
from .transactions import Transaction, waited_for_another_thread
from .turns import wake

MOST = 64
"""Steps in one transaction; more wait for the next, so that nobody waits for a crowd."""

_GLANCE_SECONDS = 0.1
"""So often a thread that waits looks whether the one that it waits for is still there."""


class GroupCommit:
    """Writes steps. `clock` says when an event was taken."""

    def __init__(self, datastore: ThreadDatastore, clock: Callable[[], datetime]) -> None:
        self._datastore = datastore
        self._clock = clock

    def append(self, append: Append) -> Appended | None:
        """Write it, alone or with what others append just now. Raises what `RunStore.append` raises."""
        step = Step(append, self._datastore.owner_ids)
        if append.guard is not None:  # what it raises, and how long it takes, is nobody else's
            self.write([step])
            return self._result(step)
        writing = self._datastore.writing
        if writing.take_alone():  # by far the most common case
            try:
                self._write((step,), None, has_turn=True, apart=False)
            except PartlyWrittenError:
                pass  # it has its answer
            finally:
                writing.release()
            outcome = step.outcome
            return outcome if type(outcome) is Appended else self._result(step)
        writing.enqueue(step)
        try:
            if writing.acquire(blocking=False):
                self._lead(step)
            else:
                self._follow(step)
        except BaseException:
            writing.withdraw(step)
            raise
        return self._result(step)

    def append_all(self, appends: Sequence[Append]) -> list[Appended | LastwordError | None]:
        """See `RunStore.append_all`."""
        found: list[Step | LastwordError] = []
        for append in appends:
            try:
                found.append(Step(append, self._datastore.owner_ids))
            except LastwordError as error:
                found.append(error)
        steps = [step for step in found if isinstance(step, Step)]
        if steps:
            self.write(steps)
        return [self._answer(item) if isinstance(item, Step) else item for item in found]

    def append_fresh(self, append: Append) -> Appended | None:
        """Write it on a connection of its own."""
        step = Step(append, self._datastore.owner_ids)
        link = None if self._datastore.in_memory else self._datastore.separate_link()
        try:
            self.write([step], link=link)
        finally:
            if link is not None:
                self._datastore.discard(link)
        return self._result(step)

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
        link = transaction.begin()
        known, met = datastore.owner_ids, OwnerIds()
        try:
            cursor = link.cursor_for_writing
            now = to_micros(self._clock())
            for step in steps:
                if apart:
                    cursor.execute("SAVEPOINT step")
                try:
                    step.write(cursor, link, now, known, met)
                except PartlyWrittenError:
                    if not apart:
                        raise
                    cursor.execute("ROLLBACK TO step")
                    link.newest = -1
                    met.clear()
                if apart:
                    cursor.execute("RELEASE step")
        except BaseException as error:
            transaction.end(error)
            raise
        transaction.end()
        if met:
            known.update(met)
        datastore.bell.ring()

    # -- threads

    def _lead(self, own: Step) -> None:
        """Write everything that waits; the turn is ours."""
        writing = self._datastore.writing
        try:
            while not own.done:
                steps = writing.take(MOST)
                if not steps:
                    raise self._deserted()
                self._write_for_all(steps, own)
        finally:
            writing.release()

    def _write_for_all(self, steps: list[Step], own: Step) -> None:
        """Write the steps, and tell everybody. Raises what interrupts the one who leads."""
        try:
            self.write(steps, has_turn=True)
        except Exception as error:  # noqa: BLE001  # each thread raises its own
            if len(steps) > 1 and isinstance(self._meaning(error), StoreCorrupt):
                self._write_one_by_one(steps)
            else:
                for step in steps:
                    step.outcome = error if step is own else self._for_another(error)
        except BaseException as error:
            for step in steps:
                step.outcome = StoreUnavailable(
                    f"{self._datastore.url}: expected another thread of this process to write, found it interrupted"
                    f" ({type(error).__name__}); try again"
                )
            raise
        finally:
            for step in steps:
                step.done = True
                wake(step)

    def _write_one_by_one(self, steps: Sequence[Step]) -> None:
        """Something that one of them touches is damaged; that is no reason to refuse the others."""
        for step in steps:
            step.outcome = PENDING
        for step in steps:
            try:
                self.write([step], has_turn=True)
            except Exception as error:  # noqa: BLE001  # raised where the step came from
                step.outcome = error

    def _follow(self, step: Step) -> None:
        """Wait until somebody has written the step, or the turn is ours."""
        datastore = self._datastore
        writing = datastore.writing
        gate = threading.Lock()
        gate.acquire()
        step.wake = gate.release
        ends = monotonic() + datastore.busy_timeout
        while not step.done:
            left = ends - monotonic()
            if left <= 0 and writing.withdraw(step):
                raise waited_for_another_thread(datastore)
            # Taken along and not done yet: whoever took it is at it, and says so in the time that a transaction may take.
            gate.acquire(timeout=_GLANCE_SECONDS if left <= 0 else min(left, _GLANCE_SECONDS))
            if not step.done and writing.acquire(blocking=False):
                self._lead(step)

    # -- answers

    def _result(self, step: Step) -> Appended | None:
        outcome = step.outcome
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is PENDING:
            raise self._deserted()
        return outcome

    def _answer(self, step: Step) -> Appended | LastwordError | None:
        outcome = step.outcome
        if isinstance(outcome, Exception):
            return self._meaning(outcome)
        return self._deserted() if outcome is PENDING else outcome

    def _meaning(self, error: Exception) -> LastwordError:
        return error if isinstance(error, LastwordError) else translate(error, self._datastore.url)

    def _for_another(self, error: Exception) -> LastwordError:
        """The same for another thread: an exception belongs to the one that raises it."""
        meaning = self._meaning(error)
        again = copy(meaning)
        again.__cause__ = meaning.__cause__ or (None if meaning is error else driver_error(error))
        return again

    def _deserted(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._datastore.url}: expected another thread of this process to write, found that it has ended; try again"
        )
