"""When one more thread begins to write to PostgreSQL: at once, or with half of a crowd."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest

from lastword.infrastructure.postgres import turns
from lastword.infrastructure.postgres.turns import Load, SharedTurn
from lastword.infrastructure.storing.sharing import Work

MANY = 8
"""Threads that are a crowd."""


class Busy(Load):
    """A load that a test sets."""

    high = True

    def is_high(self) -> bool:
        """See the base class."""
        return self.high


@dataclass
class Threads:
    """Plays several threads that share a turn, one call after the other."""

    load: Busy = field(default_factory=Busy)
    turn: SharedTurn[Work] = field(init=False)
    now: int = 0
    working: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit(20)

    def limit(self, most: int) -> None:
        """Let so many have the turn."""
        self.turn = SharedTurn(most, self.load)

    def come(self, number: int = 1) -> list[int]:
        """So many come one after the other; the sizes of the groups that begin."""
        begun: list[int] = []
        for _ in range(number):
            self.turn.enqueue(Work())
            begun += self.look()
        return begun

    def look(self) -> list[int]:
        """Somebody who waits asks for the turn; the size of the group if one begins."""
        self.now += 1
        if not self.turn.acquire():
            return []
        self.working.append(self.now)
        return [len(self.turn.gather())]

    def end(self, groups: int = 1) -> None:
        """So many groups are done, the oldest first."""
        last = self.now
        for _ in range(groups):
            self.now = self.working.pop(0)
            self.turn.release()
        self.now = last


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    threads = Threads()
    monkeypatch.setattr(turns, "get_ident", lambda: threads.now)
    return threads


def test_few_begin_as_they_come(threads: Threads):
    """However busy the process is."""
    assert [1] * 6 == threads.come(6)


def test_many_begin_as_they_come_while_there_is_time_left(threads: Threads):
    """Nobody waits for company in a process that waits for its server."""
    threads.load.high = False
    assert [1] * MANY == threads.come(MANY)


def test_halves_of_a_busy_crowd_take_turns(threads: Threads):
    """The first ones alone, as nobody knows of the others yet; then four begin beside four."""
    assert [1] * 6 == threads.come(6)
    assert [] == threads.come(2)
    threads.end(6)
    assert [2] == threads.look()
    assert [4] == threads.come(4)
    assert [] == threads.come(2)
    threads.end()  # those two
    assert [] == threads.look()
    assert [4] == threads.come(2)
    threads.end()
    assert [] == threads.come(3)
    assert [4] == threads.come(1)


def test_of_seven_three_begin_beside_four(threads: Threads):
    """Half of an odd crowd is the smaller one."""
    assert [1] * 6 == threads.come(6)
    assert [] == threads.come(1)
    threads.end(2)
    assert [] == threads.come(1)
    assert [3] == threads.come(1)


def test_who_waits_for_half_a_crowd_begins_when_all_others_are_done(threads: Threads):
    """There may be no crowd any more."""
    threads.come(MANY)
    for _ in range(6):
        assert [] == threads.look()
        threads.end()
    assert [2] == threads.look()


def test_a_crowd_that_went_away_is_forgotten(threads: Threads):
    """After some thirty looks at fewer."""
    assert [1] * 6 == threads.come(6)
    threads.come(2)
    threads.end(6)
    assert [2] == threads.look()
    threads.turn.enqueue(Work())
    looks = next(number for number in range(100) if threads.look())
    assert 20 < looks < 40
    assert [1, 1] == threads.come(2)


def test_who_begins_takes_along_who_comes_in_the_same_moment(threads: Threads):
    """Nobody begins beside one who is about to look at what waits."""
    threads.turn.enqueue(Work())
    assert threads.turn.acquire()
    assert [] == threads.come(2)
    threads.now = 0  # as before
    assert 3 == len(threads.turn.gather())


def test_no_more_begin_than_there_are_connections(threads: Threads):
    """Whoever comes later is taken along, instead of waiting for a connection of his own."""
    threads.limit(2)
    assert [1, 1] == threads.come(5)
    threads.end()
    assert [3] == threads.look()


def test_a_group_of_a_very_large_crowd_is_no_larger_than_any(threads: Threads):
    """Sixty-four begin, though half of the crowd would be more."""
    threads.come(1)
    for _ in range(200):
        threads.turn.enqueue(Work())
    assert [64, 64, 64] == [*threads.look(), *threads.look(), *threads.look()]
    assert [] == threads.look()


def test_nobody_begins_for_nothing(threads: Threads):
    """Whoever was taken along meanwhile has nothing to begin with."""
    assert [1] == threads.come()
    assert [] == threads.look()


def test_alone_is_who_finds_nobody(threads: Threads):
    """Neither at work nor waiting."""
    assert threads.turn.take_alone()
    assert not threads.turn.take_alone()
    threads.turn.release()
    threads.turn.enqueue(Work())
    assert not threads.turn.take_alone()


def test_who_is_alone_counts_for_one(threads: Threads):
    """Five more are few; then there are six at work, and another one waits for company."""
    assert threads.turn.take_alone()
    assert [1] * 5 == threads.come(5)
    assert [] == threads.come()


def test_who_lets_go_wakes_the_first_who_waits(threads: Threads):
    """He looks at once whether it is time now, rather than at his next glance."""
    woken: list[str] = []
    assert threads.turn.take_alone()
    for name in ("first", "second"):
        work = Work()
        work.wake = partial(woken.append, name)
        threads.turn.enqueue(work)
    threads.turn.release()
    assert ["first"] == woken


def test_a_turn_knows_the_load_of_its_process(threads: Threads):
    """If it is told of no other."""
    threads.turn = SharedTurn(20)
    assert [1] * 6 == threads.come(6)
    threads.come(1)
    assert 1 == threads.turn.waiting + len(threads.working) - 6


class Clocks:
    """Time, and CPU time, as a test lets them pass."""

    def __init__(self) -> None:
        self.now = self.had = 100.0
        self.load = Load(lambda: self.now, lambda: self.had)

    def after(self, seconds: float, busy: float) -> bool:
        """Whether the load is high after so long, of which this share was computed."""
        self.now += seconds
        self.had += seconds * busy
        return self.load.is_high()


def test_a_load_is_high_from_four_fifths_on_and_until_it_falls_below_three():
    """So that it does not come and go with what is done about it."""
    clocks = Clocks()
    shares = (0.5, 0.79, 0.81, 0.7, 0.61, 0.59, 0.7, 1.9, 0.0)
    found = [clocks.after(0.021, share) for share in shares]
    assert [False, False, True, True, True, False, False, True, False] == found


def test_a_load_is_measured_over_a_while():
    """A millisecond says nothing, twenty do."""
    clocks = Clocks()
    assert [False] * 19 + [True] == [clocks.after(0.00101, 1.0) for _ in range(20)]


def test_what_happened_while_nobody_asked_is_left_out():
    """The process did something else, or nothing; the load is taken to be what it was."""
    clocks = Clocks()
    assert clocks.after(0.021, 1.0)
    assert clocks.after(3600, 0.0)
    assert not clocks.after(0.021, 0.3)
    assert not clocks.after(3600, 1.0)
    assert not clocks.after(0.11, 1.0)
    assert clocks.after(0.09, 1.0)


def test_the_load_of_this_process_is_told():
    """A thread that computes is seen, by the clocks of the machine."""
    load = Load()
    while not load.is_high():
        sum(range(100))
