"""Suspicion, to the microsecond."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pydantic import ValidationError

from lastword.domain.events import (
    Evidence,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.projections.flags import Flag, Liveness, evidence_of, flag_of
from lastword.projections.run_view import RunView
from lastword.testing import OTHER_OWNER, OWNER, START, STEP, view_of

TICK = timedelta(microseconds=1)
LEASE = timedelta(seconds=60)
DEADLINE = START + timedelta(hours=1)
FAR = START + timedelta(days=365)
GONE = Liveness(owner_alive=False)


def pending(**facts: object) -> RunView:
    return view_of(RunCreated.model_validate({"name": "import", **facts}))


def running(**facts: object) -> RunView:
    """A run that started one step after `START` and never beat."""
    created = RunCreated.model_validate({"name": "import", **facts})
    return view_of(created, RunStarted(owner=OWNER))


def beaten(view: RunView, at: datetime) -> RunView:
    """The view with the owner's lease renewed at that moment."""
    return view.model_copy(update={"last_seen_at": at})


def reason(flag: Flag | None) -> str | None:
    return None if flag is None else flag.reason.value


def test_a_fresh_run_is_fine():
    """Nothing to suspect, whether it has begun or not."""
    assert flag_of(pending(), START) is None
    assert flag_of(running(), START + STEP) is None


def test_silence_of_exactly_the_lease_is_fine():
    """The lease includes its last microsecond."""
    view = beaten(running(), START + timedelta(minutes=5))
    assert flag_of(view, START + timedelta(minutes=5) + LEASE) is None


def test_a_microsecond_longer_is_silent():
    """The flag holds from the end of the lease and says how long it has been quiet."""
    seen = START + timedelta(minutes=5)
    assert flag_of(beaten(running(), seen), seen + LEASE + TICK) == Flag(
        reason=FlagReason.SILENT,
        since=seen + LEASE,
        detail="pid 100 on host-1 was last heard of 60 s ago; its lease is 60 s",
    )


def test_a_run_that_never_beat_counts_from_its_start():
    """No first beat is no excuse: it is silent a lease after the start."""
    view = running().model_copy(update={"last_seen_at": None})
    assert view.started_at == START + STEP
    assert flag_of(view, START + STEP + LEASE) is None
    assert "silent" == reason(flag_of(view, START + STEP + LEASE + TICK))


def test_a_running_run_without_any_times_counts_from_its_creation():
    """An old history may know neither start nor owner; it is still not immune."""
    nothing = {"last_seen_at": None, "started_at": None, "owner": None}
    view = running().model_copy(update=nothing)
    assert flag_of(view, START + LEASE) is None
    assert flag_of(view, START + timedelta(hours=1)) == Flag(
        reason=FlagReason.SILENT,
        since=START + LEASE,
        detail="its owner was last heard of 3,600 s ago; its lease is 60 s",
    )


def test_each_run_has_its_own_lease():
    """Fractions of seconds count."""
    view = running(lease_seconds=0.5)
    due = START + STEP + timedelta(seconds=0.5)
    assert flag_of(view, due) is None
    assert "silent" == reason(flag_of(view, due + TICK))


@pytest.mark.parametrize("lease", [timedelta.max.total_seconds(), 1e300, float("inf")])
def test_a_lease_of_for_ever_is_never_over(lease: float):
    """Longer than a timedelta can hold is fine."""
    assert flag_of(running(lease_seconds=lease), FAR) is None


def test_a_lease_that_is_no_number_does_not_break_the_question():
    """An imported history may hold anything; the run then has the longest lease there is."""
    assert flag_of(running(lease_seconds=float("nan")), FAR) is None


def test_a_clock_behind_the_last_beat_is_no_reason():
    """Clocks differ between hosts; time before the last sign of life is not silence."""
    assert flag_of(beaten(running(), FAR), START) is None


OUTAGE = (START + timedelta(minutes=2), START + timedelta(minutes=12))


def test_time_in_which_the_store_was_away_is_not_silence():
    """Nobody could have beaten; the rest of the lease runs on afterwards."""
    seen = START + timedelta(minutes=2) - timedelta(seconds=20)
    away = Liveness(outages=(OUTAGE,))
    due = OUTAGE[1] + timedelta(seconds=40)
    assert "silent" == reason(flag_of(beaten(running(), seen), due))
    assert flag_of(beaten(running(), seen), due, away) is None
    assert flag_of(beaten(running(), seen), due + TICK, away) == Flag(
        reason=FlagReason.SILENT,
        since=due,
        detail="pid 100 on host-1 was last heard of 660 s ago (the store was away for 600 s of it);"
        " its lease is 60 s",
    )


