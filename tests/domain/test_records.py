"""Records are what frozen dataclasses with slots are."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from lastword.domain.records import record


@record()
class Point:
    """A value."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list[str])


@record()
class Single:
    """A value of one field."""

    x: int


@record()
class Mixed:
    """One by place, one by name."""

    x: int
    y: int = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Standard:
    """The same, as the standard library makes it."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list[str])


@record(kw_only=True)
class Named:
    """A value that is made by names, and looks at itself."""

    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.strip())


def test_a_record_is_shown_and_taken_apart_as_a_dataclass_is():
    """repr, fields, asdict, replace and match give the same."""
    point: Any = Point(1, tags=["a"])
    standard = Standard(1, tags=["a"])
    assert repr(standard).replace("Standard", "Point") == repr(point)
    assert asdict(standard) == asdict(point)
    assert [item.name for item in fields(standard)] == [item.name for item in fields(point)]
    assert Point(1, 5, ["a"]) == replace(point, y=5)
    match point:
        case Point(x, y):
            assert (1, 2) == (x, y)


def test_two_records_are_equal_when_class_and_fields_are():
    """Another class or another value is another record; equal ones have one hash."""
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(2)
    assert Point(1) != Standard(1)
    assert hash(Named(name="a")) == hash(Named(name=" a "))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(1))


def test_each_record_gets_a_default_of_its_own():
    """A list that one gets is not the other's."""
    one, other = Point(1), Point(1)
    one.tags.append("a")
    assert [] == other.tags


@pytest.mark.parametrize("change", [lambda p: setattr(p, "x", 3), lambda p: delattr(p, "x")])
def test_a_record_never_changes(change: Any):
    """Neither a value nor a new attribute can be set."""
    point = Point(1)
    with pytest.raises(FrozenInstanceError, match="field 'x'"):
        change(point)
    assert not hasattr(point, "__dict__")


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_a_copy_is_equal(again: Any):
    """By copy, deepcopy and pickle; what looks at the fields is not asked again."""
    assert Point(1, tags=["a"]) == again(Point(1, tags=["a"]))
    assert Named(name="a") == again(Named(name="a"))


def test_a_record_of_one_field_is_like_any_other():
    """Its values are one value, not the value itself."""
    one = Single(7)
    assert (one, hash(one)) == (copy.copy(one), hash(Single(7)))
    assert one == pickle.loads(pickle.dumps(one))
    assert Single(8) != one


def test_a_single_field_may_have_to_be_named():
    """The others are given by their place."""
    assert (1, 2) == (Mixed(1, y=2).x, Mixed(1, y=2).y)
    with pytest.raises(TypeError, match="positional"):
        Mixed(1, 2)  # pyright: ignore[reportCallIssue]  # that is the point


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (Point, r"Point.__init__\(\) missing 1 required positional argument: 'x'"),
        (lambda: Named("a"), r"Named.__init__\(\) takes 1 positional argument but 2 were given"),  # pyright: ignore[reportCallIssue]  # it is the test
        (lambda: Point(1, z=3), r"Point.__init__\(\) got an unexpected keyword argument 'z'"),  # pyright: ignore[reportCallIssue]  # it is the test
    ],
)
def test_a_wrong_call_is_refused_by_name(call: Any, says: str):
    """As Python says it of any function."""
    with pytest.raises(TypeError, match=says):
        call()
