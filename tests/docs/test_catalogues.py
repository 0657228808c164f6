"""The reference is complete: every event, status, error, setting and name that there is has its line."""

from __future__ import annotations

import re

import lastword
from docs.pages import ROOT
from lastword.domain import errors
from lastword.domain.events import EVENT_TYPES
from lastword.domain.status import FlagReason, RunStatus
from lastword.infrastructure.settings import PREFIX, Settings

REFERENCE = ROOT / "docs" / "reference"

NOT_ON_THE_PAGE_OF_SETTINGS = {
    "token",  # for the HTTP API, which is not there yet
}
DESCRIBED_ELSEWHERE = {
    "RunReader",  # its methods stand under RunTracker
    "RunEvent",  # the base of the events
}


def rows_of(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables that begin with a word in code: that word, and the other cells."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    rows = (
        re.split(r"(?<!\\) \| ", line.strip("| "))
        for line in text.splitlines()
        if line[:3] == "| `"
    )
    return {cells[0].strip("`"): cells[1:] for cells in rows}


def test_every_event_has_its_line_with_all_it_carries() -> None:
    """A field that was added to an event is on the page."""
    rows = rows_of("events.md")
    expected = {event.TOPIC: set(event.model_fields) for event in EVENT_TYPES}
    found = {
        name: set(re.findall(r"\w+", re.sub(r"\([^)]*\)", "", rows[name][0])))
        for name in expected
        if name in rows
    }
    assert expected == found


def test_every_status_and_flag_has_its_line() -> None:
    """A word that can be in an answer is explained."""
    assert {*RunStatus, *FlagReason} <= rows_of("statuses.md").keys()


def test_every_error_has_its_remedy() -> None:
    """An error that callers can get is in the tree, and in the table that says what to do."""
    classes = {
        name
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, errors.LastwordError)
    }
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    assert set() == {name for name in classes if not re.search(rf"{name}\s", text)}
    handled_inside = {"LastwordError", "VersionConflict"}
    assert classes - handled_inside == rows_of("errors.md").keys()


def test_every_setting_has_its_line_with_variable_and_default() -> None:
    """The page says what happens when nobody sets anything."""
    rows = rows_of("settings.md")
    expected = {name: PREFIX + name.upper() for name in Settings.model_fields}
    found = {name: cells[0].strip("`") for name, cells in rows.items()}
    assert {n: v for n, v in expected.items() if n not in NOT_ON_THE_PAGE_OF_SETTINGS} == found
    for name in found:
        default = Settings.model_fields[name].default
        shown = rows[name][1]
        if isinstance(default, bool):
            assert str(default).lower() == shown
        elif default is not None:
            assert default == float(shown)


def test_every_public_name_is_described() -> None:
    """What `from lastword import ...` offers is on the page on Python, or on that of errors."""
    described = set(
        re.findall(r"^::: lastword\.(\w+)$", (REFERENCE / "python.md").read_text(), re.MULTILINE)
    )
    raised = {
        name
        for name in lastword.__all__
        if isinstance(getattr(lastword, name), type)
        and issubclass(getattr(lastword, name), BaseException)
    }
    assert set(lastword.__all__) - raised - DESCRIBED_ELSEWHERE == described