def test_an_outage_that_goes_on_counts_up_to_now():
    """Its end is not known yet; what lies ahead excuses nothing."""
    seen = OUTAGE[0] - LEASE
    ahead = Liveness(outages=((OUTAGE[0], FAR),))
    assert flag_of(beaten(running(), seen), FAR - STEP, ahead) is None
    assert "silent" == reason(flag_of(beaten(running(), seen - TICK), OUTAGE[1], ahead))


def test_an_outage_before_the_last_sign_of_life_excuses_nothing():
    """Only silence can be excused; an outage that the owner outlived counts from its last sign."""
    away = Liveness(outages=(OUTAGE,))
    seen = OUTAGE[1] + timedelta(minutes=1)
    assert flag_of(beaten(running(), seen), seen + LEASE, away) is None
    flag = flag_of(beaten(running(), seen), seen + LEASE + TICK, away)
    assert flag == flag_of(beaten(running(), seen), seen + LEASE + TICK)
    assert ("silent", seen + LEASE) == (reason(flag), flag and flag.since)
    seen = OUTAGE[1] - timedelta(minutes=1)
    due = OUTAGE[1] + LEASE
    assert flag_of(beaten(running(), seen), due, away) is None
    assert "silent" == reason(flag_of(beaten(running(), seen), due + TICK, away))


def test_several_outages_add_up():
    """Each of them excuses its own time."""
    second = (START + timedelta(minutes=20), START + timedelta(minutes=25))
    away = Liveness(outages=(OUTAGE, second))
    view = beaten(running(lease_seconds=600), START + timedelta(minutes=2))
    due = START + timedelta(minutes=2 + 10 + 5 + 10)
    assert flag_of(view, due, away) is None
    assert "silent" == reason(flag_of(view, due + TICK, away))


def test_an_outage_does_not_move_a_deadline_nor_bring_back_an_owner():
    """Only silence is excused."""
    away = Liveness(owner_alive=None, outages=((START, FAR),))
    assert "overdue" == reason(flag_of(running(deadline_at=DEADLINE), DEADLINE + TICK, away))
    gone = Liveness(owner_alive=False, outages=((START, FAR),))
    assert "owner_gone" == reason(flag_of(running(), START + STEP, gone))


def test_a_pending_run_has_no_lease():
    """Nobody owns it, so nobody can be silent."""
    assert flag_of(pending(), FAR) is None


def test_at_the_deadline_a_run_is_fine():
    """Pending or running; one microsecond later it is not."""
    for view in (pending(deadline_at=DEADLINE), beaten(running(deadline_at=DEADLINE), DEADLINE)):
        assert flag_of(view, DEADLINE) is None
        assert "overdue" == reason(flag_of(view, DEADLINE + TICK))


def test_overdue_says_since_when():
    """From the deadline on."""
    assert flag_of(pending(deadline_at=DEADLINE), DEADLINE + timedelta(hours=2)) == Flag(
        reason=FlagReason.OVERDUE, since=DEADLINE, detail="its deadline passed 7,200 s ago"
    )


def test_never_started_is_off_unless_asked_for():
    """A queue may be long."""
    assert flag_of(pending(), FAR) is None
    assert flag_of(pending(), FAR, Liveness(start_timeout=None)) is None


def test_never_started_holds_after_the_timeout():
    """Exactly at the timeout it is fine."""
    liveness = Liveness(start_timeout=timedelta(minutes=10))
    due = START + timedelta(minutes=10)
    assert flag_of(pending(), due, liveness) is None
    assert flag_of(pending(), due + TICK, liveness) == Flag(
        reason=FlagReason.NEVER_STARTED,
        since=due,
        detail="created 600 s ago and never started; the start timeout is 600 s",
    )


def test_a_run_that_started_is_past_the_start_timeout():
    """It did start."""
    view = beaten(running(), FAR)
    assert flag_of(view, FAR, Liveness(start_timeout=timedelta(seconds=1))) is None


