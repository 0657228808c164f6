"""What people do: by keyboard alone, and without a script."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from browser.conftest import Open
from lastword import RunTracker
from lastword.infrastructure.web.serving import Server
from streaming import serving

pytestmark = pytest.mark.xdist_group("browser-live")


@pytest.fixture
def tracker() -> Iterator[RunTracker]:
    with RunTracker("sqlite:///:memory:") as tracker:
        yield tracker


@pytest.fixture
def server(tracker: RunTracker) -> Iterator[Server]:
    with serving(tracker) as server:
        yield server


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus is called like that; it must be seen to have it."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).innerText.trim()").startswith(name):  # fmt: skip
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert "solid" == outline
            return
    raise AssertionError(f"no way to {name!r} by keyboard")


def test_a_run_is_found_and_cancelled_by_keyboard_alone(
    tracker: RunTracker, server: Server, open_page: Open
) -> None:
    """From the list to the run, to the reason, to the button; the page that comes back says that it was asked to stop."""
    tracker.create("import", run_id="a/b")
    tracker.start("a/b")
    page = open_page(server.url)
    tab_to(page, "import a/b")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/a%2Fb")
    tab_to(page, "Reason")
    page.keyboard.type("wrong month")
    tab_to(page, "Request cancellation")
    page.keyboard.press("Space")
    expect(page.get_by_text("It was asked to stop")).to_have_count(2)
    expect(page.locator("#story")).to_contain_text("wrong month")
    expect(page.get_by_role("button", name="Request cancellation")).to_have_count(0)
    assert tracker.get("a/b").cancel_requested_at is not None


def test_the_first_stop_leads_past_the_header(
    tracker: RunTracker, server: Server, open_page: Open
) -> None:
    """It is hidden until it has the focus."""
    tracker.create("import", run_id=1)
    page = open_page(server.url)
    skip = page.get_by_role("link", name="Skip to the runs")
    expect(skip).not_to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert "main" == page.evaluate("document.activeElement.id")


def test_everything_works_without_a_script(
    tracker: RunTracker, server: Server, open_page: Open
) -> None:
    """Filters, pages, finding a run, cancelling it; the page says as of when it is right."""
    for run_id in range(60):
        tracker.create("import" if run_id % 2 else "export", run_id=run_id)
    page = open_page(server.url, java_script_enabled=False)
    expect(page.locator("#connection")).to_contain_text("As of")
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Name").fill("export")
    page.get_by_role("checkbox", name="pending").check()
    page.get_by_label("Created since").fill("2h")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**/?status=pending&name=export&tag=&since=2h&until=&flagged=")
    expect(page.locator("tr[data-key]")).to_have_count(30)
    page.get_by_role("link", name="60 all").click()
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name="Older runs").click()
    expect(page.locator("tr[data-key]")).to_have_count(10)
    page.get_by_label("Find a run").fill("59")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("import 59")
    page.get_by_role("button", name="Request cancellation").click()
    expect(page.locator(".run-status")).to_have_text("cancelled")
    assert "cancelled" == tracker.get(59).status


def test_a_session_is_all_that_a_browser_needs(tracker: RunTracker, open_page: Open) -> None:
    """Signed in, the page lives like any other: its stream and its requests carry the cookie. Signed out, it is gone."""
    tracker.create("import", run_id=1)
    with serving(tracker, token=SecretStr("a-token-for-this-test-only")) as server:
        page = open_page(server.url)
        page.get_by_label("Token").fill("a-token-for-this-test-only")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#connection")).to_have_text("Live")
        tracker.cancel(1)
        expect(page.locator("tr[data-key='1']")).to_contain_text("cancelled")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.goto(server.url)
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_what_is_printed_has_no_buttons(
    tracker: RunTracker, server: Server, open_page: Open
) -> None:
    """The story, the timeline and the events are on the paper; what one can press is not."""
    tracker.create("import", run_id=1)
    page = open_page(f"{server.url}/runs/1")
    page.emulate_media(media="print")
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    expect(page.get_by_role("img", name="Timeline")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
