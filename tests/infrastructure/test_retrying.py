"""How stubborn an append is: attempts, waits and the budget, in a time that passes only while somebody waits or works."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from contracts.kit import Writer
from faults.kit import FaultyStore
from lastword.domain.errors import StoreUnavailable
from lastword.domain.events import RunCreated
from lastword.infrastructure.opening import open_store
from lastword.infrastructure.settings import Settings
from lastword.infrastructure.tracking import retrying
from lastword.infrastructure.tracking.retrying import RetryPolicy
from lastword.projections.ports import Append, Appended


class Time:
    """What the policy sees of time, and the waits that it asked for."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Without jitter."""
    time = Time()
    monkeypatch.setattr(retrying, "monotonic", lambda: time.now)
    monkeypatch.setattr(retrying, "sleep", time.sleep)
    monkeypatch.setattr(random, "uniform", lambda least, _: least)
    return time


def refusing(*faults: StoreUnavailable, then: str = "done") -> Callable[[], str]:
    """An action that fails in these ways, one after the other."""
    left = list(faults)

    def action() -> str:
        if left:
            raise left.pop(0)
        return then

    return action


def faults(number: int) -> list[StoreUnavailable]:
    """So many that may pass."""
    return [StoreUnavailable(f"busy, {one}") for one in range(1, number + 1)]


def test_each_wait_is_twice_the_one_before(time: Time):
    """From the base delay on, until it works."""
    policy = RetryPolicy(attempts=9, base_delay=0.5, budget=100.0)
    assert "done" == policy.call(refusing(*faults(5)))
    assert [0.5, 1.0, 2.0, 4.0, 8.0] == time.waits


def test_jitter_adds_up_to_the_base_delay(time: Time, monkeypatch: pytest.MonkeyPatch):
    """To each wait, so that those who failed together come again one by one."""
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    policy = RetryPolicy(attempts=9, base_delay=0.5, budget=100.0)
    policy.call(refusing(*faults(3)))
    assert [1.0, 1.5, 2.5] == time.waits


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_there_are_no_more_attempts_than_were_asked_for(time: Time, attempts: int):
    """The last fault is the one that is raised."""
    for policy, override in ((RetryPolicy(attempts), None), (RetryPolicy(9), attempts)):
        time.waits.clear()
        with pytest.raises(StoreUnavailable, match=f"busy, {attempts}$"):
            policy.call(refusing(*faults(attempts)), override)
        assert attempts - 1 == len(time.waits)


def test_no_attempt_begins_after_the_budget(time: Time):
    """One that begins at its very end does: 1 + 2 + 4 seconds; another eight would be too many."""
    policy = RetryPolicy(attempts=100, base_delay=1.0, budget=7.0)
    with pytest.raises(StoreUnavailable, match=r"busy, 4$"):
        policy.call(refusing(*faults(4)))
    assert [1.0, 2.0, 4.0] == time.waits


def test_the_attempts_take_from_the_budget_too(time: Time):
    """Three of three seconds each, with waits of one and two between them, and eleven seconds are over."""
    policy = RetryPolicy(attempts=100, base_delay=1.0, budget=11.0)

    def slow() -> str:
        time.now += 3
        raise StoreUnavailable("slow")

    with pytest.raises(StoreUnavailable):
        policy.call(slow)
    assert [1.0, 2.0] == time.waits
    assert 112 == time.now


def test_a_fault_that_turns_out_to_last_is_not_waited_for(time: Time):
    """Busy at first, then found read-only."""
    lasting = StoreUnavailable("read-only", transient=False)
    with pytest.raises(StoreUnavailable, match="read-only"):
        RetryPolicy().call(refusing(*faults(1), lasting))
    assert 1 == len(time.waits)


def test_a_policy_is_as_stubborn_as_the_settings_by_default():
    """Five attempts in five seconds."""
    settings = Settings()
    assert RetryPolicy() == RetryPolicy(
        settings.retry_attempts, settings.retry_base_delay, settings.retry_budget
    )
    assert RetryPolicy(5, 0.05, 5.0) == RetryPolicy()


class BrokenConnection(FaultyStore):
    """A store that can only be reached on a fresh connection."""

    def __init__(self) -> None:
        super().__init__(open_store("sqlite:///:memory:"))
        self.tries: list[bool] = []
        """Whether each was on a fresh one."""

    def append(self, request: Append, *, fresh: bool = False) -> Appended | None:
        """See `RunStore`."""
        self.tries.append(fresh)
        if not fresh:
            raise StoreUnavailable(f"connection lost, {len(self.tries)}")
        return self.real.append(request, fresh=True)


@pytest.fixture
def broken() -> Iterator[BrokenConnection]:
    store = BrokenConnection()
    yield store
    store.close()


@pytest.mark.usefixtures("time")
def test_after_all_attempts_comes_one_on_a_fresh_connection(broken: BrokenConnection):
    """What the usual one could not do, it can."""
    request = Writer(broken.real).request(17, RunCreated(name="import"))
    appended = RetryPolicy(attempts=3).append(broken, request)
    assert [False, False, False, True] == broken.tries
    assert appended is not None
    assert appended.view == broken.view(17)


def test_the_log_tells_of_each_wait_and_of_the_fresh_connection(
    broken: BrokenConnection, time: Time
):
    """With the fault that it was for."""
    request = Writer(broken.real).request(17, RunCreated(name="import"))
    with capture_logs() as logs:
        RetryPolicy(attempts=3).append(broken, request)
    waits = [
        {
            "event": "lastword.retry.scheduled",
            "log_level": "debug",
            "attempt": attempt,
            "wait": time.waits[attempt - 1],
            "error": f"connection lost, {attempt}",
        }
        for attempt in (1, 2)
    ]
    fallback = {
        "event": "lastword.append.fallback",
        "log_level": "warning",
        "run_id": 17,
        "error": "connection lost, 3",
    }
    assert [*waits, fallback] == [
        {name: value for name, value in line.items() if name != "logger"} for line in logs
    ]
