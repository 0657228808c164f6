"""Workers that die, freeze or never begin; what is flagged, what the verdict is, and what happens when the truth comes late."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from breaking.processes import Child, locked
from lastword import Owner, RunStatus, RunTracker, RunView
from lastword.infrastructure.liveness.owners import this_owner

LEASE = 1.0
"""Seconds; a tenth of it for the beat."""
SETTINGS: dict[str, Any] = {"lease": LEASE, "heartbeat": 0.1, "retry_budget": 0.5}


@dataclass(frozen=True)
class DeathReport:
    """One way to die."""

    way: str
    flag: str
    """The reason of the flag."""
    detail: str
    after: float
    """Seconds until a query said so, from the death, or from when it could be known."""
    verdict: str
    """Status and mark of the run after a sweep."""
    truth: str
    """Status after the work reported its outcome all the same; empty when it cannot."""
    feed: tuple[str, ...] = ()
    """What the completion feed says, in order."""


def killed(store: Path) -> DeathReport:
    """SIGKILL on the same host."""
    with (
        RunTracker(store, **SETTINGS) as looking,
        Child("worker", store, settings=SETTINGS) as child,
    ):
        child.hear("started")
        child.kill()
        return _reported("killed with SIGKILL", looking, monotonic(), lambda: None)


def suspended(store: Path) -> DeathReport:
    """SIGSTOP for longer than the lease, a verdict, and SIGCONT."""
    with (
        RunTracker(store, **SETTINGS) as looking,
        Child("worker", store, settings=SETTINGS) as child,
    ):
        child.hear("started")
        _first_beat(looking)
        child.signal(signal.SIGSTOP)

        def come_back() -> None:
            child.signal(signal.SIGCONT)
            assert child.ask("complete")["stored"]

        return _reported("suspended (SIGSTOP), then SIGCONT", looking, monotonic(), come_back)


def reused(store: Path) -> DeathReport:
    """The pid belongs to another process by now: the same number, another start."""
    owner = this_owner().model_copy(
        update={"start_ticks": 1, "started_at": this_owner().started_at - timedelta(days=1)}
    )
    return _owned("pid reused by another process", store, owner)


def rebooted(store: Path) -> DeathReport:
    """The host was booted since."""
    return _owned("host rebooted", store, this_owner().model_copy(update={"boot_id": "before"}))


def elsewhere(store: Path) -> DeathReport:
    """The host of the worker is gone, with the worker."""
    return _owned("died on another host", store, this_owner().model_copy(update={"host": "far"}))


def never_started(store: Path) -> DeathReport:
    """Created, and nobody ever began it."""
    with RunTracker(store, **SETTINGS, start_timeout=LEASE) as looking:
        looking.create("import", run_id=1)
        return _reported("never started", looking, monotonic(), lambda: None)


WAYS: tuple[Callable[[Path], DeathReport], ...] = (
    killed,
    suspended,
    reused,
    rebooted,
    elsewhere,
    never_started,
)


def _owned(way: str, store: Path, owner: Owner) -> DeathReport:
    with RunTracker(store, **SETTINGS) as looking, RunTracker(store, **SETTINGS) as worker:
        worker.create("import", run_id=1)
        worker.start(1, owner=owner)
        return _reported(way, looking, monotonic(), lambda: worker.complete(1))


def _first_beat(looking: RunTracker) -> None:
    ends = monotonic() + 30
    while monotonic() < ends:
        view = looking.get(1)
        if view.last_seen_at and view.started_at and view.last_seen_at > view.started_at:
            return
        Event().wait(0.01)
    raise AssertionError("expected a beat within 30 s, found none")


def _reported(
    way: str, looking: RunTracker, since: float, truth: Callable[[], object]
) -> DeathReport:
    ends = monotonic() + 30
    while not (flagged := looking.flagged()):
        assert monotonic() < ends, "expected a flag within 30 s, found none"
        Event().wait(0.005)
    after = monotonic() - since
    (view,) = flagged
    assert view.flag is not None
    (verdict,) = looking.sweep()
    truth()
    final = looking.get(1)
    return DeathReport(
        way=way,
        flag=view.flag.reason.value,
        detail=view.flag.detail,
        after=after,
        verdict=_words(verdict),
        truth="" if final.status is RunStatus.FAILED else _words(final),
        feed=tuple(_signal(dict(message)) for _, message in looking.completions()),
    )


def _words(view: RunView) -> str:
    return f"{view.status.value}{' (status_update_failed)' if view.status_update_failed else ''}"


def _signal(message: dict[str, object]) -> str:
    mark = " (status_update_failed)" if "status_update_failed" in message else ""
    return f"{message['db_status']}{mark}"


@dataclass(frozen=True)
class SweepReport:
    """Sweeps against workers that live."""

    sweeps: int
    wrong: int
    """Verdicts on a run whose worker was alive and beat."""
    beats: int
    slowest: float
    """Longest time between two beats, in seconds."""


def sweep_a_slow_worker(
    store: Path, sweeps: int, tick: Callable[[int], object] = int, pause: float = 0.0
) -> SweepReport:
    """Sweep as often while another process works and beats every tenth of its lease; it must never be declared lost."""
    wrong = beats = 0
    slowest = 0.0
    with (
        RunTracker(store, **SETTINGS) as looking,
        Child("worker", store, settings=SETTINGS) as child,
    ):
        child.hear("started")
        child.say("busy")
        child.hear("busy")
        seen = looking.get(1).last_seen_at
        for number in range(1, sweeps + 1):
            wrong += len(looking.sweep())
            view = looking.get(1)
            if seen and view.last_seen_at and view.last_seen_at != seen:
                beats += 1
                slowest = max(slowest, (view.last_seen_at - seen).total_seconds())
                seen = view.last_seen_at
            tick(number)
            if pause:
                Event().wait(pause)
        assert child.ask("complete")["stored"]
        assert looking.get(1).status is RunStatus.COMPLETED
    return SweepReport(sweeps, wrong, beats, slowest)


@dataclass(frozen=True)
class BeatReport:
    """A worker that beats, and a store that is locked for several leases."""

    resumed: float
    """Seconds from the recovery to the first beat that got through."""
    flagged: int
    verdicts: int
    status: str
    """Of the run in the end."""


def beat_through_an_outage(store: Path) -> BeatReport:
    """Lock the store for three leases; then somebody sweeps, as soon as the worker has beaten again."""
    with Child("worker", store, settings=SETTINGS) as worker:
        worker.hear("started")
        with Child("sweeper", store, settings=SETTINGS) as sweeper:
            sweeper.hear("ready")
            assert sweeper.ask("sweep") == []
            with locked(store):
                assert worker.ask("outage") == "locked"
            began = monotonic()
            flagged = worker.ask("recovered")
            resumed = monotonic() - began
            verdicts = sweeper.ask("sweep")
        assert worker.ask("complete")["stored"]
    with RunTracker(store, **SETTINGS) as tracker:
        return BeatReport(resumed, len(flagged), len(verdicts), tracker.get(1).status.value)


def two_sweepers(store: Path, runs: int) -> tuple[int, int, int]:
    """Two processes sweep the same dead runs at once: verdicts of the first, of the second, and `RunLost` events in the store."""
    gone = this_owner().model_copy(update={"boot_id": "before"})
    with RunTracker(store, **SETTINGS) as tracker:
        for number in range(runs):
            tracker.create("import", run_id=number)
            tracker.start(number, owner=gone)
        with (
            Child("sweeper", store, settings=SETTINGS) as one,
            Child("sweeper", store, settings=SETTINGS) as two,
        ):
            one.hear("ready")
            two.hear("ready")
            one.say("sweep")
            two.say("sweep")
            first, second = one.answer(), two.answer()
        assert set(first).isdisjoint(second)
        verdicts = sum(
            recorded.type == "RunLost"
            for number in range(runs)
            for recorded in tracker.history(number)
        )
        return len(first), len(second), verdicts
