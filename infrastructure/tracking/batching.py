"""Many lifecycle calls, few commits."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...domain.commands import Command, CreateRun
from ...domain.errors import InvalidInput, LastwordError, StoreCorrupt, StoreUnavailable
from ...domain.values import RunId, run_key, shown
from ..logs import get_logger
from .batch_journal import BatchJournal
from .creating import creation
from .receipts import Receipt

if TYPE_CHECKING:
    from ..clock import Clock
    from ..settings import Settings

log = get_logger("lastword.batch")

BATCH_EVENTS = 500
"""So many events wait before they are stored in between: memory stays flat, and no transaction is long."""


class Batch:
    """What the calls inside ``with tracker.batch()`` have put off. Belongs to the thread that made it."""

    def __init__(
        self, journal: BatchJournal, told: Callable[[Receipt], None], *, strict: bool
    ) -> None:
        self._journal = journal
        self._told = told
        self._strict = strict
        self._waiting: list[Receipt] = []
        self._events = 0
        self._fault: LastwordError | None = None
        self.receipts: list[Receipt] = []
        """What became of each call that was put off, in their order; complete once the block was left."""

    def add(self, receipt: Receipt) -> None:
        """A command was decided, and its events wait."""
        self._waiting.append(receipt)
        self._events += len(receipt.events)
        if self._events >= BATCH_EVENTS:
            self.store()

    def store(self) -> None:
        """Store now what waits; `receipts` then says what became of it. A fault is raised at the end of the block."""
        waiting, self._waiting, self._events = self._waiting, [], 0
        if not waiting:
            return
        run_ids = [receipt.run_id for receipt in waiting]
        became = self._journal.send_all(run_ids, strict=self._strict)
        for receipt in waiting:
            answer = became.get(run_key(receipt.run_id))
            if answer is None:  # another thread, or the beat, has sent it already
                final = receipt._replace(stored=True, view=self._journal.last_known(receipt.run_id))
            else:
                final = receipt._replace(
                    stored=answer.stored,
                    error=answer.error,
                    kept=answer.kept,
                    view=answer.view,
                )
            self.receipts.append(final)
            may_wait = isinstance(final.error, StoreUnavailable | StoreCorrupt) and not self._strict
            if final.error is not None and not may_wait:
                self._fault = self._fault or final.error
            else:
                self._told(final)

    def raise_fault(self) -> None:
        """Raise the first fault after which something of the batch is neither stored nor kept."""
        if self._fault is not None:
            raise self._fault


class BatchOfThread(threading.local):
    """The batch of each thread; None outside of any."""

    batch: Batch | None = None


class BatchingTracker:
    """The part of the tracker that puts calls off, to store many of them at once."""

    settings: Settings
    _clock: Clock
    _journal: BatchJournal
    _batches: BatchOfThread

    @property
    def current_batch(self) -> Batch | None:
        """The batch of the calling thread; None outside of any."""
        return self._batches.batch

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """A block whose lifecycle calls share few commits: what they say is durable when the block was left, and not before.

        Each call is checked and decided at once, as without the block: by what this process knows of the run, or by the store. Its events
        wait until the block is left, or 500 of them do. Calls of other threads are not part of it; a block inside a block belongs to
        the outer one. Questions do not see what waits. A create with an `exclusive` key is stored at once: only the store can promise that.

        What was said before an exception left the block is stored all the same, then the exception goes on. If the store is away,
        everything is kept in the spool, as without the block; when strict, `StoreUnavailable` is raised at the end and nothing is kept. What
        meets another writer's events is decided anew; what can never be stored, e.g. a run whose id was taken meanwhile
        (`RunAlreadyExists`), is dropped, and its error is raised at the end, when everything else is stored. `Batch.receipts` says what became of each
        call.

        >>> from lastword import RunTracker
        >>> with RunTracker("sqlite:///:memory:") as tracker:
        ...     with tracker.batch() as batch:
        ...         for number in range(100):
        ...             _ = tracker.create("import", run_id=number)
        ...             _ = tracker.start(number)
        ...     len(batch.receipts), all(receipt.stored for receipt in batch.receipts)
        (200, True)
        """
        outer = self.current_batch
        if outer is not None:
            yield outer
            return
        batch = self._batches.batch = Batch(self._journal, self._told, strict=self.settings.strict)
        try:
            yield batch
        except BaseException:
            self._batches.batch = None
            try:
                batch.store()
            except LastwordError as error:  # the block's own exception matters more
                log.error("lastword.batch.not_stored", error=str(error), exc_info=True)
            raise
        finally:
            self._batches.batch = None
        batch.store()
        batch.raise_fault()

    def create_many(self, runs: Iterable[str | Mapping[str, Any]]) -> list[RunId]:
        """Make many runs exist, with few commits, and return their ids in order. Each is a name, or a mapping of what `create` takes.

        All of them are checked before the first is made (`InvalidInput`). For what goes wrong afterwards see `batch`.

        >>> from lastword import RunTracker
        >>> with RunTracker("sqlite:///:memory:") as tracker:
        ...     tracker.create_many([{"name": "import", "run_id": 1, "params": {"folder": "in"}}, {"name": "report", "run_id": 2}])
        [1, 2]
        """
        commands = [self._creation_of(run, place) for place, run in enumerate(runs)]
        with self.batch():
            return [self.execute(run_id, command).run_id for run_id, command in commands]

    def _creation_of(self, run: str | Mapping[str, Any], place: int) -> tuple[RunId, CreateRun]:
        if isinstance(run, str):
            run = {"name": run}
        if not isinstance(run, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise InvalidInput(
                f"run {place}: expected a name or a mapping of what `create` takes, found {type(run).__name__} {shown(run)}"
            )
        try:
            run_id, command = creation(self.settings, self._clock(), **run)
            run_key(run_id)
        except TypeError as error:  # a keyword too many, or no name
            raise InvalidInput(
                f"run {place}: expected what `create` takes, found {shown(dict(run))}: {error}"
            ) from None
        except InvalidInput as error:
            raise InvalidInput(f"run {place}: {error}") from None
        return run_id, command

    # -- what the tracker has

    @abstractmethod
    def execute(self, run_id: RunId, *commands: Command) -> Receipt: ...

    @abstractmethod
    def _told(self, receipt: Receipt) -> None: ...
