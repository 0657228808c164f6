"""Questions are answered from an index, whatever is filtered, and runs take little room."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.kit import Writer
from lastword.domain.events import TERMINAL_TOPICS, RunCompleted, RunCreated, RunStarted
from lastword.domain.status import RunStatus
from lastword.infrastructure.sqlite import SQLiteStore, scanning
from lastword.infrastructure.sqlite.recorder import SELECT_EVENTS
from lastword.infrastructure.sqlite.rows import OF_RUN, ROW_COLUMNS, SELECT_VIEW, VIEW_COLUMNS
from lastword.infrastructure.storing import paging, queries, suspecting
from lastword.infrastructure.storing.rows import owner_text
from lastword.projections.flags import Suspicion
from lastword.projections.queries import Cursor, RunQuery, TallyQuery, matches
from lastword.projections.run_view import RunView
from lastword.testing import OWNER, START


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with contextlib.closing(SQLiteStore(tmp_path / "runs.db")) as store:
        yield store


def plan(store: SQLiteStore, statement: tuple[str, Sequence[object]] | None) -> list[str]:
    """The steps of SQLite's plan for a statement."""
    assert statement is not None
    rows = store.recorder.datastore.fetch(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])
    return [row[3] for row in rows]


@pytest.mark.parametrize("after", [None, Cursor(1, 2)])
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(), "runs_by_status"),
        (RunQuery(since=START, until=START + timedelta(1)), "runs_by_status"),
        (RunQuery(statuses=frozenset({RunStatus.FAILED})), "runs_by_status"),
        (RunQuery(statuses=frozenset({RunStatus.PENDING, RunStatus.RUNNING})), "runs_by_status"),
        (RunQuery(name="import"), "runs_by_name"),
        (RunQuery(name="import", statuses=frozenset({RunStatus.FAILED})), "runs_by_name"),
        (RunQuery(tags={"team": "data"}), "PRIMARY KEY"),
    ],
)
def test_a_page_reads_no_more_than_it_needs(
    store: SQLiteStore, query: RunQuery, index: str, after: Cursor | None
):
    """Each filter has an index that holds the order, too: no stretch is scanned or sorted as a whole."""
    steps = plan(store, queries.page(query, after, 51))
    inner = [step for step in steps if "runs USING" in step or "run_tags" in step or " t " in step]
    assert inner
    assert all(step.startswith("SEARCH") for step in inner)
    assert any(index in step for step in inner)
    assert not [step for step in steps if step.startswith("SCAN") and "page" not in step and "subquery" not in step.lower() and "(" not in step]  # fmt: skip
    if after is not None:
        assert all("created_at" in step for step in inner if "COVERING INDEX" in step)


