"""What a process remembers of runs, and the lock of each."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from contracts.kit import LONG
from faults.kit import wait_until
from lastword.domain.events import RunCompleted, RunCreated, RunEvent, RunStarted
from lastword.domain.run import fold
from lastword.infrastructure.tracking import run_cache
from lastword.infrastructure.tracking.run_cache import Entry, RunCache
from lastword.projections.ports import NewEvent
from lastword.testing import OWNER, START

PENDING = (RunCreated(name="import"),)
RUNNING = (*PENDING, RunStarted(owner=OWNER))
COMPLETED = (*RUNNING, RunCompleted())


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> RunCache:
    """One that remembers three runs of each kind."""
    monkeypatch.setattr(run_cache, "_IDLE_RUNS", 3)
    monkeypatch.setattr(run_cache, "_BUSY_RUNS", 3)
    return RunCache()


def put(cache: RunCache, key: str, events: tuple[RunEvent, ...], *kept_ids: str) -> Entry:
    """Let it remember a run with these events, of which those ids wait in the spool."""
    state = fold(key, events)
    entry = Entry(key, state, None, state, kept_ids=list(kept_ids))
    cache.put(key, entry)
    return entry


def known(cache: RunCache) -> str:
    """The keys of all runs that it remembers."""
    return "".join(key for key in "abcdefgh" if cache.get(key) is not None)


@pytest.mark.parametrize("events", [PENDING, RUNNING, COMPLETED], ids=len)
def test_the_run_that_was_not_touched_for_longest_is_forgotten(
    cache: RunCache, events: tuple[RunEvent, ...]
):
    """Beyond three of its kind."""
    for key in "abcad":
        put(cache, key, events)
    assert "acd" == known(cache)
    put(cache, "e", events)
    assert "ade" == known(cache)


def test_running_runs_are_not_forgotten_for_others(cache: RunCache):
    """They will be asked for again; those that have ended hardly."""
    put(cache, "a", RUNNING)
    for key in "bcdef":
        put(cache, key, COMPLETED)
    assert "adef" == known(cache)


def test_a_run_that_ends_makes_room_among_the_running(cache: RunCache):
    """It is remembered once, with those that have ended."""
    for key in "abc":
        put(cache, key, RUNNING)
    ended = put(cache, "a", COMPLETED)
    put(cache, "d", RUNNING)
    assert "abcd" == known(cache)
    assert ended is cache.get("a")
    for key in "efg":
        put(cache, key, COMPLETED)
    assert "bcdefg" == known(cache)


def test_what_waits_to_be_sent_is_never_forgotten(cache: RunCache):
    """Nobody else has it; also not of a run that has ended, whether it is in the spool or in memory alone."""
    spooled = put(cache, "a", COMPLETED, "an id")
    unsent = put(cache, "b", COMPLETED)
    unsent.unsent.append(NewEvent("an id", RunCompleted(), START))
    cache.put("b", unsent)
    for events in (RUNNING, COMPLETED):
        for key in "cdefgh":
            put(cache, key, events)
    for key in "ab":
        cache.forget(key)
    assert [("a", spooled), ("b", unsent)] == cache.waiting()
    assert "abfgh" == known(cache)


def test_one_that_waits_does_not_keep_all_others(cache: RunCache):
    """It may wait for ever, if the store refuses it: the running ones behind it are forgotten all the same."""
    put(cache, "a", RUNNING, "an id")
    for key in "bcdefgh":
        put(cache, key, RUNNING)
    assert "aefgh" == known(cache)


def test_a_run_is_forgotten_when_it_is_said(cache: RunCache):
    """Running or not; one that nobody knows is no fault."""
    put(cache, "a", RUNNING)
    put(cache, "b", COMPLETED)
    put(cache, "c", COMPLETED)
    for key in "abd":
        cache.forget(key)
    assert "c" == known(cache)


class Visitor:
    """A thread that takes its turn with a run, and stays until it is told to go."""

    def __init__(self, cache: RunCache, key: str) -> None:
        self.entered, self.told = threading.Event(), threading.Event()
        self._turn = cache.one_at_a_time(key)
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self._thread.start()

    def _visit(self) -> None:
        with self._turn:
            self.entered.set()
            self.told.wait(LONG)

    def leave(self) -> None:
        """Returns when it is gone."""
        self.told.set()
        self._thread.join(LONG)


@pytest.fixture
def visitors(cache: RunCache) -> Iterator[list[Visitor]]:
    """Two with run ``a``: one inside, and one who waits for it."""
    inside = Visitor(cache, "a")
    assert inside.entered.wait(LONG)
    waiting = Visitor(cache, "a")
    wait_until(lambda: cache._locks["a"][1] == 2)
    visitors = [inside, waiting]
    yield visitors
    for visitor in visitors:
        visitor.leave()


def test_one_thread_at_a_time_is_with_a_run(cache: RunCache, visitors: list[Visitor]):
    """Also after some have left while others waited; and a run with nobody has no lock that would have to be kept."""
    first, second = visitors
    first.leave()
    assert second.entered.wait(LONG)
    third = Visitor(cache, "a")
    visitors.append(third)
    wait_until(lambda: cache._locks["a"][1] == 2)
    assert not third.entered.is_set()
    second.leave()
    assert third.entered.wait(LONG)
    third.leave()
    assert {} == cache._locks


@pytest.mark.usefixtures("visitors")
def test_another_run_can_be_had_meanwhile(cache: RunCache):
    """Each has a lock of its own."""
    other = Visitor(cache, "b")
    assert other.entered.wait(LONG)
    other.leave()


def test_a_thread_may_take_its_turn_within_its_turn(cache: RunCache):
    """And others wait until it has left both."""
    with cache.one_at_a_time("a"):
        with cache.one_at_a_time("a"):
            pass
        assert ["a"] == list(cache._locks)
    assert {} == cache._locks


def unseen_fork() -> int:
    """As an extension module may do it: Python is not told."""
    return ctypes.PyDLL(None).fork()


@pytest.mark.parametrize("fork", [os.fork, unseen_fork])
@pytest.mark.parametrize(
    "ask", [RunCache.waiting, lambda cache: cache.one_at_a_time("a").__enter__()]
)
def test_a_forked_child_knows_nothing(
    cache: RunCache, fork: Callable[[], int], ask: Callable[[RunCache], object]
):
    """The parent sends what waits, and its threads hold the locks; none of them is in the child."""
    put(cache, "a", RUNNING, "an id")
    with cache.one_at_a_time("a"), cache._guard:
        pid = fork()
        if pid == 0:
            signal.alarm(int(LONG))  # ends a child that hangs
            ask(cache)
            os._exit(len(cache.waiting()) + len(known(cache)))
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert "a" == known(cache)