def test_an_owner_that_is_gone_is_known_at_once():
    """No lease has to run out; the flag holds from the last sign of life."""
    view = beaten(running(), START + timedelta(seconds=30))
    assert flag_of(view, START + timedelta(seconds=31), GONE) == Flag(
        reason=FlagReason.OWNER_GONE,
        since=START + timedelta(seconds=30),
        detail="its process, pid 100 on host-1, does not exist any more",
    )


@pytest.mark.parametrize("alive", [True, None])
def test_an_owner_that_lives_or_cannot_be_seen_from_here_is_not_gone(alive: bool | None):
    """No knowledge is no evidence; but an owner that lives can be silent: it may be frozen."""
    liveness = Liveness(owner_alive=alive)
    assert flag_of(running(), START + STEP, liveness) is None
    assert "silent" == reason(flag_of(running(), FAR, liveness))


def test_without_an_owner_nobody_can_be_gone():
    """A view without an owner is not blamed on one."""
    assert flag_of(running().model_copy(update={"owner": None}), START + STEP, GONE) is None
    assert flag_of(pending(), START, GONE) is None


def test_the_gravest_reason_comes_first():
    """Gone before silent before overdue; overdue before never started."""
    view = running(deadline_at=DEADLINE)
    assert "owner_gone" == reason(flag_of(view, FAR, GONE))
    assert "silent" == reason(flag_of(view, FAR))
    assert "overdue" == reason(flag_of(beaten(view, FAR), FAR))
    late = Liveness(start_timeout=timedelta(seconds=1))
    assert "overdue" == reason(flag_of(pending(deadline_at=DEADLINE), FAR, late))
    assert "never_started" == reason(flag_of(pending(deadline_at=DEADLINE), DEADLINE, late))


@pytest.mark.parametrize(
    "last_word",
    [
        RunCompleted(),
        RunFailed(error=ErrorInfo(type="E", message="m")),
        RunCancelled(),
        RunLost(flag=FlagReason.SILENT),
    ],
    ids=lambda event: event.TOPIC,
)
def test_a_run_with_a_last_word_is_never_suspected(last_word: RunEvent):
    """However long ago, whoever is gone."""
    liveness = Liveness(owner_alive=False, start_timeout=timedelta(seconds=1))
    created = RunCreated(name="import", deadline_at=DEADLINE)
    view = view_of(created, RunStarted(owner=OWNER), last_word)
    assert flag_of(view, FAR, liveness) is None


def test_a_flag_does_not_change():
    """It is the answer to a question at one moment."""
    flag = flag_of(running(), FAR)
    assert flag is not None
    with pytest.raises(ValidationError, match="frozen"):
        flag.detail = "other"  # pyright: ignore[reportAttributeAccessIssue]  # that is the point


def test_every_status_has_an_answer():
    """A new status would fall through the match."""
    view = running()
    for status in RunStatus:
        flag = flag_of(view.model_copy(update={"status": status}), FAR, GONE)
        expected = {RunStatus.RUNNING: "owner_gone"}.get(status)
        assert expected == reason(flag)


def test_evidence_holds_what_the_verdict_rests_on():
    """Enough to judge it later without the store of today."""
    seen = START + timedelta(minutes=1)
    view = beaten(running(deadline_at=DEADLINE, lease_seconds=30), seen)
    flag = flag_of(view, FAR)
    assert flag is not None
    assert evidence_of(view, flag) == Evidence(
        detail=flag.detail,
        since=seen + timedelta(seconds=30),
        last_seen_at=seen,
        lease_seconds=30,
        deadline_at=DEADLINE,
        owner=OWNER,
    )
    other = view.model_copy(update={"owner": OTHER_OWNER})
    assert OTHER_OWNER == evidence_of(other, flag).owner


def test_an_outage_excuses_only_a_lease_that_has_not_run_out() -> None:
    """Silent before the store went away stays silent; the flag began when the lease ran out."""
    view = view_of(RunCreated(name="import", lease_seconds=60), RunStarted(owner=OWNER))
    seen = view.last_seen_at
    assert seen is not None
    second = timedelta(seconds=1)
    before = (seen + 30 * second, seen + 80 * second)
    after = (seen + 200 * second, seen + 900 * second)
    flag = flag_of(view, seen + 1000 * second, Liveness(outages=(before, after)))
    assert flag is not None
    assert seen + 110 * second == flag.since
    assert flag_of(view, seen + 110 * second, Liveness(outages=(before, after))) is None