@pytest.mark.parametrize("walked", range(3))
def test_filters_meet_along_one_of_them(store: SQLiteStore, walked: int):
    """It is read between two places of its index, or merged from five; the others are looked up, each by its whole key."""
    query = RunQuery(tags={"team": "data", "env": "test"}, name="import")
    streams = queries.streams(query)
    stream = streams.pop(walked)
    reach = plan(store, queries.reach(stream, query, Cursor(9, 9), 100))
    steps = plan(store, queries.meeting(stream, streams, query, Cursor(9, 9), Cursor(1, 1), 51))
    read = [step for step in steps if " created_at>" in step or "(created_at,number)>" in step]
    assert len(read) == (5 if walked == 2 else 1)
    for step in (*read, *(step for step in reach if "SEARCH" in step)):
        assert "COVERING INDEX" in step or "SEARCH run_tags USING PRIMARY KEY" in step
    looked_up = [step for step in steps if step.startswith(("SEARCH t", "SEARCH r "))]
    whole = ("(key=? AND value=? AND created_at=? AND number=?)", "(rowid=?)")
    assert looked_up
    assert all(step.endswith(whole) for step in looked_up)
    assert not [step for step in (*reach, *steps) if step.startswith("SCAN run")]


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("entries", [1, 5])
def test_where_filters_meet_no_run_is_missed_or_told_twice(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, entries: int, limit: int
):
    """Filters that often meet, seldom or never; walked in steps that are shorter or longer than what lies between."""
    monkeypatch.setattr(paging, "_NEAR", entries)
    monkeypatch.setattr(paging, "_FAR", 3 * entries)
    writer = Writer(store)
    for number in range(90):
        tags = {"even": str(number % 2), "third": str(number % 3 == 0), "late": str(number > 80)}
        writer.add(number, RunCreated(name="ab"[number % 5 == 0], tags=tags))
        if number % 4:
            writer.add(number, RunStarted(owner=OWNER))
    every = [store.view(number) for number in reversed(range(90))]
    for query in (
        RunQuery(tags={"even": "0", "third": "True"}),
        RunQuery(tags={"even": "0", "third": "True", "late": "True"}),
        RunQuery(tags={"even": "0"}, statuses=frozenset({RunStatus.RUNNING})),
        RunQuery(tags={"even": "1", "third": "False"}, name="b"),
        RunQuery(tags={"even": "1"}, statuses=frozenset({RunStatus.PENDING})),
        RunQuery(tags={"even": "1", "x": "y"}, name="b"),
        RunQuery(tags={"even": "1"}, statuses=frozenset()),
    ):
        expected = [view.run_id for view in every if view and matches(view, query)]
        found: list[object] = []
        cursor: str | None = None
        while not found or cursor:
            page = store.query(dataclasses.replace(query, limit=limit, cursor=cursor))
            found += [view.run_id for view in page]
            cursor = page.next_cursor
            if not cursor:
                break
        assert expected == found


@pytest.mark.parametrize("name", [None, "import"])
def test_a_tally_reads_an_index_and_no_row(store: SQLiteStore, name: str | None):
    """Of each status one stretch, from its newest end, so that the limit bounds what is read."""
    query = TallyQuery(since=START, stretch=timedelta(hours=1), stretches=24, name=name)
    steps = [step for step in plan(store, queries.tally(query)) if "runs" in step]
    assert len(RunStatus) == len(steps)
    assert all(step.startswith("SEARCH runs USING COVERING INDEX") for step in steps)


def test_active_runs_and_ids_are_looked_up(store: SQLiteStore):
    """Neither reads the runs that have ended."""
    assert any("runs_by_status" in step for step in plan(store, queries.active(None, 10)))
    for statement, bounds in (
        (queries.begins_with("a", 10), "(originator_id>? AND originator_id<?)"),
        ((f"{SELECT_VIEW} WHERE r.{OF_RUN}", ["a"]), "(originator_id=? AND originator_version=?)"),
    ):
        steps = plan(store, statement)
        assert [f"COVERING INDEX sqlite_autoindex_events_1 {bounds}"] == [
            step.partition("USING ")[2] for step in steps if "events" in step
        ]
        assert not [step for step in steps if step.startswith(("SCAN", "USE TEMP"))]


def test_a_verification_reads_rows_along_the_log(store: SQLiteStore):
    """In the order of the log's index, from which rows are looked up: nothing is sorted unless a row is out of its place."""
    along = plan(store, (scanning._ALONG_THE_LOG, [""]))
    assert "SEARCH e USING COVERING INDEX sqlite_autoindex_events_1 (originator_id>?)" == along[0]
    assert "SEARCH r USING INTEGER PRIMARY KEY (rowid=?)" == along[1]
    assert not [step for step in along if step.startswith(("SCAN", "USE TEMP"))]
    strays = plan(store, (scanning._STRAY, []))
    assert "SCAN r" == strays[0]
    assert "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)" == strays[-1]


