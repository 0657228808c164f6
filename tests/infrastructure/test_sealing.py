"""Seals: the chain, the file, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastword import InvalidInput, RunTracker, UnsupportedSchema
from lastword.infrastructure.auditing.seal_files import read_seal, write_seal
from lastword.infrastructure.auditing.sealing import (
    Chain,
    Former,
    Leaf,
    Mark,
    SealedLog,
    compare,
    leaf_of,
    leaves,
)

NOW = datetime(2026, 2, 5, tzinfo=UTC)

positions = st.sets(st.integers(1, 60), max_size=25).map(sorted)
columns = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
)


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[RunTracker]:
    with RunTracker(tmp_path / "runs.db") as tracker:
        for run_id in range(3):
            with tracker.run("import", run_id=run_id):
                pass
        yield tracker


def rows_at(places: list[int]) -> list[tuple[Any, ...]]:
    """Stored rows; only position and run differ."""
    return [(position, f"run-{position}", 1, "RunCreated", b"{}") for position in places]


def sealed(places: list[int], after: int = 0) -> SealedLog:
    """What a seal of these rows says; the part up to `after` is that of an earlier one."""
    chain, start = Chain(), Mark()
    prefixes: list[tuple[int, bytes]] = []
    for leaf in leaves(rows_at(places)):
        chain.add(leaf)
        if leaf.position <= after:
            start = chain.mark
        else:
            prefixes.append((leaf.position, leaf.digest[:4]))
    return SealedLog("id", start, chain.mark, prefixes)


# -- the chain


@given(st.lists(columns, max_size=6), st.lists(columns, max_size=6))
def test_different_rows_have_different_leaves(one: list[Any], other: list[Any]) -> None:
    """Types, lengths and places of columns all count: no two rows look the same to the hash."""
    same = [(type(it), repr(it)) for it in one] == [(type(it), repr(it)) for it in other]
    assert same == (leaf_of(one) == leaf_of(other))


def test_a_leaf_is_what_the_page_on_the_format_says() -> None:
    """Computed here by hand, as another program would."""
    row = (7, "ünï", 1.5, b"\x00\x01", None)
    by_hand = b"".join(
        [
            b"i" + struct.pack(">q", 7),
            b"t" + struct.pack(">Q", 5) + "ünï".encode(),
            b"r" + struct.pack(">d", 1.5),
            b"b" + struct.pack(">Q", 2) + b"\x00\x01",
            b"n",
        ]
    )
    assert hashlib.sha256(by_hand).digest() == leaf_of(row)


@given(positions, positions)
def test_a_comparison_finds_exactly_what_differs(before: list[int], now: list[int]) -> None:
    """Whatever was removed and inserted, the first of it is named, and all of it counted."""
    check, problems = compare(sealed(before), leaves(rows_at(now)), "a.seal")
    end = before[-1] if before else 0
    differs = sorted(set(before) ^ {position for position in now if position <= end})
    assert (differs[0] if differs else None) == check.differs_at
    assert len(set(before) - set(now)) == check.missing
    assert (0, not differs) == (check.changed, check.ok)
    assert [check.differs_at] * bool(differs) == [problem.position for problem in problems]


@given(positions, st.integers(0, 60), st.integers(0, 60))
def test_a_changed_event_is_found_whichever_seal_covers_it(
    places: list[int], after: int, changed: int
) -> None:
    """By the seal that covers it with its position; by a later one with the advice to ask the earlier one."""
    found = [(*row[:1], "x", *row[2:]) if row[0] == changed else row for row in rows_at(places)]
    check, problems = compare(sealed(places, after), leaves(found), "a.seal")
    assert check.ok == (changed not in places)
    if not check.ok and changed > after:
        assert [changed] == [problem.position for problem in problems]
    elif not check.ok:
        assert "earlier seal" in problems[0].remedy


@given(positions, st.data())
def test_vouched_leaves_stand_in_for_events_that_are_gone(
    places: list[int], data: st.DataObject
) -> None:
    """Archived events are not there, erased ones look different; with their leaves the chain is the one that was sealed."""
    archived = data.draw(st.sets(st.sampled_from(places) if places else st.nothing()))
    erased = data.draw(st.sets(st.sampled_from(places) if places else st.nothing()))
    gone = [(row[0], leaf_of(row)) for row in rows_at(places) if row[0] in archived]
    former = {row[0]: Former(row[1], leaf_of(row)) for row in rows_at(places) if row[0] in erased}
    left = [
        (*row[:2], "erased") if row[0] in erased else row
        for row in rows_at(places)
        if row[0] not in archived
    ]
    check, _ = compare(sealed(places), leaves(left, gone, former), "a.seal")
    assert (True, len(archived | erased)) == (check.ok, check.vouched)


def test_a_wrong_voucher_does_not_pass() -> None:
    """Who archives and writes other leaves down is found out."""
    log = sealed([1, 2, 3])
    check, _ = compare(log, leaves(rows_at([1, 3]), [(2, bytes(32))]), "a.seal")
    assert (2, 1) == (check.differs_at, check.changed)


def test_a_leaf_that_begins_like_another_is_told_by_the_chain() -> None:
    """The first bytes agree by accident: where it is cannot be named, that there is something can."""
    log = sealed([1, 2])
    found = list(leaves(rows_at([1, 2])))
    found[1] = Leaf(2, found[1].digest[:4] + bytes(28))
    assert not compare(log, found, "a.seal")[0].ok


# -- the file


@given(positions)
def test_a_seal_comes_back_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, places: list[int]
) -> None:
    """With gaps, without, and empty; and it is JSON that any program reads."""
    path = tmp_path_factory.mktemp("seal") / "a.seal"
    written = write_seal(path, "id", Mark(), leaves(rows_at(places)), NOW)
    read = read_seal(path)
    assert written == read
    assert list(sealed(places).prefixes) == list(read.log.prefixes)
    assert sealed(places).end == read.end
    data = json.loads(path.read_bytes())
    listed = [
        position + number
        for position, text in data["leaves"]
        for number in range(len(base64.b64decode(text)) // 4)
    ]
    assert places == listed
    assert (1, "id", len(places)) == (data["lastword_seal"], data["store_id"], data["events"])


def test_a_long_seal_is_written_in_lines(tmp_path: Path) -> None:
    """So that reading one takes no more memory than one line."""
    path = tmp_path / "a.seal"
    found = (Leaf(number, number.to_bytes(32, "little")) for number in range(1, 10_001))
    write_seal(path, "id", Mark(), found, NOW)
    lines = path.read_bytes().splitlines()
    assert 2 + 3 == len(lines)
    assert max(map(len, lines)) < 25_000
    assert 10_000 == sum(1 for _ in read_seal(path).log.prefixes)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda data: data[: len(data) // 2], "its end is missing"),
        (lambda data: data[:-1], "its end is missing"),
        (lambda data: data.replace(b'"events":9', b'"events":8'), "edited or damaged"),
        (lambda data: data.replace(b'"store_id":"', b'"store_id":"0'), "edited or damaged"),
        (lambda data: data.replace(b"[1,", b"[2,"), "edited or damaged"),
        (lambda data: json.dumps(json.loads(data), indent=1).encode(), "another file"),
        (lambda data: b"", "another file"),
        (lambda data: b"\x00\xff" * 100, "another file"),
        (lambda data: b'{"a": 1}\n', "another file"),
    ],
    ids=["half", "no newline", "number", "store", "position", "indented", "empty", "bytes", "other JSON"],
)  # fmt: skip
def test_a_seal_that_is_not_as_it_was_written_is_refused(
    tracker: RunTracker, tmp_path: Path, edit: Any, said: str
) -> None:
    """Before anything is compared: what it would say cannot be believed."""
    path = tmp_path / "a.seal"
    tracker.seal(path)
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(InvalidInput, match=rf"^seal a\.seal: expected a seal .*{said}"):
        tracker.verify(seal=path)
    with pytest.raises(InvalidInput):
        tracker.seal(tmp_path / "b.seal", after=path)
    assert not (tmp_path / "b.seal").exists()


def test_a_seal_of_a_newer_format_is_named(tracker: RunTracker, tmp_path: Path) -> None:
    """Upgrade, says the error."""
    path = tmp_path / "a.seal"
    tracker.seal(path)
    path.write_bytes(path.read_bytes().replace(b'{"lastword_seal":1', b'{"lastword_seal":2'))
    with pytest.raises(UnsupportedSchema, match="found 2"):
        tracker.verify(seal=path)


def test_the_seal_of_another_store_is_refused(tracker: RunTracker, tmp_path: Path) -> None:
    """Whoever mixes up two stores is told so, not that all events differ."""
    with RunTracker(tmp_path / "other.db") as other:
        seal = other.seal(tmp_path / "other.seal")
    for use in (
        lambda: tracker.verify(seal=seal.path),
        lambda: tracker.seal(tmp_path / "b.seal", after=seal.path),
    ):
        with pytest.raises(InvalidInput, match=f"found one of store {seal.store_id}"):
            use()


def test_a_seal_newer_than_the_store(tracker: RunTracker, tmp_path: Path) -> None:
    """A store from a backup: events are missing, and nothing can be built on that seal."""
    seal = tmp_path / "a.seal"
    tracker.seal(seal)
    fetch = tracker.store.recorder.datastore.fetch  # pyright: ignore[reportAttributeAccessIssue]  # it is SQLite
    fetch("DELETE FROM events WHERE originator_id = '2'")
    fetch("DELETE FROM runs WHERE run_key = '2'")
    with pytest.raises(InvalidInput, match="ends at position 6, found one that covers 9"):
        tracker.seal(tmp_path / "b.seal", after=seal)
    check = tracker.verify(seal=seal).seal
    assert check is not None
    assert (7, 3) == (check.differs_at, check.missing)


@pytest.mark.parametrize("name", ["runs.db", "runs.db-wal", "./runs.db"])
def test_the_store_itself_is_no_seal(tracker: RunTracker, tmp_path: Path, name: str) -> None:
    """It is neither written over nor opened: either would cost more than a wrong answer."""
    for use in (
        lambda: tracker.seal(f"{tmp_path}/{name}"),
        lambda: tracker.verify(seal=f"{tmp_path}/{name}"),
        lambda: tracker.seal(tmp_path / "a.seal", after=f"{tmp_path}/{name}"),
    ):
        with pytest.raises(InvalidInput, match="found the store itself"):
            use()
    assert tracker.verify().ok


def test_a_seal_is_never_written_over(tracker: RunTracker, tmp_path: Path) -> None:
    """It is evidence; a folder that is not there is told, too."""
    seal = tracker.seal(tmp_path / "a.seal")
    before = seal.path.read_bytes()
    with pytest.raises(InvalidInput, match="never written over"):
        tracker.seal(seal.path)
    assert before == seal.path.read_bytes()
    for path in (tmp_path / "no" / "a.seal", tmp_path):
        with pytest.raises(InvalidInput, match="seal "):
            tracker.seal(path)
    with pytest.raises(InvalidInput, match="to read a seal, found: No such file"):
        tracker.verify(seal=tmp_path / "none.seal")


def test_a_seal_that_could_not_be_finished_leaves_no_file(tmp_path: Path) -> None:
    """The store failed half way."""

    def failing() -> Iterator[Leaf]:
        yield Leaf(1, bytes(32))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_seal(tmp_path / "a.seal", "id", Mark(), failing(), NOW)
    assert [] == list(tmp_path.iterdir())


def test_seals_build_on_each_other(tracker: RunTracker, tmp_path: Path) -> None:
    """Each has only what is new, and all of them end with the chain that one seal of everything has."""
    first = tracker.seal(tmp_path / "1.seal")
    with tracker.run("import", run_id="later"):
        pass
    second = tracker.seal(tmp_path / "2.seal", after=first.path)
    empty = tracker.seal(tmp_path / "3.seal", after=second.path)
    whole = tracker.seal(tmp_path / "4.seal")
    assert (first.end, 3) == (second.after, second.end.events - first.end.events)
    assert whole.end == second.end == empty.end
    assert 3 == len(list(second.log.prefixes))
    assert [] == list(empty.log.prefixes)
    assert all(tracker.verify(seal=it.path).ok for it in (first, second, empty, whole))
