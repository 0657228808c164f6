"""For tests of code around runs: histories, scenarios, replays.

The pytest fixtures ``given``, ``replay``, ``run_clock`` and ``run_tracker`` need no import; this is for what stands beside them, and
for other test runners.

>>> from lastword import RunCompleted, RunCreated, RunStarted
>>> from lastword.testing import OWNER, CompleteRun, given
>>> scenario = given(RunCreated(name="import"), RunStarted(owner=OWNER)).when(CompleteRun(result=1))
>>> _ = scenario.then(RunCompleted(result=1)).then_view(status="completed")
"""

from lastword.domain.commands import (
    CancelRun,
    CompleteRun,
    CreateRun,
    DeclareLost,
    FailRun,
    RecordProgress,
    RequestCancellation,
    StartRun,
)
from lastword.infrastructure.testing.clock import START, RunClock
from lastword.infrastructure.testing.histories import OTHER_OWNER, OWNER, STEP, recorded, view_of
from lastword.infrastructure.testing.replaying import Replayed, Replayer, replay, save_history
from lastword.infrastructure.testing.scenario import Given, Then, given

__all__ = [
    "OTHER_OWNER",
    "OWNER",
    "START",
    "STEP",
    "CancelRun",
    "CompleteRun",
    "CreateRun",
    "DeclareLost",
    "FailRun",
    "Given",
    "RecordProgress",
    "Replayed",
    "Replayer",
    "RequestCancellation",
    "RunClock",
    "StartRun",
    "Then",
    "given",
    "recorded",
    "replay",
    "save_history",
    "view_of",
]
