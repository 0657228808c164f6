"""What a spool file says, line by line."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breaking.lines import new, rechecked
from lastword import RunCompleted, RunEvent
from lastword.domain.errors import UnsupportedSchema
from lastword.infrastructure.spooling.format import (
    Newer,
    Spooled,
    Torn,
    decode_line,
    encode_line,
    parsed,
)
from lastword.projections.ports import NewEvent
from strategies import events, moments, objects, run_ids


@given(run_ids, events, moments, st.none() | st.text(max_size=20), objects)
def test_every_event_survives(
    run_id: int | str, event: RunEvent, when: datetime, actor: str | None, extra: dict[str, object]
) -> None:
    """What is read is what was written, with fields of a newer release, too."""
    unknown = {f"x_{key}": value for key, value in extra.items() if value is not None}
    event = type(event).model_validate({**event.model_dump(), **unknown})
    written = NewEvent("ab" * 16, event, when, actor)
    line = encode_line(Spooled(run_id, written))
    read = decode_line(line[:-1])
    assert isinstance(read, Spooled)
    assert (run_id, type(run_id), written) == (read.run_id, type(read.run_id), read.event)


@given(events, st.data())
def test_a_line_that_is_cut_or_changed_is_torn(event: RunEvent, data: st.DataObject) -> None:
    """Half a line, and a line with one other bit, are told from a whole one."""
    line = encode_line(Spooled(1, new(event)))[:-1]
    cut = data.draw(st.integers(0, len(line) - 1), "cut")
    place, bit = data.draw(st.integers(9, len(line) - 1)), data.draw(st.integers(0, 7))
    flipped = line[:place] + bytes([line[place] ^ 1 << bit]) + line[place + 1 :]
    assert (Torn, Torn) == (type(decode_line(line[:cut])), type(decode_line(flipped)))


@pytest.mark.parametrize(
    ("old", "put"), [(b'"type":"RunCompleted"', b'"type":"RunPaused"'), (b'"v":1', b'"v":2')]
)
def test_an_event_of_a_newer_release_is_not_damage(old: bytes, put: bytes) -> None:
    """An unknown type or a higher version says whose it is, so that it can wait for a release that knows it."""
    line = rechecked(encode_line(Spooled(7, new(RunCompleted()))), old, put)
    found = decode_line(line)
    assert isinstance(found, Newer)
    assert (7, line) == (found.run_id, found.line)


def test_a_whole_line_that_says_nonsense_is_damage() -> None:
    """A right checksum over facts that no release ever wrote."""
    line = encode_line(Spooled(7, new(RunCompleted())))
    nonsense = [(b'"v":1', b'"v":0'), (b'"event":{}', b'"event":[]'), (b'"run_id":7,', b"")]
    assert [Torn] * 3 == [type(decode_line(rechecked(line, old, put))) for old, put in nonsense]


def test_a_file_of_a_newer_shape_is_refused_whole() -> None:
    """Nobody guesses at lines under a header that is not known here."""
    with pytest.raises(UnsupportedSchema, match="spool file: expected schema version 1"):
        list(parsed(b"lastword-spool 2 {}\nwhatever\n"))
