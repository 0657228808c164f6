"""Files of histories for the tests of `replay` and of the pytest plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lastword.domain.events import RecordedEvent, RunCompleted, RunCreated, RunFailed, RunStarted
from lastword.domain.values import ErrorInfo
from lastword.testing import OWNER, recorded, save_history

FAILED = RunFailed(error=ErrorInfo(type="ValueError", message="no rows"))
RUN_17 = recorded(RunCreated(name="import"), RunStarted(owner=OWNER), FAILED, run_id=17)
RUN_A = recorded(RunCreated(name="export"), RunStarted(owner=OWNER), RunCompleted(), run_id="a")


def distinct(history: list[RecordedEvent], offset: int) -> list[RecordedEvent]:
    """The history with event ids and positions of its own, as a store gives them."""
    return [
        event.model_copy(
            update={"event_id": f"{offset + n:032x}", "position": event.position + offset}
        )
        for n, event in enumerate(history)
    ]


def two_runs(folder: Path) -> Path:
    """A file with two runs, as an export writes it."""
    path = folder / "histories" / "2026-11.jsonl"
    save_history(path, [*RUN_17, *distinct(RUN_A, 100)])
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The file, line by line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def changed(path: Path, line: int, **changes: object) -> None:
    """Change attributes of one line, counted from 1."""
    lines = lines_of(path)
    lines[line - 1] |= changes
    write(path, lines)


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write the file anew."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def cut_off(path: Path) -> None:
    """As a copy that did not end leaves it."""
    path.write_bytes(path.read_bytes()[:-20])
