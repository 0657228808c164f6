"""Threads that have their work done by one of them: nobody is stranded, whoever is interrupted."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import pytest

from contracts.kit import LONG
from faults.kit import wait_until
from lastword.domain.errors import LastwordError, StoreUnavailable
from lastword.infrastructure.storing import sharing
from lastword.infrastructure.storing.sharing import Sharing, Turn, Work


class Sum(Work):
    """What one thread wants added."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Adding(Sharing[Sum]):
    """Adds numbers, several at once; `before` is called with them first."""

    def __init__(self, patience: float = LONG) -> None:
        super().__init__("memory:", patience)
        self._turn: Turn[Sum] = Turn()
        self.groups: list[list[int]] = []
        self.before: Callable[[list[int]], object] = len

    @property
    def turn(self) -> Turn[Sum]:
        return self._turn

    def add(self, number: int) -> int:
        work = Sum(number)
        self._share(work)
        if isinstance(work.outcome, Exception):
            raise work.outcome
        return work.outcome

    def _do(self, works: list[Sum]) -> None:
        numbers = [work.number for work in works]
        self.before(numbers)
        self.groups.append(numbers)
        for work in works:
            work.outcome = work.number + 1

    def _meaning(self, error: Exception) -> LastwordError:
        return StoreUnavailable(str(error))


class Impatient(Adding):
    """Says when patience is at its end."""

    def __init__(self, patience: float) -> None:
        super().__init__(patience)
        self.impatient = threading.Event()

    def _wait_on(self, turn: Turn[Sum], work: Sum, gate: threading.Lock) -> None:
        self.impatient.set()
        super()._wait_on(turn, work, gate)


def held(adding: Adding, number: int) -> list[threading.Thread]:
    """So many threads that queue behind this one, which has the turn; the numbers count from 0."""
    assert adding.turn.acquire()
    threads: list[threading.Thread] = []
    for one in range(number):
        threads.append(threading.Thread(target=adding.add, args=(one,), daemon=True))
        threads[-1].start()
        wait_until(lambda expected=one + 1: adding.turn.waiting == expected)
    return threads


def interrupt(thread: threading.Thread) -> None:
    """What a signal does to the main thread, for any thread."""
    assert thread.ident is not None
    number = ctypes.c_ulong(thread.ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(KeyboardInterrupt))


def test_who_is_alone_does_it_at_once():
    """One after the other, each for itself."""
    adding = Adding()
    assert [2, 3] == [adding.add(1), adding.add(2)]
    assert [[1], [2]] == adding.groups


def test_who_waits_is_taken_along_in_order():
    """By the first of those who wait, when the turn is free."""
    adding = Adding()
    threads = held(adding, 4)
    adding.turn.release()
    for thread in threads:
        thread.join(LONG)
    assert [[0, 1, 2, 3]] == adding.groups


def test_a_crowd_is_served_in_parts():
    """So that nobody waits for all of it."""
    adding = Adding()
    threads = held(adding, 70)
    adding.turn.release()
    for thread in threads:
        thread.join(LONG)
    assert [64, 6] == [len(group) for group in adding.groups]


def test_who_was_served_in_a_crowd_waits_for_it():
    """After three nobody goes alone, until fewer were served; two take turns."""
    turn: Turn[Sum] = Turn()
    for together, may_go_alone in ((2, True), (3, False), (2, True), (4, False), (1, True)):
        assert turn.acquire()
        for number in range(together):
            turn.enqueue(Sum(number))
        assert together == len(turn.gather())
        turn.release()
        assert may_go_alone == turn.take_alone()
        if may_go_alone:
            turn.release()


def test_work_is_taken_back_until_somebody_has_it():
    """And who asks is told which it was."""
    turn: Turn[Sum] = Turn()
    first, second = Sum(1), Sum(2)
    turn.enqueue(first)
    turn.enqueue(second)
    assert turn.withdraw(first)
    assert [second] == turn.take()
    assert not turn.withdraw(second)


def test_who_lets_go_wakes_the_first_who_waits():
    """He takes the next turn, rather than find out at his next glance that it is free."""
    turn: Turn[Sum] = Turn()
    woken: list[int] = []
    with turn:
        for number in range(2):
            work = Sum(number)
            work.wake = partial(woken.append, number)
            turn.enqueue(work)
        assert [] == woken
    assert [0] == woken


