"""A tracker whose store can be told to fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.kit import FaultyStore
from lastword import RunTracker
from lastword.infrastructure.opening import open_store
from managing import QUICK


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return FaultyStore(open_store(tmp_path / "runs.db"))


@pytest.fixture
def tracker(store: FaultyStore) -> Iterator[RunTracker]:
    with RunTracker(store=store, heartbeat=3600, **QUICK) as tracker:
        yield tracker
