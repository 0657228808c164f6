"""What every store promises about runs that could be flagged: none that the rule would flag is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.appending import SHARED
from contracts.keeping import Behind
from contracts.kit import Writer
from lastword.domain.events import RunCompleted, RunCreated, RunProgressed, RunStarted
from lastword.domain.status import ACTIVE, RunStatus
from lastword.domain.values import Owner
from lastword.infrastructure.storing import suspecting
from lastword.projections.flags import Liveness, Suspicion, flag_of
from lastword.projections.ports import RunStore
from lastword.projections.queries import RunQuery
from lastword.projections.run_view import RunView
from lastword.testing import OTHER_OWNER, OWNER, START

_SECOND = timedelta(seconds=1)
_TICK = timedelta(microseconds=1)
_OWNERS = (OWNER, OTHER_OWNER, OWNER.model_copy(update={"pid": 7}))
_LEASES = (0.1, 60.0, 3600.000001, 1e300, float("inf"))
_DEADLINES = (None, START + 90 * _SECOND)
_TIMEOUTS = (None, 30 * _SECOND, timedelta.max)
_SPANS = [0, 0.1, 1, 1.1, 30, 31, 60, 61, 90, 121, 600, 3600.000001, 3661.000001, 1e9]
_moments = st.builds(
    lambda seconds, ticks: START + timedelta(seconds=seconds) + ticks * _TICK,
    st.sampled_from(_SPANS),
    st.integers(-2, 2),
)
_queries = st.builds(
    RunQuery,
    statuses=st.sampled_from([ACTIVE, *(frozenset({status}) for status in RunStatus)]),
    name=st.sampled_from([None, "import", "export"]),
    tags=st.sampled_from([{}, {"odd": "1"}, {"odd": "1", "few": "yes"}]),
    limit=st.sampled_from([1, 3, 100]),
)


def populate(store: RunStore) -> None:
    """Runs with every lease, deadline and owner: pending ones, started ones, some that reported, some that ended."""
    writer = Writer(store)
    numbered = enumerate(product(_LEASES, _DEADLINES, (None, *_OWNERS), range(3)))
    for number, (lease, deadline, owner, stage) in numbered:
        created = RunCreated(
            name=("import", "export")[number % 2],
            tags={"odd": str(number % 2), "few": "yes" if number % 7 == 0 else "no"},
            lease_seconds=lease,
            deadline_at=deadline,
        )
        writer.add(number, created, at=START + number % 3 * _SECOND)
        if owner is not None:
            writer.add(number, RunStarted(owner=owner), at=START + _SECOND)
            if stage == 1:
                writer.add(number, RunProgressed(current=1), at=START + 61 * _SECOND)
            if stage == 2 and number % 2:
                writer.add(number, RunCompleted(), at=START + _SECOND)


def suspicion_at(
    now: datetime, gone: frozenset[str] = frozenset(), timeout: timedelta | None = None
) -> Suspicion:
    """At a moment, when the owners with these keys are gone."""
    return Suspicion(now, lambda owner: owner.key in gone, timeout)


def flagged(view: RunView, suspicion: Suspicion) -> bool:
    """What the rule says, when nothing is known of outages, which make flags fewer."""
    alive = False if view.owner is not None and suspicion.gone(view.owner) else None
    return flag_of(view, suspicion.now, Liveness(alive, suspicion.start_timeout)) is not None


class Suspecting:
    """A store leaves out only what is beyond suspicion."""

    @pytest.mark.parametrize("many", [suspecting._MANY, 1])
    def test_no_run_that_the_rule_flags_is_left_out(
        self, store: RunStore, many: int, monkeypatch: pytest.MonkeyPatch
    ):
        """At any moment, to the microsecond, whoever beats, whoever is gone; in lists and page by page, with any filter."""
        monkeypatch.setattr(suspecting, "_MANY", many)
        populate(store)

        @SHARED
        @given(
            now=_moments,
            beats=st.lists(st.tuples(st.sampled_from(_OWNERS), _moments), max_size=2),
            gone=st.frozensets(st.sampled_from([owner.key for owner in _OWNERS]), max_size=2),
            timeout=st.sampled_from(_TIMEOUTS),
            query=_queries,
        )
        def agree(
            now: datetime,
            beats: list[tuple[Owner, datetime]],
            gone: frozenset[str],
            timeout: timedelta | None,
            query: RunQuery,
        ) -> None:
            for owner, moment in beats:
                store.renew_lease(owner, moment)
            suspicion = suspicion_at(now, gone, timeout)
            every = [view for view in store.active() if flagged(view, suspicion)]
            found = list(store.active(suspicion))
            assert every == [view for view in found if flagged(view, suspicion)]

            def keep(view: RunView) -> bool:
                return flagged(view, suspicion)

            for _ in range(3):
                page = store.query(query, keep, suspicion)
                assert page == store.query(query, keep)
                if page.next_cursor is None:
                    break
                query = replace(query, cursor=page.next_cursor)
            store.forget_leases(START + timedelta(days=99_999))

        agree()

    def test_a_row_without_its_owner_is_suspected(self, store: RunStore, behind: Behind):
        """Nobody can have beaten for it."""
        Writer(store).start("a")
        store.renew_lease(OWNER, START + timedelta(hours=1))
        behind("UPDATE runs SET owner = NULL")
        suspicion = suspicion_at(START + timedelta(hours=1))
        assert ["a"] == [view.run_id for view in store.active(suspicion)]

    def test_what_is_beyond_suspicion_is_not_given(self, store: RunStore):
        """One whose owner beats, however long ago it reported; of an owner that does not, one that did."""
        writer = Writer(store)
        now = START + timedelta(hours=1)
        for number in range(9):
            writer.start(number)
        assert [] == list(store.active(suspicion_at(START + 30 * _SECOND)))
        assert 9 == len(list(store.active(suspicion_at(now))))
        store.renew_lease(OWNER, now)
        assert [] == list(store.active(suspicion_at(now)))
        assert 9 == len(list(store.active(suspicion_at(now, frozenset({OWNER.key})))))
        writer.start("late", deadline_at=now - _TICK)
        writer.start("other", OTHER_OWNER)
        writer.start("told", OTHER_OWNER)
        writer.add("told", RunProgressed(current=1), at=now)
        writer.add("waits", RunCreated(name="import"))
        assert ["late", "other"] == [view.run_id for view in store.active(suspicion_at(now))]
        timeout = timedelta(minutes=9)
        found = store.query(RunQuery(), suspicion=suspicion_at(now, timeout=timeout))
        assert ["waits", "other", "late"] == [view.run_id for view in found]
