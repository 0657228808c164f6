"""One subscriber: a bounded queue that always has room for the last word."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from lastword.domain.status import RunStatus
from lastword.infrastructure.managing.endings import Claim, Ending, Message, ending_of
from lastword.infrastructure.managing.subscribers import QUEUE_SIZE, Subscriber

UNRECORDED = ending_of(Claim(1, RunStatus.COMPLETED, "the store is locked"), None)
RECORDED = Ending({"run_id": 1, "complete": True, "db_status": "completed"}, None)


@pytest.fixture(params=["a queue of its own", "a queue that others wait on"])
def subscriber(request: pytest.FixtureRequest) -> Subscriber:
    own = request.param == "a queue of its own"
    return Subscriber(1, None if own else queue.Queue(QUEUE_SIZE))


def drained(subscriber: Subscriber) -> list[dict[str, Any]]:
    messages = []
    while not subscriber.queue.empty():
        messages.append(subscriber.queue.get_nowait())
    return messages


def test_a_full_queue_loses_its_oldest_messages_and_never_the_end(subscriber: Subscriber) -> None:
    """1,005 messages, a warning and the signal leave the newest 997, a note on the loss, the warning and the signal."""
    for number in range(QUEUE_SIZE + 5):
        subscriber.push({"number": number})
    subscriber.end(UNRECORDED)
    found = drained(subscriber)
    assert QUEUE_SIZE == len(found)
    note = {
        "run_id": 1,
        "level": "warning",
        "message": "8 messages were dropped: the queue was full",
    }
    assert [{"number": 1004}, note, UNRECORDED.warning, UNRECORDED.signal] == found[-4:]
    assert {"number": 8} == found[0]


def test_a_queue_with_room_loses_nothing(subscriber: Subscriber) -> None:
    """997 messages and the two last ones fit, and nothing is said of a loss."""
    for number in range(QUEUE_SIZE - 2):
        subscriber.push({"number": number})
    subscriber.end(UNRECORDED)
    found = drained(subscriber)
    assert [{"number": 0}, {"number": QUEUE_SIZE - 3}] == [found[0], found[-3]]
    assert QUEUE_SIZE == len(found)


def test_dropped_messages_do_not_block_a_join() -> None:
    """Whoever counts with task_done and join does not wait for messages that were dropped."""
    waited_for: queue.Queue[Message] = queue.Queue(QUEUE_SIZE)
    subscriber = Subscriber(1, waited_for)
    for number in range(QUEUE_SIZE + 50):
        subscriber.push({"number": number})
    subscriber.end(RECORDED)
    for _ in drained(subscriber):
        waited_for.task_done()
    assert 0 == waited_for.unfinished_tasks


def test_what_somebody_else_puts_into_a_queue_does_not_keep_the_end_out() -> None:
    """A queue that was given away may be full at any moment; then its oldest entry makes room."""

    class Crowded(queue.Queue[Message]):
        def qsize(self) -> int:
            return 0  # just before somebody filled it

    crowded = Crowded(2)
    crowded.put({"foreign": 1})
    crowded.put({"foreign": 2})
    subscriber = Subscriber(1, crowded)
    subscriber.end(RECORDED)
    assert [{"foreign": 2}, RECORDED.signal] == drained(subscriber)


def test_many_ends_at_once_are_one() -> None:
    """Of eight threads that bring the end, one is heard, and nothing comes after it."""
    for _ in range(50):
        subscriber, together = Subscriber(1), threading.Barrier(8)
        ended: queue.Queue[bool] = queue.Queue()

        def bring(
            together: threading.Barrier = together,
            ended: queue.Queue[bool] = ended,
            subscriber: Subscriber = subscriber,
        ) -> None:
            together.wait(10)
            ended.put(subscriber.end(RECORDED))
            subscriber.push({"late": True})

        threads = [threading.Thread(target=bring) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert [True] == [won for won in ended.queue if won]
        assert [RECORDED.signal] == drained(subscriber)


def test_a_reader_that_empties_the_queue_meanwhile_gets_the_end_once(
    subscriber: Subscriber,
) -> None:
    """Messages may be read while they are dropped: the numbers stay in order and the signal comes last."""
    found: list[dict[str, Any]] = []

    def read() -> None:
        while True:
            found.append(subscriber.queue.get(timeout=10))
            if found[-1].get("complete"):
                return

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20_000):
        subscriber.push({"number": number})
    subscriber.end(RECORDED)
    reader.join(10)
    numbers = [message["number"] for message in found if "number" in message]
    assert sorted(numbers) == numbers
    assert [RECORDED.signal] == [message for message in found if "complete" in message]
    assert RECORDED.signal == found[-1]


def test_an_event_loop_that_is_closed_harms_nobody() -> None:
    """A subscriber that cannot be woken is closed; the sender notices nothing."""

    def wake() -> None:
        raise RuntimeError("Event loop is closed")

    subscriber = Subscriber(1, wake=wake)
    subscriber.push({"number": 1})
    assert subscriber.is_closed
