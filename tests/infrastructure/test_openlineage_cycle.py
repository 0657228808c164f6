"""The status of an imported run is the one that OpenLineage's run cycle gives it, in whatever order its events come."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from docs.pages import ROOT
from lastword import RunTracker
from lastword.domain.commands import Command
from lastword.domain.errors import LastwordError
from lastword.domain.events import RecordedEvent, RunEvent
from lastword.domain.run import decide, evolve, fold
from lastword.domain.status import RunStatus
from lastword.infrastructure.exchange.openlineage import openlineage_lines
from lastword.infrastructure.exchange.openlineage_gathering import gather
from lastword.infrastructure.exchange.openlineage_histories import history_of
from lastword.infrastructure.exchange.openlineage_import import import_openlineage
from lastword.infrastructure.exchange.openlineage_reading import KINDS, read_openlineage
from lastword.testing import recorded
from lineage import RUN_ID, event, in_order, lines_of
from strategies import commands, creations

PAGE = ROOT / "docs" / "how-to" / "openlineage.md"


def status_of(lines: list[bytes]) -> RunStatus:
    """What an empty store would hold after the import of one run."""
    runs, _, _ = gather(read_openlineage(lines, "events"))
    (run,) = runs.values()
    return fold(run.run_id, (item.event for item in history_of(run))).status


def run_cycle() -> Iterator[Any]:
    """The rows of the page's table: events by their time, and the status."""
    section = (
        PAGE.read_text(encoding="utf-8").partition("## The run cycle")[2].partition("\n## ")[0]
    )
    for number, row in enumerate(
        re.findall(r"^\| ([A-Z, ]+) \| `(\w+)` \|", section, re.MULTILINE)
    ):
        yield pytest.param(row[0], row[1], id=f"{number}-{row[0].replace(', ', '-')}")


def test_the_table_on_the_page_covers_the_run_cycle() -> None:
    """Each type stands in it, each status comes out, and there are no fewer rows than were written."""
    rows = [row.values for row in run_cycle()]
    assert len(rows) >= 34
    assert set(KINDS) == {kind for kinds, _ in rows for kind in str(kinds).split(", ")}
    assert set(RunStatus) == {status for _, status in rows}


@pytest.mark.parametrize(("kinds", "status"), [*run_cycle()])
def test_the_run_cycle_of_the_specification(kinds: str, status: str) -> None:
    """The events have this order by their time; in the file they may stand in any order, and more than once."""
    lines = lines_of(in_order(kinds))
    for order in itertools.islice(itertools.permutations(lines), 120):
        assert status == status_of([*order])
        assert status == status_of([*order, *order[::-1]])


@settings(deadline=None, max_examples=60)
@for_all(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), min_size=1, max_size=7),
    st.randoms(use_true_random=False),
)
def test_neither_order_nor_repeats_change_what_comes_out(
    said: list[tuple[str, int]], chance: random.Random
) -> None:
    """The whole history is the same, not only the status; also where events have the same time."""
    lines = lines_of([event(kind, minute) for kind, minute in said])
    shuffled = [*lines, *chance.choices(lines, k=3)]
    chance.shuffle(shuffled)
    histories = []
    for order in (lines, shuffled):
        runs, _, _ = gather(read_openlineage(order, "events"))
        histories.append(history_of(runs[RUN_ID]))
    assert histories[0] == histories[1]


@settings(deadline=None, max_examples=30)
@for_all(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), min_size=1, max_size=6),
    st.integers(0, 6),
)
def test_an_ended_run_is_never_opened_again_by_a_later_import(
    said: list[tuple[str, int]], cut: int
) -> None:
    """In two files or in one: what has ended stays ended, and importing both again adds nothing."""
    lines = lines_of([event(kind, minute) for kind, minute in said])
    with RunTracker("sqlite:///:memory:") as tracker:
        ended = False
        for part in filter(None, (lines[:cut], lines[cut:], lines)):
            import_openlineage(tracker.store, part, "events")
            assert not ended or tracker.get(RUN_ID).status.is_terminal
            ended = tracker.get(RUN_ID).status.is_terminal
        assert 0 == import_openlineage(tracker.store, lines, "events").added
        assert tracker.verify().ok


def lives() -> st.SearchStrategy[list[RecordedEvent]]:
    """Histories that today's rules allow."""

    def lived(first: Command, rest: list[Command]) -> list[RecordedEvent]:
        events: list[RunEvent] = []
        state = fold(17, [])
        for command in (first, *rest):
            try:
                decided = decide(command, state)
            except LastwordError:
                continue
            for item in decided:
                events.append(item)
                state = evolve(state, item)
        return recorded(*events, run_id=17)

    return st.builds(lived, creations, st.lists(commands, max_size=8))


@settings(deadline=None, max_examples=60)
@for_all(lives(), st.randoms(use_true_random=False))
def test_our_own_export_comes_back_with_the_same_status(
    history: list[RecordedEvent], chance: random.Random
) -> None:
    """Also a verdict and what superseded it, a run that never started, and a contradiction."""
    lines = [line.encode() for line in openlineage_lines(history)]
    chance.shuffle(lines)
    runs, _, _ = gather(read_openlineage(lines, "events"))
    (run,) = runs.values()
    before = fold(17, (item.event for item in history))
    after = fold(run.run_id, (item.event for item in history_of(run)))
    assert (before.status, before.lost, before.claims) == (after.status, after.lost, after.claims)
    assert (before.name, before.params) == (after.name, after.params)
