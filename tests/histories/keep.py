"""Keep what a store holds as an example that every later release must be able to read.

    .venv/bin/python tests/histories/keep.py STORE FOLDER

writes three files into a new folder beside this file, e.g. ``v2``: the events as they lie in the database, the same as an export, and the
views that they fold to. The tests in test_stored_histories.py find the folder by themselves. A folder that is there never changes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lastword import RunTracker
from lastword.infrastructure.mapper import EVENT_COLUMNS
from lastword.projections.ports import StoredRow

HERE = Path(__file__).parent


def as_text(row: StoredRow) -> dict[str, Any]:
    """A row as JSON; the facts are text, and the event's id is hexadecimal."""
    fields = dict(zip(EVENT_COLUMNS, row, strict=True))
    return fields | {"state": fields["state"].decode(), "event_id": fields["event_id"].hex()}


def as_row(fields: dict[str, Any]) -> StoredRow:
    """The row again."""
    values = fields | {
        "state": fields["state"].encode(),
        "event_id": bytes.fromhex(fields["event_id"]),
    }
    return [values[column] for column in EVENT_COLUMNS]


def views_of(tracker: RunTracker) -> dict[str, Any]:
    """What each run's row says, by the run's key."""
    return {
        str(run.run_id): run.row.model_dump(mode="json")
        for run in tracker.store.scan()
        if run.row is not None
    }


def keep(store: Path, folder: Path) -> None:
    """Write the three files. Raises `FileExistsError` when the folder is there."""
    folder.mkdir()
    with RunTracker(store) as tracker:
        rows = [as_text(row) for batch in tracker.store.log() for row in batch]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        (folder / "events.jsonl").write_bytes(b"".join(tracker.export()))
        views = json.dumps(views_of(tracker), indent=1, sort_keys=True)
        (folder / "views.json").write_text(views + "\n", "utf-8")


if __name__ == "__main__":
    keep(Path(sys.argv[1]), HERE / sys.argv[2])
