"""What releases have stored and exported is read by this one, and by every later one."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from histories.keep import HERE, as_row, as_text, keep, views_of
from lastword import RunTracker, UnsupportedSchema
from lastword.domain.events import BY_TOPIC, EVENT_TYPES, STORE_EVENT_TYPES, STORE_KEY, RunEvent
from lastword.infrastructure.exchange.lines import read_lines
from lastword.infrastructure.mapper import EVENT_COLUMNS, recorded_event
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.testing import replay

KEPT = sorted(path for path in HERE.iterdir() if (path / "rows.jsonl").exists())
ALL_KEPT = pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
OWN = ("source", "position", "recordedat", "schemaversion", "data")
"""What an export of today may say in another way than the one that was kept."""


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]


def of_runs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what belongs to the store itself, which is not exported."""
    return [row for row in rows if row["originator_id"] != STORE_KEY]


def views_kept(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "views.json").read_text("utf-8"))


def as_kept(views: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """Without fields that views have got since."""
    return {
        key: {name: value for name, value in view.items() if name in kept[key]}
        for key, view in views.items()
    }


@ALL_KEPT
def test_rows_of_every_release_are_read(folder: Path, tmp_path: Path) -> None:
    """A store that holds them gives the views that they had, and finds nothing wrong."""
    path = tmp_path / "runs.db"
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as raw, raw:
        marks = ", ".join("?" * len(EVENT_COLUMNS))
        rows = map(as_row, rows_of(folder))
        raw.executemany(f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES ({marks})", rows)
    with RunTracker(path) as tracker:
        tracker.rebuild()
        kept = views_kept(folder)
        assert kept == as_kept(views_of(tracker), kept)
        assert tracker.verify().ok
        assert rows_of(folder) == [as_text(row) for batch in tracker.store.log() for row in batch]


@ALL_KEPT
def test_exports_of_every_release_are_imported(folder: Path) -> None:
    """They give the same views; and what is exported then says the same."""
    with RunTracker("sqlite:///:memory:") as tracker:
        report = tracker.import_events(folder / "events.jsonl")
        kept = views_kept(folder)
        assert len(of_runs(rows_of(folder))) == report.added
        assert kept == as_kept(views_of(tracker), kept)
        assert tracker.verify().ok
        lines = (folder / "events.jsonl").read_bytes().splitlines()
        for before, after in zip(lines, tracker.export(), strict=True):
            old, new = json.loads(before), json.loads(after)
            assert {k: v for k, v in old.items() if k not in OWN} == {
                k: v for k, v in new.items() if k not in OWN
            }


@ALL_KEPT
def test_rows_and_exports_say_the_same(folder: Path) -> None:
    """Event by event, in today's shape."""
    stored = [recorded_event(as_row(row)) for row in of_runs(rows_of(folder))]
    with (folder / "events.jsonl").open("rb") as file:
        assert stored == [event for _, event in read_lines(file, "events.jsonl")]


@ALL_KEPT
def test_exports_of_every_release_are_replayed(folder: Path) -> None:
    """Tests that users wrote years ago go on."""
    views = {str(key): view for key, view in replay(folder / "events.jsonl").items()}
    kept = views_kept(folder)
    assert kept == as_kept({key: view.model_dump(mode="json") for key, view in views.items()}, kept)


@pytest.mark.parametrize("kind", [*EVENT_TYPES, *STORE_EVENT_TYPES], ids=lambda kind: kind.TOPIC)
def test_every_shape_is_kept(kind: type[RunEvent]) -> None:
    """Of each version of each event there is one with every field, and one with no more than it needs."""
    for path in sorted((HERE / "schemas").glob(f"{kind.TOPIC}.v*.json")):
        version = int(path.stem.rpartition(".v")[2])
        schema = json.loads(path.read_text("utf-8"))
        found = [
            {name for name in facts if name in schema["properties"]}
            for folder in KEPT
            for row in rows_of(folder)
            if row["topic"] == kind.TOPIC
            and (facts := json.loads(row["state"])).get("v", 1) == version
        ]
        assert set(schema["properties"]) in found, path.name
        assert set(schema.get("required", ())) in found, path.name


def test_every_status_is_kept() -> None:
    """And a run that was declared lost, one that came back, and one that was contradicted."""
    views = list(views_kept(HERE / "v1").values())
    assert {"pending", "running", "completed", "failed", "cancelled"} == {
        view["status"] for view in views
    }
    assert {True, False} == {view["status_update_failed"] for view in views}
    assert {True, False} == {view["contradicted"] for view in views}


def test_rows_of_a_later_release_are_refused(tmp_path: Path) -> None:
    """With what to do about it, and not half read."""
    row = rows_of(HERE / "v1")[0]
    later = BY_TOPIC[row["topic"]].SCHEMA_VERSION + 1
    with pytest.raises(UnsupportedSchema, match="upgrade lastword"):
        recorded_event(as_row(row | {"state": f'{{"v":{later},"title":"import"}}'}))


def test_an_example_is_kept_as_the_contributing_page_says(tmp_path: Path) -> None:
    """The tool writes what these tests read, and never over what is there."""
    with RunTracker(tmp_path / "runs.db") as tracker:
        tracker.create("import", run_id=1, tags={"team": "data"})
    keep(tmp_path / "runs.db", tmp_path / "v2")
    (row,) = rows_of(tmp_path / "v2")
    assert ("1", "RunCreated") == (row["originator_id"], row["topic"])
    assert ["1"] == list(views_kept(tmp_path / "v2"))
    assert 1 == replay(tmp_path / "v2" / "events.jsonl")[1].version
    with pytest.raises(FileExistsError):
        keep(tmp_path / "runs.db", tmp_path / "v2")