def test_suspects_are_looked_for_among_active_runs(store: SQLiteStore):
    """No run that has ended is read, and nothing longer than a page is sorted."""
    suspicion = Suspicion(START, lambda owner: True, timedelta(minutes=1))
    owners = plan(store, suspecting.at_work(suspicion))
    assert any("runs_by_status (status=?)" in step.replace("INDEX ", "") for step in owners)
    near = plan(store, suspecting.at_work(suspicion, Cursor(9, 9), Cursor(1, 1)))
    assert any("(status=? AND created_at>? AND created_at<?)" in step for step in near)
    (place,) = plan(store, queries.newest_running(Cursor(9, 9), 51))
    assert place.startswith("SEARCH runs USING COVERING INDEX runs_by_status")
    suspects = suspecting.suspects_of(suspicion, [(1, owner_text(OWNER), 60.0, 0, None)])
    query = RunQuery(statuses=suspects.statuses)
    for statement in (queries.active(None, 50, suspects), queries.page(query, None, 50, suspects)):
        steps = plan(store, statement)
        assert 2 == sum("runs USING INDEX runs_by_status (status=?)" in step for step in steps)
    assert not [step for step in (*owners, *steps) if step.startswith(("SCAN run", "SCAN r "))]


@pytest.mark.parametrize("topics", [TERMINAL_TOPICS, ("RunLost",), ("RunCompleted", "RunFailed")])
def test_the_feed_of_last_words_does_not_read_progress(store: SQLiteStore, topics: tuple[str, ...]):
    """It has an index that holds nothing else."""
    (step,) = plan(store, queries.feed(SELECT_EVENTS, 5, 10, topics))
    assert "SEARCH events USING INDEX events_last_words (position>?)" in step
    (step,) = plan(store, queries.feed(SELECT_EVENTS, 5, 10, ("RunStarted", *topics)))
    assert "INTEGER PRIMARY KEY (rowid>?)" in step


def test_the_index_of_last_words_covers_them_all():
    """A new terminal event needs a new step of the schema."""
    assert set(queries._INDEXED_TOPICS) == set(TERMINAL_TOPICS)


def test_every_field_of_the_view_has_its_column(store: SQLiteStore):
    """But the flag, which is never stored, and the id, which lies in the key."""
    assert set(RunView.model_fields) - {"flag", "run_id"} == set(VIEW_COLUMNS)
    columns = [row[1] for row in store.recorder.datastore.fetch("PRAGMA table_info(runs)")]
    assert columns == list(ROW_COLUMNS)


def test_runs_take_little_room(store: SQLiteStore, tmp_path: Path):
    """A life of three events with a modest owner, indexes included."""
    writer = Writer(store)
    for number in range(400):
        writer.add(
            f"0197f3a2-7b1c-7000-8000-{number:012x}",
            RunCreated(name="import", params={"folder": "in"}),
            RunStarted(owner=OWNER),
            RunCompleted(result={"rows": 10}),
        )
    store.recorder.datastore.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
    empty = tmp_path / "empty.db"
    SQLiteStore(empty).close()
    used = (tmp_path / "runs.db").stat().st_size - empty.stat().st_size
    assert used / 400 <= 900


def test_a_foreign_key_for_owners_is_shared(store: SQLiteStore):
    """A thousand runs of one process hold its name once."""
    writer = Writer(store)
    for number in range(10):
        writer.start(number)
    assert store.recorder.datastore.fetch("SELECT count(*) FROM owners") == [(1,)]


def test_rows_can_be_read_with_any_tool(store: SQLiteStore, tmp_path: Path):
    """Columns have plain values: words, numbers, microseconds, JSON."""
    Writer(store).start("a", tags={"team": "data"}, params={"n": 1})
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as raw:
        row = raw.execute(
            "SELECT run_key, status, created_at, tags, params FROM runs"
            " WHERE json_extract(params, '$.n') = 1"
        ).fetchone()
    micros = 1_767_225_601_000_000
    assert row == ("a", "running", micros, '{"team":"data"}', '{"n":1}')
