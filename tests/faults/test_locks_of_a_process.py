"""Several stores on one file in one process: what one of them does must not cost the others their locks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lastword import RunTracker, StoreCorrupt

OTHER_PROCESS = (
    "from lastword import RunTracker\nwith RunTracker('runs.db') as t: t.create('b', run_id=2)"
)


def test_a_second_tracker_in_the_process_leaves_the_first_ones_locks(tmp_path: Path) -> None:
    """POSIX drops a process's locks on a file with the first descriptor that is closed, and then another process removes the log."""
    path = tmp_path / "runs.db"
    with RunTracker(path) as first:
        first.create("a", run_id=1)
        RunTracker(path).close()
        subprocess.run([sys.executable, "-c", OTHER_PROCESS], cwd=tmp_path, check=True, timeout=60)
        first.create("c", run_id=3)
        assert [3, 2, 1] == [view.run_id for view in first.list()]
    with RunTracker(path) as again:
        assert [3, 2, 1] == [view.run_id for view in again.list()]


def test_a_file_of_another_kind_is_told_apart_and_left_alone(tmp_path: Path) -> None:
    """It is recognised without being opened by anything but SQLite, however small it is."""
    for content in (b"x", b"a note\n" * 1000):
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        with pytest.raises(StoreCorrupt, match="no SQLite database; choose another path"):
            RunTracker(path)
        assert content == path.read_bytes()