def test_who_leads_lets_the_others_run(monkeypatch: pytest.MonkeyPatch):
    """As long as somebody comes of it."""
    turn: Turn[Sum] = Turn()
    arriving = [Sum(number) for number in range(3, 7)]

    def others(seconds: float) -> None:
        assert 0 == seconds
        if arriving:
            turn.enqueue(arriving.pop(0))

    monkeypatch.setattr(sharing, "sleep", others)
    for number in range(3):
        turn.enqueue(Sum(number))
    assert [0, 1, 2] == [work.number for work in turn.gather()]
    turn.enqueue(Sum(2))
    assert [2, 3, 4] == [work.number for work in turn.gather(most=3)]
    turn.enqueue(Sum(9))
    assert [9, 5, 6] == [work.number for work in turn.gather()]


def test_each_raises_an_error_of_its_own():
    """With the same meaning and the same cause."""
    adding = Adding()
    fault = ValueError("no")

    def fail(_: list[int]) -> None:
        raise fault

    adding.before = fail
    assert adding.turn.acquire()
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(adding.add, number) for number in range(3)]
        wait_until(lambda: adding.turn.waiting == 3)
        adding.turn.release()
        errors = [future.exception(LONG) for future in futures]
    assert 3 == len({id(error) for error in errors})
    others = [error for error in errors if error is not fault]
    assert {StoreUnavailable} == {type(error) for error in others}
    assert all(error is not None and error.__cause__ is fault for error in others)


def test_who_waits_too_long_works_beside_the_other():
    """And takes along whatever has queued meanwhile."""
    adding = Adding()
    threads = held(adding, 2)
    hasty = Adding(patience=0.01)
    hasty._turn = adding.turn
    assert 8 == hasty.add(7)
    for thread in threads:
        thread.join(LONG)
    assert [[0, 1, 7]] == hasty.groups
    adding.turn.release()
    assert 3 == adding.add(2)


def test_an_interrupt_of_the_one_who_works_is_told_to_the_others():
    """They may try again at once, and the turn is free."""
    adding = Adding()
    working, go_on = threading.Event(), threading.Event()

    def stop(_: list[int]) -> None:
        working.set()
        while not go_on.wait(0.01):
            pass

    adding.before = stop
    interrupted: list[BaseException] = []

    def lead() -> None:
        try:
            adding.add(0)
        except BaseException as error:  # noqa: BLE001  # that is the point
            interrupted.append(error)

    leader = threading.Thread(target=lead)
    assert adding.turn.acquire()
    leader.start()
    wait_until(lambda: adding.turn.waiting == 1)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(adding.add, number) for number in (1, 2)]
        wait_until(lambda: adding.turn.waiting == 3)
        adding.turn.release()  # wakes the first one
        assert working.wait(LONG)
        interrupt(leader)
        leader.join(LONG)
        errors = [future.exception(LONG) for future in futures]
    assert [KeyboardInterrupt] == [type(error) for error in interrupted]
    assert [StoreUnavailable] * 2 == [type(error) for error in errors]
    assert all("interrupted (KeyboardInterrupt); try again" in str(error) for error in errors)
    adding.before = len
    assert 4 == adding.add(3)


def test_who_waits_for_a_thread_that_has_ended_is_told(monkeypatch: pytest.MonkeyPatch):
    """Taken along by one that never came back."""
    monkeypatch.setattr(sharing, "_ABANDONED_SECONDS", 0.05)
    adding = Adding(patience=0.05)
    with ThreadPoolExecutor(1) as pool:
        assert adding.turn.acquire()
        future = pool.submit(adding.add, 1)
        wait_until(lambda: adding.turn.waiting == 1)
        assert 1 == len(adding.turn.take())
        with pytest.raises(StoreUnavailable, match="has ended; try again") as caught:
            future.result(LONG)
    assert caught.value.transient
    adding.turn.release()
    assert 3 == adding.add(2)


def test_who_has_lost_patience_still_waits_for_what_was_taken_along():
    """The one at work is slow, not gone: what came of it is the answer."""
    adding = Impatient(patience=0.05)
    with ThreadPoolExecutor(1) as pool:
        assert adding.turn.acquire()
        future = pool.submit(adding.add, 1)
        wait_until(lambda: adding.turn.waiting == 1)
        (work,) = adding.turn.take()
        assert adding.impatient.wait(LONG)
        assert not wait([future], timeout=0.1).done
        work.outcome, work.done = 2, True
        sharing.wake(work)
        assert 2 == future.result(LONG)


def test_an_interrupted_wait_withdraws_the_work():
    """Nothing is done for a thread that did not wait for it."""
    adding = Adding()
    ended = threading.Event()

    def wait() -> None:
        try:
            adding.add(1)
        except KeyboardInterrupt:
            ended.set()

    assert adding.turn.acquire()
    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: adding.turn.waiting == 1)
    interrupt(thread)
    assert ended.wait(LONG)
    assert 0 == adding.turn.waiting
    adding.turn.release()
    thread.join(LONG)
    assert [] == adding.groups
