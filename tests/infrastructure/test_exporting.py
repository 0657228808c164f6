"""Histories leave a store: as of one moment, in order, into a file that is whole or not there."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from exchanging import LIFE, OTHER
from lastword import InvalidInput, RunNotFound, RunTracker, StoreCorrupt
from lastword.infrastructure.exchange.exporting import write_export

MEMORY = "sqlite:///:memory:"
PATIENCE = 20.0


@pytest.fixture
def tracker() -> Iterator[RunTracker]:
    """One that has a run already."""
    with RunTracker(MEMORY) as tracker:
        tracker.create("mine", run_id="mine")
        yield tracker


# -- exporting


def test_every_line_is_a_cloud_event() -> None:
    """The official package takes them, and the store is a URN."""
    with RunTracker(MEMORY) as tracker, tracker.run("import", actor="cron", correlation_id="req-1"):
        events = [JSONFormat().read(CloudEvent, line) for line in tracker.export()]
        assert ["lastword.RunCreated", "lastword.RunStarted"] == [e.get_type() for e in events]
        assert {f"urn:uuid:{tracker.store.store_id()}"} == {e.get_source() for e in events}


def test_some_runs_are_exported_in_the_order_of_the_store(tracker: RunTracker) -> None:
    """In whatever order they are asked for; an unknown run is refused before the first line."""
    tracker.import_events([*LIFE[:1], *OTHER, *LIFE[1:]])
    tracker.create("n", run_id=5)
    subjects = [json.loads(line)["subject"] for line in tracker.export([5, "a", "5"])]
    assert ["a", "a", "a", "5"] == subjects
    assert [] == list(tracker.export([]))
    lines = tracker.export(["a", "nobody"])
    with pytest.raises(RunNotFound, match="run nobody"):
        next(lines)


def test_an_export_stands_still(tmp_path: Path) -> None:
    """What is written while it goes on is not in it."""
    with RunTracker(tmp_path / "runs.db") as tracker:
        tracker.import_events(LIFE)
        lines = tracker.export()
        first = next(lines)
        tracker.create("late", run_id="late")
        assert ["a", "a", "a"] == [json.loads(line)["subject"] for line in [first, *lines]]
        lines = tracker.export()
        next(lines)
        lines.close()  # type: ignore[attr-defined]  # it is a generator
        assert 1 == tracker.store.recorder.datastore.connections  # type: ignore[attr-defined]  # SQLite's


def test_progress_is_told_on_both_ways(tmp_path: Path) -> None:
    """Up to the end, and never back."""
    out: list[tuple[int, int]] = []
    into: list[tuple[int, int]] = []
    counted: list[tuple[int, int]] = []
    with RunTracker(MEMORY) as tracker, RunTracker(MEMORY) as other, RunTracker(MEMORY) as third:
        for number in range(700):
            tracker.create("n", run_id=number)
        write_export(tmp_path / "a.jsonl", tracker.export(progress=lambda *told: out.append(told)))
        other.import_events(tmp_path / "a.jsonl", lambda *told: into.append(told))
        third.import_events(tracker.export(), lambda *told: counted.append(told))
    size = (tmp_path / "a.jsonl").stat().st_size
    assert (700, 700) == out[-1]
    assert (size, size) == into[-1]
    assert [(500, 0), (700, 0)] == counted
    assert sorted(into) == into


def test_a_damaged_event_ends_the_export() -> None:
    """Its place is named; an export that leaves something out would be taken for whole."""
    with RunTracker(MEMORY) as tracker:
        tracker.import_events(LIFE)
        tracker.store.recorder.datastore.fetch("UPDATE events SET state = X'00' WHERE position = 2")  # type: ignore[attr-defined]  # SQLite's
        with pytest.raises(StoreCorrupt, match="run a, version 2, position 2"):
            list(tracker.export())


def test_another_format_is_refused(tracker: RunTracker) -> None:
    """At once, and not when the first line is asked for."""
    with pytest.raises(InvalidInput, match="expected cloudevents or openlineage, found 'csv'"):
        tracker.export(format="csv")


def test_an_export_for_lineage_tools(tracker: RunTracker) -> None:
    """The same runs as OpenLineage's run events, redacted where that is asked for."""
    tracker.import_events(LIFE)
    lines = [
        json.loads(line)
        for line in tracker.export(["a"], format="openlineage", namespace="etl", redact=True)
    ]
    assert ["OTHER", "START", "COMPLETE"] == [line["eventType"] for line in lines]
    assert {"etl"} == {line["job"]["namespace"] for line in lines}
    assert '"h"' not in json.dumps(lines)


# -- files


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """What was there before stays until the new one is complete, and nothing is left beside it."""
    path = tmp_path / "a.jsonl"
    assert 3 == write_export(path, LIFE)
    assert b"".join(LIFE) == path.read_bytes()

    def broken() -> Iterator[bytes]:
        yield LIFE[0]
        raise StoreCorrupt("position 2: damaged")

    with pytest.raises(StoreCorrupt):
        write_export(path, broken())
    assert b"".join(LIFE) == path.read_bytes()
    write_export(path, OTHER)
    assert b"".join(OTHER) == path.read_bytes()
    assert ["a.jsonl"] == [path.name for path in tmp_path.iterdir()]


def test_a_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    """Others may read it, if the user's mask lets them."""
    write_export(tmp_path / "a.jsonl", LIFE)
    (tmp_path / "b").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.jsonl", "b")}
    assert 1 == len(modes)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that it leads to is replaced."""
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "real.jsonl")
    write_export(tmp_path / "a.jsonl", LIFE)
    assert (tmp_path / "a.jsonl").is_symlink()
    assert b"".join(LIFE) == (tmp_path / "real.jsonl").read_bytes()


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    """E.g. into a program that compresses."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert 3 == write_export(pipe, LIFE)
    reader.join(PATIENCE)
    assert [b"".join(LIFE)] == read


@pytest.mark.parametrize("name", ["missing/a.jsonl", "folder"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    """With what to check."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match=r"expected to write a file, found: .*check the path"):
        write_export(tmp_path / name, LIFE)
