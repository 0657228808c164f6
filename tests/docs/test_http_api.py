"""The page on the HTTP API says what the OpenAPI document says; the page on security names tests that exist."""

import re
from pathlib import Path

from docs.http_api import PAGE, page
from lastword import RunTracker, RunView
from lastword.infrastructure.web.api.examples import EVENT, RUN
from lastword.infrastructure.web.api.runs import RecordedEventModel

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_document_says() -> None:
    """A route, parameter, member, status or problem that was added is on the page; tests/docs/http_api.py writes it anew."""
    assert page().splitlines() == PAGE.read_text(encoding="utf-8").splitlines()


def test_the_examples_of_the_document_are_what_is_answered() -> None:
    """Every member of a run and of an event, no other, and each of its type."""
    assert set(RUN) == set(RunView.model_fields)
    RunView.model_validate(RUN)
    assert set(EVENT) == set(RecordedEventModel.model_fields)
    with RunTracker("sqlite:///:memory:") as tracker:
        (recorded,) = tracker.history(tracker.create("import"))
    assert set(EVENT) == set(recorded.as_json())


def test_every_test_that_the_security_page_names_exists() -> None:
    """Whoever renames one renames it there; whoever adds one to test_security.py says there what it tries."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", text))
    written = {
        (file.name, name)
        for file in (ROOT / "tests" / "web").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 20
    assert set() == named - written
    helpers = {
        "test_the_token_opens", "test_the_names_of_this_machine_are_answered",
        "test_beyond_the_loopback_the_own_address_and_named_hosts_are_answered",
        "test_a_length_that_is_no_number_is_refused",
    }  # fmt: skip
    attempts = {name for file, name in written if file == "test_security.py"}
    assert helpers == attempts - {name for _, name in named}
