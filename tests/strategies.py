"""Hypothesis strategies: JSON, events, commands, and whole lives of runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from lastword.domain.commands import (
    CancelRun,
    Command,
    CompleteRun,
    CreateRun,
    DeclareLost,
    EraseRun,
    FailRun,
    RecordProgress,
    RequestCancellation,
    StartRun,
)
from lastword.domain.events import (
    CancellationRequested,
    Evidence,
    OutcomeContradicted,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunErased,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunsArchived,
    RunStarted,
)
from lastword.domain.leaves import Leaves
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo, Owner
from lastword.testing import OTHER_OWNER, OWNER

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
"""What UTF-8 can hold."""
names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)
"""What can be the name of a run."""
moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
payloads = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
"""Any JSON."""
objects = st.dictionaries(texts, payloads, max_size=3)
run_ids = st.integers() | names
maybe_text = st.none() | texts
maybe_name = st.none() | names

owners = st.builds(
    Owner,
    host=names,
    pid=st.integers(1, 2**31),
    started_at=moments,
    boot_id=maybe_text,
    namespace=maybe_text,
)
errors = st.builds(ErrorInfo, type=names, message=texts, traceback=maybe_text)
flags = st.sampled_from(FlagReason)

leaves = st.dictionaries(st.integers(1, 99), st.binary(min_size=32, max_size=32)).map(
    lambda found: Leaves.of(sorted(found.items()))
)

event_strategies: dict[type[RunEvent], st.SearchStrategy[Any]] = {
    RunCreated: st.builds(
        RunCreated,
        name=names,
        params=objects,
        tags=st.dictionaries(texts, texts, max_size=3),
        actor=maybe_name,
        correlation_id=maybe_name,
        parent_id=st.none() | run_ids,
        attempt=st.integers(1, 9),
        retry_of=st.none() | run_ids,
        exclusive=maybe_name,
        deadline_at=st.none() | moments,
        lease_seconds=st.floats(0.001, 1e6),
    ),
    RunStarted: st.builds(RunStarted, owner=owners),
    RunProgressed: st.builds(
        RunProgressed,
        current=numbers,
        total=st.none() | numbers,
        step=maybe_text,
        message=maybe_text,
    ),
    CancellationRequested: st.builds(CancellationRequested, reason=maybe_text, actor=maybe_name),
    RunCompleted: st.builds(RunCompleted, result=payloads, note=maybe_text),
    RunFailed: st.builds(
        RunFailed,
        error=errors,
        exit_code=st.none() | st.integers(0, 255),
        signal=st.none() | st.just("SIGKILL"),
        note=maybe_text,
    ),
    RunCancelled: st.builds(RunCancelled, reason=maybe_text, actor=maybe_name),
    RunLost: st.builds(
        RunLost,
        flag=flags,
        evidence=st.builds(
            Evidence,
            detail=texts,
            since=st.none() | moments,
            last_seen_at=st.none() | moments,
            lease_seconds=st.none() | st.floats(0.001, 1e6),
            deadline_at=st.none() | moments,
            owner=st.none() | owners,
        ),
    ),
    OutcomeContradicted: st.builds(
        OutcomeContradicted, claimed=st.sampled_from(RunStatus), detail=maybe_text
    ),
    RunErased: st.builds(
        RunErased, reason=maybe_text, actor=maybe_name, store_id=maybe_name, leaves=leaves
    ),
}
"""One strategy for each class of events of a run."""

store_event_strategies: dict[type[RunEvent], st.SearchStrategy[Any]] = {
    RunsArchived: st.builds(
        RunsArchived,
        runs=st.integers(1, 9),
        file=names,
        fingerprint=st.text("0123456789abcdef", min_size=64, max_size=64),
        actor=maybe_name,
        leaves=leaves,
    ),
}
"""One strategy for each class of events of the store."""

events = st.one_of(list(event_strategies.values()))
"""Any event."""

_reasons = st.sampled_from([None, "user", "deploy"])

creations = st.builds(
    CreateRun,
    name=st.sampled_from(["import", "export"]),
    params=st.sampled_from([{}, {"folder": "in"}]),
    correlation_id=st.sampled_from([None, "req-1"]),
    deadline_at=st.none() | moments,
)
commands: st.SearchStrategy[Command] = st.one_of(
    creations,
    st.builds(StartRun, owner=st.sampled_from([OWNER, OTHER_OWNER])),
    st.builds(
        RecordProgress,
        current=st.integers(0, 10),
        total=st.none() | st.just(10),
        step=st.none() | st.just("extract"),
    ),
    st.builds(RequestCancellation, reason=_reasons),
    st.builds(CompleteRun, result=payloads, note=maybe_text),
    st.builds(FailRun, error=errors),
    st.builds(CancelRun, reason=_reasons),
    st.builds(DeclareLost, flag=flags),
    st.builds(EraseRun, reason=_reasons, leaves=leaves),
)
"""Any command, from a small world, so that repeats and collisions are common."""

lives = st.builds(
    lambda first, rest: [first, *rest], creations, st.lists(commands, min_size=1, max_size=12)
)
"""What may be asked of a run from its creation on; much of it is refused."""
