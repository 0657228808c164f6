"""The page while things happen: nothing is reloaded, nothing is missed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.conftest import Open
from commandline import started
from faults.kit import FaultyStore
from lastword import RunTracker
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.web.serving import Server
from streaming import serving

pytestmark = pytest.mark.xdist_group("browser-live")

JOB = [sys.executable, "-c", "input()"]
"""Work that ends when it is told to."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def tracker(store: Path) -> Iterator[RunTracker]:
    """A process of the application, as it were: not the server's own tracker."""
    with RunTracker(store, progress_interval=0) as tracker:
        yield tracker


@pytest.fixture
def server(store: Path) -> Iterator[Server]:
    with RunTracker(store) as own, serving(own) as server:
        yield server


def live(page: Page) -> None:
    """Wait until the page says that it is fresh."""
    expect(page.locator("#connection")).to_have_text("Live")


def row(page: Page, run_id: object) -> str:
    return f'tr[data-key="{run_id}"]'


def never_reloaded(page: Page) -> None:
    """From here on a reload would be noticed by `still_the_same`."""
    page.evaluate("window.untouched = true")


def still_the_same(page: Page) -> bool:
    return page.evaluate("window.untouched === true")


def look_again(page: Page) -> None:
    """Come back to the window after having looked at another one; the page is asked for at once."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_run_of_another_process_appears_and_turns_completed(
    store: Path, server: Server, open_page: Open
) -> None:
    """In an empty list, without a reload; its end is said once, and the numbers above the list follow."""
    page = open_page(server.url)
    expect(page.get_by_text("No runs yet")).to_be_visible()
    live(page)
    never_reloaded(page)
    with started(store, "run", "--name", "import", "--run-id", "17", "--", *JOB) as job:
        expect(page.locator(row(page, 17))).to_contain_text("running")
        assert job.stdin is not None
        job.stdin.write(b"\n")
        job.stdin.flush()
        expect(page.locator(row(page, 17))).to_contain_text("completed")
        expect(page.locator("#ended")).to_contain_text("1 run has ended")
        expect(page.locator("#ended")).to_contain_text("the last one was 17")
        assert 0 == job.wait(20)
    expect(page.get_by_role("link", name="1 completed")).to_be_visible()
    assert still_the_same(page)


def test_a_server_that_was_away_leaves_no_gap(
    store: Path, tracker: RunTracker, open_page: Open
) -> None:
    """It is stopped and started again; what ended meanwhile is told, each run once, and the page was never reloaded."""
    for run_id in range(1, 7):
        tracker.create("import", run_id=run_id)
        tracker.start(run_id)
    with RunTracker(store) as own, serving(own) as first:
        page = open_page(first.url)
        live(page)
        never_reloaded(page)
        tracker.complete(1)
        expect(page.locator("#ended")).to_contain_text("1 run has ended")
    expect(page.locator("#connection")).to_contain_text("Live updates paused, reconnecting")
    expect(page.locator("#connection")).to_contain_text("data as of")
    for run_id in (2, 3, 4):
        tracker.complete(run_id)
    tracker.fail(5, "no rows")
    expect(page.locator(row(page, 2))).to_contain_text("running")
    with RunTracker(store) as own, serving(own, port=first.port) as _:
        live(page)
        expect(page.locator(row(page, 5))).to_contain_text("no rows")
        tracker.cancel(6)
        expect(page.locator("#ended")).to_contain_text("6 runs have ended since")
        expect(page.locator("#ended")).to_contain_text("4 completed, 1 failed, 1 cancelled")
        for run_id in (1, 2, 3, 4):
            expect(page.locator(row(page, run_id))).to_contain_text("completed")
        assert still_the_same(page)


def test_a_store_that_is_away_leaves_what_is_known(open_page: Open) -> None:
    """The page says that the store does not answer and as of when it is right; one that begins then heals by itself."""
    faulty = FaultyStore(SQLiteStore(":memory:"))
    with RunTracker(store=faulty) as tracker, serving(tracker) as server:
        tracker.create("import", run_id=1)
        page = open_page(server.url)
        live(page)
        never_reloaded(page)
        faulty.go_down()
        look_again(page)
        expect(page.locator("#connection")).to_contain_text("The store does not answer; data as of")
        expect(page.locator(row(page, 1))).to_contain_text("pending")
        late = open_page(f"{server.url}/runs/1")
        expect(late.get_by_role("heading", level=1)).to_have_text("The store does not answer")
        faulty.come_back()
        tracker.cancel(1)
        live(page)
        expect(page.locator(row(page, 1))).to_contain_text("cancelled")
        assert still_the_same(page)
        expect(late.get_by_role("heading", level=1)).to_contain_text("import")


def test_one_run_is_followed_to_its_last_word(
    tracker: RunTracker, server: Server, open_page: Open
) -> None:
    """Progress, the story, the timeline and the button: all of it follows; what was opened stays open, and focus stays."""
    tracker.create("import", run_id=7)
    tracker.start(7)
    page = open_page(f"{server.url}/runs/7")
    live(page)
    never_reloaded(page)
    page.locator("tr[data-key='1'] summary").click()
    page.get_by_label("Reason").fill("half a reason")
    tracker.progress(7, 3, 10, step="extract")
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("value", "30.0")
    expect(page.get_by_label("Reason")).to_have_value("half a reason")
    expect(page.get_by_label("Reason")).to_be_focused()
    tracker.progress(7, 9, 10, step="load")
    expect(bar).to_have_attribute("value", "90.0")
    expect(page.locator("tr[data-key='1'] details")).to_have_attribute("open", "")
    tracker.complete(7, result={"rows": 12})
    expect(page.locator("#story")).to_contain_text("It completed after")
    expect(page.locator("#ended")).to_have_text("It ended while you were here: completed.")
    expect(page.locator("#payloads")).to_contain_text('"rows": 12')
    expect(page.get_by_role("button", name="Request cancellation")).to_have_count(0)
    assert "import 7: completed – Lastword" == page.title()
    assert still_the_same(page)


def test_new_runs_come_on_top_and_old_ones_leave(
    tracker: RunTracker, server: Server, open_page: Open
) -> None:
    """Rows that stay are the same elements: their focus is not lost."""
    for run_id in range(50):
        tracker.create("import", run_id=run_id)
    page = open_page(server.url)
    live(page)
    page.locator(row(page, 40)).get_by_role("link").first.focus()
    tracker.create("import", run_id=50)
    expect(page.locator("tbody tr[role=row]").first).to_have_attribute("data-key", "50")
    expect(page.locator(row(page, 0))).to_have_count(0)
    assert "/runs/40" == page.evaluate("document.activeElement.getAttribute('href')")
    page.get_by_role("link", name="Older runs").click()
    expect(page.locator(row(page, 0))).to_be_visible()
    live(page)
    tracker.cancel(0)
    expect(page.locator(row(page, 0))).to_contain_text("cancelled")
