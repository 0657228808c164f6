"""Old events in today's shape."""

import pytest

from lastword.domain import versioning
from lastword.domain.errors import StoreCorrupt, UnsupportedSchema
from lastword.domain.events import RunEvent
from lastword.domain.versioning import upcast


class Moved(RunEvent):
    """An event whose shape changed twice."""

    TOPIC = "Moved"
    SCHEMA_VERSION = 3


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch):
    """Two upcasts; each leaves its mark."""
    monkeypatch.setitem(versioning.UPCASTS, ("Moved", 1), lambda old: {**old, "second": True})
    monkeypatch.setitem(versioning.UPCASTS, ("Moved", 2), lambda old: {**old, "third": True})


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, {"a": 1, "second": True, "third": True}),
        (2, {"a": 1, "third": True}),
        (3, {"a": 1}),
    ],
)
def test_each_version_takes_the_steps_that_it_lacks(version: int, expected: dict):
    """Steps are taken one by one, in order, and only those that are needed."""
    assert expected == upcast(Moved, {"a": 1}, version)


def test_a_newer_shape_is_refused_by_name():
    """An older release must not guess."""
    with pytest.raises(
        UnsupportedSchema, match=r"^event Moved: expected schema version 3 or older, found 4,"
    ):
        upcast(Moved, {}, 4)


@pytest.mark.parametrize("version", [0, -1, 1])
def test_a_version_that_never_was_is_corrupt(version: int):
    """No step leads from there."""
    with pytest.raises(StoreCorrupt) as caught:
        upcast(Moved, {}, version)
    assert str(caught.value) == (
        f"event Moved: expected schema version 1 to 3, found {version}, which no release wrote;"
        " run `lastword verify`"
    )
