"""Histories leave a store and come into another one: whole, once, and with memory that does not grow."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanging import LIFE, OTHER, SOURCE, changed, plain
from lastword import InvalidInput, RunTracker, UnsupportedSchema
from lastword.domain.events import EVENT_TYPES, RecordedEvent, RunCreated
from lastword.infrastructure.exchange import importing, lines
from lastword.infrastructure.exchange.cloudevents import from_cloudevent
from lastword.infrastructure.exchange.lines import line_of
from lastword.projections.importing import ImportReport
from lastword.projections.run_view import fold_view
from lastword.testing import START, STEP
from strategies import event_strategies, maybe_name, moments, run_ids

MEMORY = "sqlite:///:memory:"
LATE = datetime(2300, 1, 1, tzinfo=UTC)
"""After everything that the strategies make."""
PATIENCE = 20.0


@st.composite
def logs(draw: st.DrawFn) -> list[RecordedEvent]:
    """Some runs, each from its creation on, event for event in any order; rules are not asked."""
    ids = draw(st.lists(run_ids, min_size=1, max_size=4, unique_by=str))
    creations = event_strategies[RunCreated].map(
        lambda event: event.model_copy(update={"exclusive": None})
    )
    versions: dict[str, int] = {}
    log: list[RecordedEvent] = []
    for run_id in draw(st.lists(st.sampled_from(ids), min_size=1, max_size=12)):
        version = versions[str(run_id)] = versions.get(str(run_id), 0) + 1
        kind = RunCreated if version == 1 else draw(st.sampled_from(EVENT_TYPES))
        log.append(
            RecordedEvent(
                run_id=run_id,
                version=version,
                position=len(log) + 1,
                event_id=f"{len(log) + 1:032x}",
                event=draw(creations if kind is RunCreated else event_strategies[kind]),
                occurred_at=draw(moments),
                recorded_at=START + len(log) * STEP,
                actor=draw(maybe_name),
                correlation_id=draw(maybe_name),
            )
        )
    return log


def lines_of(*events: RecordedEvent) -> list[bytes]:
    return [line_of(event, SOURCE) for event in events]


def renamed(lines: Iterator[bytes], tracker: RunTracker) -> list[bytes]:
    """As if they came from the store `SOURCE`."""
    own = f"urn:uuid:{tracker.store.store_id()}".encode()
    return [line.replace(own, SOURCE.encode(), 1) for line in lines]


def held(tracker: RunTracker) -> list[Any]:
    return [row for batch in tracker.store.log() for row in batch]


# -- out and in again


@given(logs())
@settings(max_examples=40)
def test_what_goes_out_and_in_and_out_again_is_the_same(log: list[RecordedEvent]) -> None:
    """Byte for byte, but for the name of the store; and the rows are the fold."""
    lines = lines_of(*log)
    with RunTracker(MEMORY, clock=lambda: LATE) as tracker:
        assert len(log) == tracker.import_events(lines).added
        assert lines == renamed(tracker.export(), tracker)
        assert tracker.verify().ok
        for run_id in {event.run_id for event in log}:
            history = [event for event in log if event.run_id == run_id]
            assert history == tracker.history(run_id)
            assert fold_view(history) == tracker.store.view(run_id)


@given(logs(), st.data())
@settings(max_examples=40)
def test_importing_twice_is_importing_once(log: list[RecordedEvent], data: st.DataObject) -> None:
    """Also in parts that overlap, as long as each run is there from its beginning: nothing is lost and nothing doubled."""
    lines = lines_of(*log)
    with RunTracker(MEMORY, clock=lambda: LATE) as tracker:
        for end in [*sorted(data.draw(st.lists(st.integers(1, len(log)), max_size=3))), len(log)]:
            tracker.import_events(lines[:end])
        before = held(tracker)
        assert [event.event_id for event in log] == [row[5].hex() for row in before]
        report = tracker.import_events(lines + lines)
        assert ImportReport(events=2 * len(log), runs=report.runs) == report
        assert before == held(tracker)
        assert tracker.verify().ok


def test_a_moved_store_gives_the_same_seal(tmp_path: Path) -> None:
    """Into an empty store everything comes that a seal covers: bytes, positions and both times."""
    with RunTracker(tmp_path / "a.db") as here, RunTracker(tmp_path / "b.db") as there:
        for number in range(4):
            with here.run("import", run_id=number, tags={"k": "v"}) as run:
                run.progress(1, 2)
        assert 4 == there.import_events(here.export()).new_runs
        ends = [tracker.seal(tmp_path / f"{id(tracker)}.seal").end for tracker in (here, there)]
        assert ends[0] == ends[1]
        assert here.counts() == there.counts()


def test_an_imported_run_goes_on_in_a_tracker_that_knew_it(tmp_path: Path) -> None:
    """What the tracker remembers of the run is behind, and it notices."""
    with RunTracker(tmp_path / "a.db") as here, RunTracker(tmp_path / "b.db") as there:
        here.create("import", run_id=1)
        there.import_events(here.export())
        there.start(1)
        there.progress(1, 1)
        here.start(1)
        with pytest.raises(InvalidInput, match=r"import, line 2, field id, time: .*run 1"):
            there.import_events(here.export())  # it went on in both, and they differ
        there.complete(1)
        assert "completed" == there.get(1).status


# -- what does not fit


BAD: dict[str, tuple[list[bytes], str]] = {
    "empty": ([], "expected at least one event, found none: the file is empty"),
    "blank": ([b"\n", b"  \n"], "expected at least one event, found none"),
    "cut off": ([*LIFE[:2], LIFE[2][:-20]], "line 3: expected a whole JSON object.* truncated"),
    "cut off in a character": (
        [LIFE[0], '{"id": "ä'.encode()[:-1]],
        "line 2: expected a whole JSON object",
    ),
    "not JSON": ([*LIFE, b"started\n"], "line 4: expected JSON, found 'started'"),
    "not an object": ([*LIFE, b"[1, 2]\n"], "line 4: expected a JSON object, found list"),
    "not UTF-8": ([LIFE[0], b'{"id": "\xff"}\n'], "line 2: expected JSON"),
    "UTF-16": ("{}\n{}\n".encode("utf-16").splitlines(keepends=True), "line 1: expected JSON"),
    "a binary file": ([b"SQLite format 3\x00\x10\x00\n"], "line 1: expected JSON"),
    "half a character": ([*LIFE[:2], changed(LIFE[2], actor="\ud800")], "line 3: expected JSON"),
    "nested too deep": ([b'{"data":' * 3000 + b"1" + b"}" * 3000 + b"\n"], "line 1: expected JSON"),
    "no event": ([*LIFE, b"{}\n"], "line 4, field specversion: .* found nothing"),
    "of another kind": (
        [changed(LIFE[0], type="com.example.sale")],
        "line 1, field type: expected a type that begins with 'lastword.'",
    ),
    "no data": ([changed(LIFE[0], data=None)], "line 1, field data: .* found nothing"),
    "wrong data": ([LIFE[0], changed(LIFE[1], data={"owner": 5})], "line 2, field data.owner: "),
    "no name": ([changed(LIFE[0], data={})], "line 1, field data.name: Field required"),
    "a wrong id": ([changed(LIFE[0], id="17")], "line 1, field id: .* found '17'"),
    "no run": ([changed(LIFE[0], subject="")], "line 1, field subject: "),
    "a wrong time": ([changed(LIFE[0], time="noon")], "line 1, field time: .* found 'noon'"),
    "a naive time": ([changed(LIFE[0], time="2026-01-01T00:00:00")], "line 1, field time: .*naive"),
    "version 0": ([changed(LIFE[0], runversion=0)], "line 1, field runversion: .* found 0"),
    "version True": ([changed(LIFE[0], runversion=True)], "line 1, field runversion: .*found True"),
    "no beginning": (LIFE[1:], "line 1, field runversion: expected 1 .* found 2"),
    "a gap": ([LIFE[0], LIFE[2]], "line 2, field runversion: expected 2 .* found 3"),
    "out of order": (
        [LIFE[0], LIFE[2], LIFE[1]],
        "line 2, field runversion: expected version 3 of run a behind version 2",
    ),
    "another content": (
        [*LIFE, changed(LIFE[2], data={"result": 2})],
        "line 4, field data: expected version 3 of run a as in .*line 3, found another content",
    ),
    "the id of another run's event": (
        [*LIFE, changed(OTHER[0], id=json.loads(LIFE[0])["id"])],
        "line 4, field id: .* found that of run a, version 1",
    ),
}
NEWER: dict[str, tuple[list[bytes], str]] = {
    "a newer shape": (
        [*LIFE[:2], changed(LIFE[2], schemaversion=9)],
        "line 3, field schemaversion: event RunCompleted: expected schema version 1 or older, found 9",
    ),
    "a newer event": (
        [*LIFE[:2], changed(LIFE[2], type="lastword.RunPaused")],
        "line 3, field type: event 'RunPaused'.*upgrade",
    ),
}


@pytest.fixture
def tracker() -> Iterator[RunTracker]:
    """One that has a run already."""
    with RunTracker(MEMORY) as tracker:
        tracker.create("mine", run_id="mine")
        yield tracker


def refused(
    tracker: RunTracker, lines: list[bytes], kind: type[Exception], message: str, folder: Path
) -> None:
    """As lines and as a file; behind lines that are fine, and alone. Nothing is ever taken."""
    before = held(tracker), tracker.counts(), tracker.store.last_position()
    file = folder / "a.jsonl"
    file.write_bytes(b"".join(lines))
    for source, name in (
        (lines, "import"),
        (io.BytesIO(b"".join(lines)), "import"),
        (file, "a.jsonl"),
    ):
        with pytest.raises(kind, match=f"^{name}[:,] .*{message}"):
            tracker.import_events(source)
    assert before == (held(tracker), tracker.counts(), tracker.store.last_position())


@pytest.mark.parametrize(("lines", "message"), BAD.values(), ids=BAD)
def test_what_is_no_whole_history_is_refused(
    tracker: RunTracker, lines: list[bytes], message: str, tmp_path: Path
) -> None:
    """With file, line and field; and nothing of it is taken."""
    refused(tracker, lines, InvalidInput, message, tmp_path)


@pytest.mark.parametrize(("lines", "message"), NEWER.values(), ids=NEWER)
def test_what_a_newer_release_wrote_is_refused(
    tracker: RunTracker, lines: list[bytes], message: str, tmp_path: Path
) -> None:
    """With the line, and with what to do."""
    refused(tracker, lines, UnsupportedSchema, message, tmp_path)


def test_every_cut_is_safe(tracker: RunTracker) -> None:
    """Wherever a file ends: it is refused, or what is there is a whole beginning that a later import extends."""
    whole = b"".join(LIFE)
    ends = {len(b"".join(LIFE[:number])) for number in (1, 2, 3)}
    near = {end + more for end in ends for more in range(-3, 4)}
    for end in sorted({*near, *range(1, len(whole), 97)} - {0, len(whole)}):
        if end > len(whole):
            continue
        lines = io.BytesIO(whole[:end])
        if end in ends or end + 1 in ends:
            tracker.import_events(lines)
            continue
        before = tracker.store.last_position()
        with pytest.raises(InvalidInput, match="truncated"):
            tracker.import_events(lines)
        assert before == tracker.store.last_position()
    assert 0 == tracker.import_events(LIFE).added
    assert tracker.verify().ok


@pytest.mark.parametrize("as_file", [True, False])
def test_a_huge_line_is_refused_unread(
    tracker: RunTracker, monkeypatch: pytest.MonkeyPatch, as_file: bool
) -> None:
    """No more of it is in memory than a line may be long."""
    monkeypatch.setattr(importing, "MAX_LINE_BYTES", 1000)
    asked: list[int] = []

    class Watched(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            asked.append(-1 if size is None else size)
            return super().readline(size)

    lines = [LIFE[0], b'{"id":"' + b"x" * 5000 + b'"}\n']
    source = Watched(b"".join(lines)) if as_file else lines
    with pytest.raises(
        InvalidInput, match="import, line 2: expected at most 1,000 bytes, found a longer"
    ):
        tracker.import_events(source)
    assert [1001, 1001] == asked if as_file else not asked
    assert 1 == tracker.store.last_position()


@pytest.mark.parametrize(("path", "why"), [("nowhere.jsonl", "No such file"), (".", "directory")])
def test_a_file_that_cannot_be_read_is_named(
    tracker: RunTracker, tmp_path: Path, path: str, why: str
) -> None:
    """With what to check."""
    with pytest.raises(
        InvalidInput, match=f"expected a file to read, found: .*{why}.*check the path"
    ):
        tracker.import_events(tmp_path / path)


def test_the_store_itself_is_neither_read_nor_written(tmp_path: Path) -> None:
    """Opening it as a file would drop its locks."""
    with RunTracker(tmp_path / "runs.db") as tracker:
        tracker.create("import")
        (tmp_path / "link").symlink_to(tmp_path / "runs.db")
        for name in ("runs.db", "runs.db-wal", "link"):
            with pytest.raises(InvalidInput, match="found the store itself"):
                tracker.import_events(tmp_path / name)


# -- lines that are written quickly, and read quickly


@given(logs())
@settings(max_examples=20)
def test_the_quick_way_reads_the_same(log: list[RecordedEvent]) -> None:
    """As the one that looks at every field."""
    for event in log:
        line = line_of(event, SOURCE)
        quick = lines._quickly(line)
        assert quick is not None
        assert event == quick
        assert quick == from_cloudevent(json.loads(line), "line 1")
        assert (type(event.run_id), set(RecordedEvent.model_fields)) == (
            type(quick.run_id),
            quick.model_fields_set,
        )


def test_what_is_not_as_it_is_written_is_looked_at_in_detail() -> None:
    """Other spellings of the same are read, too."""
    (line,) = plain("RunCreated")
    spellings: list[Callable[[bytes], bytes]] = [
        lambda text: changed(text, time="2026-01-01T01:00:00+01:00"),
        lambda text: changed(text, position="1"),
        lambda text: changed(text, actor=None),
    ]
    (_, expected), *_ = lines.read_lines([line], "a")
    for spelling in spellings:
        assert expected == next(lines.read_lines([spelling(line)], "a"))[1]
    assert timedelta(0) == expected.occurred_at.utcoffset()
