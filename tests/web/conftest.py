"""A tracker, and a real server that shows its store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lastword import RunTracker
from lastword.infrastructure.web.serving import Server
from streaming import serving


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[RunTracker]:
    with RunTracker(tmp_path / "runs.db", progress_interval=0) as tracker:
        yield tracker


@pytest.fixture
def server(tracker: RunTracker) -> Iterator[Server]:
    with serving(tracker) as server:
        yield server
