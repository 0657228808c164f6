"""A view comes back from its row as it went in, on the short way and on the long one, in each store's format."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastword.domain.status import RunStatus
from lastword.domain.values import from_micros, to_micros
from lastword.infrastructure.postgres import rows as postgres
from lastword.infrastructure.sqlite import rows as sqlite
from lastword.infrastructure.storing.rows import owner_text
from lastword.projections.run_view import RunView
from strategies import maybe_text, moments, numbers, objects, owners, payloads, run_ids, texts

FORMATS = {"sqlite": sqlite._FORMAT, "postgres": postgres.FORMAT}

maybe_moment = st.none() | moments
maybe_number = st.none() | numbers
maybe_id = st.none() | run_ids
marked = st.sampled_from([None, "", "a\x00b", "\x1aa", "\x00"])  # PostgreSQL escapes these
maybe_any_text = maybe_text | marked
versions = st.integers(1, 2**40)

views = st.builds(
    RunView,
    run_id=run_ids,
    name=texts,
    status=st.sampled_from(RunStatus),
    status_update_failed=st.booleans(),
    created_at=moments,
    started_at=maybe_moment,
    finished_at=maybe_moment,
    actor=maybe_any_text,
    error_type=maybe_any_text,
    error_message=maybe_any_text,
    exit_code=st.none() | st.integers(-255, 255),
    progress_current=maybe_number,
    progress_total=maybe_number,
    current_step=maybe_any_text,
    cancel_requested_at=maybe_moment,
    last_seen_at=maybe_moment,
    deadline_at=maybe_moment,
    owner=st.none() | owners,
    parent_id=maybe_id,
    attempt=versions,
    retry_of=maybe_id,
    exclusive=maybe_any_text,
    lease_seconds=st.floats(0, 1e12),
    tags=st.dictionaries(texts, texts, max_size=3),
    params=objects,
    result=payloads,
    note=maybe_any_text,
    correlation_id=maybe_any_text,
    contradicted=st.booleans(),
    version=versions,
    position=versions,
)


def row_in(kind: str, view: RunView, lease: int | None = None) -> list[Any]:
    """The row as a store selects it, with the owner and the last beat behind it."""
    row = FORMATS[kind].row_of(dict(view), 1, owner_text)
    return [*row, lease]


@pytest.mark.parametrize("kind", FORMATS)
@given(views)
def test_a_view_comes_back_from_its_row(kind: str, view: RunView):
    """The short way, which trusts what it has checked, and the long way give what was written."""
    row = row_in(kind, view)
    assert view == FORMATS[kind].view_of(row)
    assert view == FORMATS[kind]._validated(row)


@pytest.mark.parametrize("kind", FORMATS)
@given(views.filter(lambda view: view.last_seen_at and view.finished_at))
def test_a_last_sign_with_the_last_word_is_the_same_moment(kind: str, view: RunView):
    """So it is in most rows; a later beat of the owner still counts, an earlier one does not."""
    assert view.finished_at is not None
    end = to_micros(view.finished_at)
    for lease, seen in ((None, end), (end - 1, end), (end + 1, end + 1)):
        ended = view.model_copy(update={"last_seen_at": view.finished_at})
        expected = view.model_copy(update={"last_seen_at": from_micros(seen)})
        assert expected == FORMATS[kind].view_of(row_in(kind, ended, lease))


@pytest.mark.parametrize("kind", FORMATS)
@given(views)
def test_views_share_nothing_that_can_be_changed(kind: str, view: RunView):
    """Tags are decoded once for each text, and every view has its own."""
    row = row_in(kind, view)
    FORMATS[kind].view_of(row).tags["more"] = "later"
    assert view.tags == FORMATS[kind].view_of(row).tags
