"""Recording a command's run beside the command: trouble with the store must neither stop it nor hold it up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import uuid_utils

from ...domain.errors import (
    InvalidTransition,
    LastwordError,
    RunAlreadyActive,
    RunAlreadyExists,
    StoreUnavailable,
)
from ...domain.values import RunId
from ..clock import Clock, now_utc
from ..logs import get_logger
from ..tracking.outcomes import OutcomeCommand
from ..tracking.tracker import RunTracker

log = get_logger("lastword.recording")

_PATIENCE_SECONDS = 1.0
"""How long a command waits for its run to be created before it starts all the same."""
_CANCEL_POLL_SECONDS = 0.4
_REFUSALS = (RunAlreadyExists, RunAlreadyActive, InvalidTransition)
"""What says that this run cannot be, whatever the state of the store."""


class Recording:
    """One run, created and started in the background, and finished once.

    `open_tracker` is given the clock to record by. `creation` is what `RunTracker.create` takes.
    """

    def __init__(
        self,
        open_tracker: Callable[[Clock], RunTracker],
        creation: dict[str, Any],
        run_id: RunId | None = None,
    ) -> None:
        self._open_tracker = open_tracker
        self._creation = creation
        self.run_id: RunId = str(uuid_utils.uuid7()) if run_id is None else run_id
        self._clock_shows: datetime | None = None
        self._time: Clock = now_utc
        self._tracker: RunTracker | None = None
        self._trouble: BaseException | None = None
        self._began_at = now_utc()
        self._thread: threading.Thread | None = None

    def begin(self, *, sure: bool, patient: bool) -> None:
        """Create and start the run. Unless `sure` or `patient`, this takes a second at most and then goes on in the background.

        Raises the refusals: `RunAlreadyExists`, `RunAlreadyActive`, `InvalidTransition`; when `sure`, everything else too.
        """
        if sure:
            self._begin()
        else:
            self._thread = _started(self._begin, "lastword-recording")
            if self._thread is None:
                self._begin()
            else:
                self._thread.join(None if patient else _PATIENCE_SECONDS)
        if self._trouble is not None and (sure or isinstance(self._trouble, _REFUSALS)):
            raise self._trouble

    def carrier(self) -> Mapping[str, str]:
        """The variables that make the run's span, if the application traces, the parent of what the command does."""
        tracker = self._tracker
        return {} if tracker is None else tracker.telemetry.carrier(self.run_id)

    def finish(self, outcome: Callable[[Clock], OutcomeCommand]) -> None:
        """Record how it ended. Raises nothing: the command's own end is what counts now."""
        command = outcome(self._time)
        if self._thread is not None:
            self._thread.join()
        if self._tracker is None and isinstance(self._trouble, StoreUnavailable):
            self._begin(self._began_at)  # perhaps the store is there by now
        if self._tracker is None or self._trouble is not None:
            log.error("lastword.outcome.not_recorded", run_id=self.run_id, error=str(self._trouble))
            return
        try:
            receipt = self._tracker.finish(self.run_id, command)
            log.info(
                "lastword.run.ended",
                run_id=self.run_id,
                status=receipt.status.value,
                stored=receipt.stored,
            )
        except Exception as error:
            log.error(
                "lastword.outcome.not_recorded",
                run_id=self.run_id,
                error=str(error),
                exc_info=True,
            )

    def close(self) -> None:
        """Let go of the store."""
        if self._thread is not None:
            self._thread.join()
        if self._tracker is not None:
            self._tracker.close()

    @contextmanager
    def watch_for_cancellation(self, cancel: Callable[[], None]) -> Iterator[None]:
        """Inside, `cancel` is called, once and in another thread, soon after somebody requests the run's cancellation."""
        over = threading.Event()
        watch = _started(lambda: self._watch(over, cancel), "lastword-cancellation")
        try:
            yield
        finally:
            over.set()
            if watch is not None:
                watch.join()

    # -- inside

    def _begin(self, at: datetime | None = None) -> None:
        self._trouble = None
        self._clock_shows = at
        try:
            self._tracker = self._tracker or self._open_tracker(self._clock)
            self._time = self._tracker.store.clock
            self._tracker.create(run_id=self.run_id, **self._creation)
            self._tracker.start(self.run_id)
            # From here on nothing may be refused: what the store does not take has to wait.
            self._tracker.settings = self._tracker.settings.model_copy(update={"strict": False})
            log.info("lastword.run.started", run_id=self.run_id, store=self._tracker.store.url)
        except LastwordError as error:
            self._trouble = error
            log.warning("lastword.run.not_recorded", run_id=self.run_id, error=str(error))
        except Exception as error:
            self._trouble = error
            log.error(
                "lastword.run.not_recorded", run_id=self.run_id, error=str(error), exc_info=True
            )
        finally:
            self._clock_shows = None

    def _clock(self) -> datetime:
        return self._clock_shows or self._time()

    def _watch(self, over: threading.Event, cancel: Callable[[], None]) -> None:
        while not over.wait(_CANCEL_POLL_SECONDS):
            tracker = self._tracker
            if tracker is None:
                continue
            try:
                view = tracker.store.view(self.run_id)
            except LastwordError as error:
                log.debug("lastword.cancel.unknown", run_id=self.run_id, error=str(error))
                continue
            if view is not None and view.cancel_requested_at is not None:
                cancel()
                return


def _started(target: Callable[[], None], name: str) -> threading.Thread | None:
    """None when no thread can be had."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        log.warning("lastword.recording.no_thread", thread=name, exc_info=True)
        return None
    return thread
