"""Leaves of events that are gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastword.domain.errors import StoreCorrupt
from lastword.domain.leaves import Leaves


@given(st.dictionaries(st.integers(1, 50), st.binary(min_size=32, max_size=32)))
def test_what_is_kept_comes_back(found: dict[int, bytes]) -> None:
    """Every leaf at its position, in order; also through JSON."""
    pairs = sorted(found.items())
    kept = Leaves.model_validate_json(Leaves.of(pairs).model_dump_json())
    assert (pairs, len(pairs)) == (list(kept.pairs()), len(kept))


def test_neighbours_take_one_range() -> None:
    """A run of positions costs no more than its two ends."""
    kept = Leaves.of((position, bytes(32)) for position in (3, 4, 5, 9, 10))
    assert ((3, 5), (9, 10)) == kept.positions


@pytest.mark.parametrize("digests", ["", "AAAA", "no base64!", "A" * 44, "!" + "A" * 128])
def test_damaged_leaves_are_told(digests: str) -> None:
    """Less than a leaf for each position proves nothing."""
    with pytest.raises(StoreCorrupt, match=r"^leaves: expected 3 leaves of 32 bytes"):
        list(Leaves(positions=((1, 3),), digests=digests).pairs())


def test_damage_is_told_where_there_should_be_no_leaves() -> None:
    """Text that is no base64 is not taken for none."""
    with pytest.raises(StoreCorrupt, match=r"^leaves: expected 0 leaves"):
        list(Leaves(digests="no base64!").pairs())
