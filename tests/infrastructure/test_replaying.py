"""Histories from a file: read whole or refused with line and field; outcomes that are kept are compared event by event."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastword import (
    CancellationRequested,
    InvalidInput,
    RunCompleted,
    RunCreated,
    RunStarted,
)
from lastword.infrastructure.testing.golden import UPDATE_OPTION, write_golden
from lastword.infrastructure.testing.replaying import read_histories
from lastword.projections import run_view
from lastword.testing import OWNER, recorded, replay, save_history
from replaying import FAILED, RUN_17, changed, cut_off, lines_of, two_runs, write


@pytest.fixture
def histories(tmp_path: Path) -> Path:
    """A file with two runs."""
    return two_runs(tmp_path)


@pytest.fixture
def golden(histories: Path) -> Path:
    """A golden file that agrees with the histories."""
    path = histories.with_suffix(".golden.json")
    assert write_golden(path, read_histories(histories))
    return path


def test_runs_are_found_by_either_type_of_id(histories: Path):
    """1 and "1" are the same run; each view has the id in its own type."""
    views = replay(histories)
    assert [17, "a"] == list(views)
    assert "failed" == views[17].status == views["17"].status
    assert "completed" == views["a"].status
    assert (True, True, True, False, False) == tuple(
        key in views for key in (17, "17", "a", 18, None)
    )
    assert (views[17], None) == (views.get("17"), views.get("18"))
    assert RUN_17 == views.history("17")
    with pytest.raises(
        KeyError, match=r"run 18: expected to find it in 2026-11.jsonl, which has 17, a"
    ):
        views[18]


def test_rules_are_not_applied_to_the_past(tmp_path: Path):
    """A history that today's rules would never make is loaded as it is."""
    odd = recorded(
        RunCreated(name="import"),
        RunCompleted(result=1),  # never started
        FAILED,  # after the last word
        RunStarted(owner=OWNER),
        CancellationRequested(),
        RunCreated(name="again"),
        RunCompleted(result=2),
    )
    save_history(tmp_path / "odd.jsonl", odd)
    view = replay(tmp_path / "odd.jsonl")[1]
    assert ("completed", 2, 7) == (view.status, view.result, view.version)


def without_line_2(path: Path) -> None:
    lines = lines_of(path)
    write(path, lines[:1] + lines[2:])


def swapped(path: Path) -> None:
    lines = lines_of(path)
    write(path, [lines[0], lines[2], lines[1], *lines[3:]])


def repeated_with_another_error(path: Path) -> None:
    lines = lines_of(path)
    other = {"error": {"type": "ValueError", "message": "other"}}
    write(path, [*lines, lines[2] | {"data": other, "actor": "ops"}])


def without_line_1(path: Path) -> None:
    write(path, [line | {"runversion": line["runversion"] - 1} for line in lines_of(path)[1:3]])


BROKEN = {
    "truncated": (cut_off, "line 6: expected a whole JSON object, .* the file is truncated"),
    "not JSON": (
        lambda path: path.write_text("run 17 failed\n"),
        "line 1: expected JSON, found 'run",
    ),
    "empty": (
        lambda path: path.write_text("\n"),
        "expected at least one event, found an empty file",
    ),
    "gap": (
        without_line_2,
        "line 2, field runversion: expected 2 as the next event of run 17, found 3: .* missing",
    ),
    "out of order": (swapped, "line 2, field runversion: expected 2 .* found 3: .* out of order"),
    "duplicate with other content": (
        repeated_with_another_error,
        "line 7, field data, actor: expected event 3 of run 17 as it stands in an earlier line",
    ),
    "no beginning": (
        without_line_1,
        "line 1, field type: expected RunCreated as the first event of run 17, found RunStarted",
    ),
    "event id of another event": (
        lambda path: changed(path, 5, id=lines_of(path)[0]["id"]),
        "line 5, field id: expected a new one, found that of run 17, event 1",
    ),
    "another type of id": (
        lambda path: changed(path, 2, runidtype="str"),
        "line 2, field runidtype: expected 'int', as in the first event of run 17",
    ),
    "newer schema": (
        lambda path: changed(path, 3, schemaversion=9),
        "line 3, field schemaversion: event RunFailed: expected schema version 1 or older, found 9",
    ),
}


@pytest.mark.parametrize(("breaks", "message"), BROKEN.values(), ids=BROKEN)
def test_a_bad_file_is_named_with_line_and_field(
    histories: Path, breaks: Callable[[Path], object], message: str
):
    """Nothing half-read is looked at as if it were whole."""
    breaks(histories)
    with pytest.raises(Exception, match=f"^2026-11.jsonl[,:] {message}"):
        replay(histories)


def test_the_same_line_twice_is_harmless(histories: Path):
    """Exports that overlap can be put together."""
    before = replay(histories)
    lines = lines_of(histories)
    write(histories, [*lines, *lines[:4]])
    assert dict(before) == dict(replay(histories))


def test_a_change_of_our_code_is_noticed(
    histories: Path, golden: Path, monkeypatch: pytest.MonkeyPatch
):
    """That is what golden files are for: the same history, another outcome."""
    replay(histories, golden)
    monkeypatch.setattr(run_view, "_last_word", lambda fields, at: fields)
    with pytest.raises(
        AssertionError, match=r"run 17, event 3 \(RunFailed, .*\n    finished_at: .*found None"
    ):
        replay(histories, golden)


def edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["runs"].pop(), "run a: expected no such run, found 3 events"),
        (lambda c: c["runs"][0].update(run_id=5), "run 5: expected its 3 events, found none"),
        (
            lambda c: c["runs"][0]["events"].pop(),
            "run 17, event 3: expected no such event, found RunF",
        ),
        (
            lambda c: c["runs"][0]["events"].append({"type": "RunLost", "sets": {}}),
            "run 17, event 4: expected RunLost, found no such event",
        ),
        (
            lambda c: c["runs"][0]["events"][1].update(type="RunLost"),
            "run 17, event 2: expected RunLost, found RunStarted",
        ),
        (
            lambda c: c["runs"][0]["events"][0]["sets"].update(gone=1),
            "gone: expected 1, found no such field",
        ),
        (
            lambda c: c["runs"][0]["events"][0]["sets"].update(attempt=True),
            "attempt: expected True, found 1",
        ),
    ],
)
def test_every_kind_of_difference_is_told(histories: Path, golden: Path, edit, message: str):
    """A run too many or too few, an event too many or too few, another event, another field."""
    edited(golden, edit)
    with pytest.raises(AssertionError, match=message):
        replay(histories, golden)


def test_a_field_that_is_newer_than_the_file_is_not_compared(histories: Path, golden: Path):
    """A release that adds a field to the view does not break everybody's files."""
    edited(golden, lambda content: content["runs"][0]["events"][0]["sets"].pop("tags"))
    assert "failed" == replay(histories, golden)[17].status


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 9, "runs": []}', '{"format": 1, "runs": [1]}']
)
def test_a_file_that_is_not_golden_is_named(histories: Path, golden: Path, text: str):
    """With the way to write it anew; a file that is not there is a failure, too."""
    golden.write_text(text, encoding="utf-8")
    with pytest.raises(
        InvalidInput, match=f"golden.json: expected outcomes in format 1.*{UPDATE_OPTION}"
    ):
        replay(histories, golden)
    golden.unlink()
    with pytest.raises(
        AssertionError, match=f"there is no such file; write it: pytest {UPDATE_OPTION}"
    ):
        replay(histories, golden)
