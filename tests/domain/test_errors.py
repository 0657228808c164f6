"""The error tree: what each error says, and that it survives a trip to another process."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from lastword.domain import errors
from lastword.domain.errors import (
    CancelledByRequest,
    InvalidInput,
    InvalidTransition,
    LastwordError,
    RunAlreadyActive,
    RunAlreadyExists,
    RunNotFound,
    StoreCorrupt,
    StoreUnavailable,
    UnsupportedSchema,
    VersionConflict,
)

EXAMPLES: list[tuple[LastwordError, str]] = [
    (LastwordError("anything"), "anything"),
    (InvalidInput("tags: expected a mapping"), "tags: expected a mapping"),
    (
        RunNotFound(17),
        (
            "run 17: expected to find it, but the store has no run with this id;"
            " `lastword list` shows what it has"
        ),
    ),
    (
        RunAlreadyExists("a", "other params"),
        (
            "run a: expected a new id or the same content, but it exists with other params;"
            " choose another id, or leave run_id out to get a fresh one"
        ),
    ),
    (
        RunAlreadyActive(18, "import", 17),
        (
            "run 18: expected no active run with the exclusive key 'import', but run 17 holds it;"
            " wait for its end, or `lastword cancel 17`"
        ),
    ),
    (
        InvalidTransition(17, "pending", "completed", "start it first"),
        "run 17: cannot go from pending to completed; start it first",
    ),
    (
        VersionConflict(17, 3, 5),
        "run 17: expected version 3, found version 5; somebody else wrote first: read it again",
    ),
    (
        VersionConflict(17, 3),
        "run 17: expected version 3, found another; somebody else wrote first: read it again",
    ),
    (StoreUnavailable("the store is locked"), "the store is locked"),
    (StoreUnavailable("the file is read-only", transient=False), "the file is read-only"),
    (StoreCorrupt("not a store"), "not a store"),
    (
        UnsupportedSchema("event RunCompleted", 3, 2),
        (
            "event RunCompleted: expected schema version 2 or older, found 3,"
            " written by a newer release; upgrade lastword here"
        ),
    ),
]


def _classes() -> set[type[LastwordError]]:
    public = {value for value in vars(errors).values() if isinstance(value, type)}
    return {kind for kind in public if issubclass(kind, LastwordError)}


@pytest.mark.parametrize(("error", "message"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_the_message_says_run_expected_found_and_remedy(error: LastwordError, message: str):
    """These words are public; scripts and people look for them. None of them is in quotes."""
    assert message == str(error)


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    "travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy]
)
def test_an_error_survives_pickle_and_copy(error: LastwordError, travel):
    """A worker process can raise it and the parent sees the same."""
    arrived = travel(error)
    assert type(error) is type(arrived)
    assert (str(error), vars(error)) == (str(arrived), vars(arrived))


def test_every_class_has_an_example_here():
    """A new error is missing here."""
    assert _classes() == {type(error) for error, _ in EXAMPLES}


def test_the_tree_in_the_docstring_has_every_class():
    """The drawing at the top of the module is complete and has nothing else."""
    drawn = set(re.findall(r"\|-- (\w+)|`-- (\w+)", errors.__doc__ or ""))
    assert {kind.__name__ for kind in _classes() - {LastwordError}} == {a or b for a, b in drawn}


def test_every_error_hangs_below_the_root():
    """One `except LastwordError` catches all of them."""
    assert {LastwordError} == {kind.__mro__[1] for kind in _classes() - {LastwordError}}


def test_old_habits_catch_them_as_well():
    """A bad value is a ValueError, an unknown run a KeyError."""
    assert issubclass(InvalidInput, ValueError)
    assert issubclass(RunNotFound, KeyError)


def test_facts_are_attributes():
    """Nobody has to read them out of the message."""
    assert 17 == RunNotFound(17).run_id
    exists = RunAlreadyExists("a", "other params")
    assert ("a", "other params") == (exists.run_id, exists.differs)
    active = RunAlreadyActive(18, "import", 17)
    assert (18, "import", 17) == (active.run_id, active.exclusive, active.active_run_id)
    transition = InvalidTransition(17, "pending", "completed", "start it first")
    assert (17, "pending", "completed") == (
        transition.run_id,
        transition.from_status,
        transition.to_status,
    )
    assert "start it first" == transition.remedy
    conflict = VersionConflict(17, 3, 5)
    assert (17, 3, 5) == (conflict.run_id, conflict.expected, conflict.found)
    schema = UnsupportedSchema("the store", 3, 2)
    assert ("the store", 3, 2) == (schema.what, schema.found, schema.supported)


def test_an_unavailable_store_can_be_tried_again():
    """Always by the caller; at once only when the trouble may pass by itself."""
    assert StoreUnavailable("locked").retryable
    assert StoreUnavailable("locked").transient
    assert not StoreUnavailable("read-only", transient=False).transient


def test_the_way_out_for_cancelled_work_is_not_an_ordinary_error():
    """An `except Exception` in the work must not swallow it."""
    assert issubclass(CancelledByRequest, BaseException)
    assert not issubclass(CancelledByRequest, Exception)
