"""Tells those who wait for a run how it ended: each of them once, and what the store really says."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import islice
from queue import Queue
from typing import TYPE_CHECKING, Any

from ...domain.errors import LastwordError, StoreUnavailable
from ...domain.events import CancellationRequested, RecordedEvent, RunCancelled
from ...domain.status import RunStatus
from ...domain.values import RunId, run_key
from ...projections.run_view import RunView
from ..forks import tell_child
from ..logs import get_logger
from .endings import Claim, Ending, Message, ending_of
from .follower import Follower, Interest
from .subscribers import MessageStream, Subscriber, is_last

if TYPE_CHECKING:
    from ..tracking.tracker import RunTracker

log = get_logger("lastword.notifier")

_CLAIMS_AT_A_TIME = 10

StopRequest = Callable[[str | None, str | None], None]
"""Called with the reason and the actor when somebody, anywhere, asks a run of this process to stop."""


class Notifier:
    """Keeps the subscribers of one process.

    A run that this process executes is *local* from `begin` to `end`: its subscribers get its messages, and the signal when the work
    has ended. The signal of any other run comes from its projection, at once or when the follower hears of its last word.
    """

    def __init__(self, tracker: RunTracker) -> None:
        self._tracker = tracker
        self.forget_parent()
        self._unrecorded: OrderedDict[str, Claim] = OrderedDict()
        self._shut = False
        self._follower = Follower(tracker.store, self)
        tell_child(self)

    def forget_parent(self) -> None:
        """After a fork the parent's runs are those of another process, and its subscribers are told there."""
        self._lock = threading.Lock()  # never held while the store is asked
        self._local: dict[str, tuple[RunId, StopRequest]] = {}
        self._waiting: dict[str, dict[Subscriber, None]] = {}

    # -- for the one who executes runs

    def begin(self, run_id: RunId, stop: StopRequest) -> None:
        """This process executes the run from now on."""
        with self._lock:
            self._local[run_key(run_id)] = (run_id, stop)
        try:
            self._follower.ensure()
        except RuntimeError:
            log.warning("lastword.follower.no_thread", run_id=run_id, exc_info=True)

    @property
    def hears_requests(self) -> bool:
        """Whether cancellation requests of other processes arrive by themselves."""
        return self._follower.is_alive

    def publish(self, run_id: RunId, message: Message) -> None:
        """Send a message to the subscribers of a local run."""
        key = run_key(run_id)
        with self._lock:
            subscribers = [*self._waiting.get(key, ())] if key in self._local else []
        for subscriber in subscribers:
            if subscriber.is_closed:
                self.leave(subscriber)
            else:
                _safely(subscriber, lambda it: it.push({**message}))

    def end(self, claim: Claim) -> None:
        """The work has ended and its outcome has been recorded, or not: tell every subscriber what the store says.

        Once: for a run that is not local any more it does nothing.
        """
        if claim.last_known is None:
            claim = replace(claim, last_known=self._tracker.last_known(claim.run_id))
        self._settle(claim, ending_of(claim, self._read_back(claim.run_id)))

    def hand_over(self, run_id: RunId) -> None:
        """The run turned out to be somebody else's: its subscribers wait for its last word, wherever that comes from."""
        view = self._read_back(run_id) or self._tracker.last_known(run_id)
        if view is not None and view.status.is_terminal:
            claim = Claim(run_id, last_known=view)
            self._settle(claim, ending_of(claim, view))
            return
        with self._lock:
            self._local.pop(run_key(run_id), None)
            shut = self._shut
        if shut:
            self.shut()
        else:
            self._follower.ensure(look=True)  # its last word may have come while it was local

    # -- for those who wait

    def subscribe(self, run_id: RunId, queue: Queue[Message] | None = None) -> Subscriber:
        """A new subscriber; see `join`."""
        subscriber = Subscriber(run_id, queue)
        self.join(subscriber)
        return subscriber

    def join(self, subscriber: Subscriber) -> None:
        """Register. A run that is over is signalled at once; for one that is not, the signal comes when it ends.

        Raises `RunNotFound`, and `StoreUnavailable` when the store cannot be read and the run is not known here.
        """
        if self.join_local(subscriber):
            return
        try:
            ending = self._ending_now(subscriber)
            if ending is None:
                self._follower.ensure(wake=True)
        except BaseException:
            if self.join_local(subscriber):  # somebody began it just now
                return
            self.leave(subscriber)
            raise
        if ending is not None:
            self._send_last([subscriber], ending)
            self.leave(subscriber)

    def join_local(self, subscriber: Subscriber) -> bool:
        """Register without asking the store; whether it is a local run, for which nothing else needs to be done."""
        with self._lock:
            if not subscriber.is_closed:
                self._waiting.setdefault(subscriber.key, {})[subscriber] = None
            return subscriber.key in self._local

    def unrecorded(self, run_id: RunId) -> Claim | None:
        """How work ended here that the store has not taken; None when there is nothing that it does not have."""
        with self._lock:
            return self._unrecorded.get(run_key(run_id))

    def leave(self, subscriber: Subscriber, wait: bool = True) -> None:  # a callback's shape
        """Unregister. Without `wait` it may be left for later, when somebody else is at it."""
        subscriber.is_closed = True
        if self._lock.acquire(blocking=wait):
            try:
                self._forget(subscriber)
            finally:
                self._lock.release()

    def unsubscribe(self, run_id: RunId, queue: object) -> None:
        """Unregister the subscriber with this queue; an unknown one is no error."""
        key = run_key(run_id)
        with self._lock:
            for subscriber in [*self._waiting.get(key, ())]:
                if subscriber.queue is queue:
                    subscriber.is_closed = True
                    self._forget(subscriber)

    def stream(self, run_id: RunId) -> MessageStream:
        """The messages as an iterator; registered when this returns."""
        return MessageStream(self.subscribe(run_id), self.leave)

    async def astream(self, run_id: RunId) -> AsyncGenerator[Message, None]:
        """The messages as an asynchronous iterator; registered when the iteration begins. No thread waits meanwhile."""
        import asyncio

        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        subscriber = Subscriber(run_id, wake=lambda: loop.call_soon_threadsafe(arrived.set))
        try:
            if not self.join_local(subscriber):
                await asyncio.to_thread(self.join, subscriber)
            while True:
                arrived.clear()  # before the queue is emptied: what comes meanwhile sets it again
                while not subscriber.queue.empty():
                    message = subscriber.queue.get_nowait()
                    over = is_last(message, subscriber)
                    yield message
                    if over:
                        return
                await arrived.wait()
        finally:
            self.leave(subscriber)

    def shut(self) -> None:
        """Stop watching runs of others; who waits for one is told that there will be no signal here."""
        with self._lock:
            self._shut = True
            left = [
                s for key, those in self._waiting.items() if key not in self._local for s in those
            ]
            for subscriber in left:
                self._forget(subscriber)
            busy = bool(self._local)
        for subscriber in left:
            _safely(subscriber, lambda it: it.abandon(_shut_down(it.run_id)))
        if not busy:
            self._follower.stop()

    # -- for the follower

    def interest(self) -> Interest:
        """See `Audience`."""
        with self._lock:
            if any(key not in self._local for key in self._waiting):
                return Interest.ENDINGS
            return Interest.REQUESTS if self._local else Interest.NOTHING

    def look(self) -> None:
        """See `Audience`."""
        with self._lock:
            local = [*self._local.values()]
            others = [
                next(iter(those)).run_id
                for key, those in self._waiting.items()
                if key not in self._local
            ]
        for run_id, stop in local:
            view = self._tracker.store.view(run_id)
            if view is not None and (
                view.cancel_requested_at or view.status is RunStatus.CANCELLED
            ):
                for recorded in self._tracker.store.read_run(run_id):
                    if isinstance(recorded.event, CancellationRequested | RunCancelled):
                        stop(recorded.event.reason, recorded.event.actor)
        for run_id in others:
            self._look_at(run_id)

    def heard(self, recorded: RecordedEvent) -> None:
        """See `Audience`."""
        key, event = run_key(recorded.run_id), recorded.event
        with self._lock:
            local, is_waited_for = self._local.get(key), key in self._waiting
        if local is not None:
            if isinstance(event, CancellationRequested | RunCancelled):
                local[1](event.reason, event.actor)
        elif is_waited_for:
            self._look_at(recorded.run_id)

    # -- inside

    def _look_at(self, run_id: RunId) -> None:
        view = self._tracker.store.view(run_id)
        if view is None or not view.status.is_terminal:
            return
        with self._lock:
            key = run_key(run_id)
            subscribers = [] if key in self._local else [*self._waiting.pop(key, ())]
            claim = self._unrecorded.get(key) or Claim(view.run_id)
        self._send_last(subscribers, ending_of(claim, view))

    def _read_back(self, run_id: RunId) -> RunView | None:
        try:
            return self._tracker.get(run_id)
        except Exception as error:  # noqa: BLE001  # the signal goes out, whatever is wrong
            log.warning("lastword.projection.unreadable", run_id=run_id, error=str(error))
            return None

    def _ending_now(self, subscriber: Subscriber) -> Ending | None:
        """How a run that is not local ended; None when it has not."""
        with self._lock:
            claim = self._unrecorded.get(subscriber.key)
        try:
            view = self._tracker.get(subscriber.run_id)
        except LastwordError as error:
            if claim is not None:
                return ending_of(claim, None)
            view = self._tracker.last_known(subscriber.run_id)
            if view is None or not isinstance(error, StoreUnavailable):
                raise
        if claim is not None:
            ending = ending_of(claim, view)
            if ending.warning is None:
                self._now_recorded(subscriber.key)
            return ending
        if view.status.is_terminal:
            return ending_of(Claim(view.run_id), view)
        if self._shut:
            raise StoreUnavailable(_shut_down(view.run_id))
        return None

    def _settle(self, claim: Claim, ending: Ending) -> None:
        key = run_key(claim.run_id)
        with self._lock:
            if self._local.pop(key, None) is None:
                return
            subscribers = [*self._waiting.pop(key, ())]
            if ending.warning is not None and claim.outcome is not None:
                self._unrecorded[key] = claim
            else:
                self._unrecorded.pop(key, None)
        self._send_last(subscribers, ending)
        log.info("lastword.signal.sent", **_fields(ending), subscribers=len(subscribers))
        if ending.warning is None:
            self._drop_recorded()

    def _drop_recorded(self) -> None:
        """Forget claims that the store holds by now, a few at a time; then the projection answers for them."""
        if not self._unrecorded:
            return
        with self._lock:
            claims = [*islice(self._unrecorded.items(), _CLAIMS_AT_A_TIME)]
        for key, claim in claims:
            view = self._tracker.last_known(claim.run_id)
            if view is not None and ending_of(claim, view).warning is None:
                self._now_recorded(key)
            else:
                with self._lock:
                    if key in self._unrecorded:
                        self._unrecorded.move_to_end(key)

    def _now_recorded(self, key: str) -> None:
        with self._lock:
            self._unrecorded.pop(key, None)

    def _send_last(self, subscribers: list[Subscriber], ending: Ending) -> None:
        for subscriber in subscribers:
            _safely(subscriber, lambda it: it.end(ending))

    def _forget(self, subscriber: Subscriber) -> None:
        those = self._waiting.get(subscriber.key)
        if those is not None:
            those.pop(subscriber, None)
            if not those:
                del self._waiting[subscriber.key]


def _safely(subscriber: Subscriber, action: Callable[[Subscriber], object]) -> None:
    """One subscriber's broken queue must not cost the others their signal."""
    try:
        action(subscriber)
    except Exception:
        log.warning("lastword.subscriber.unreachable", run_id=subscriber.run_id, exc_info=True)


def _fields(ending: Ending) -> dict[str, Any]:
    return {name: value for name, value in ending.signal.items() if name != "complete"}


def _shut_down(run_id: RunId) -> str:
    return f"run {run_id}: its last word has not come and nobody here waits for it any longer: the manager was shut down; subscribe again elsewhere"
