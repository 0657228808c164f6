"""Every state that the pages can be in: reachable for everybody, in light and in dark, on a small screen, whatever people wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pydantic import SecretStr

from browser.conftest import Open, windows
from faults.kit import FaultyStore
from lastword import RunTracker
from lastword.domain.values import Owner
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.web.serving import Server
from lastword.testing import START, RunClock
from streaming import serving

pytestmark = pytest.mark.xdist_group("browser-states")

HOSTILE = """"><script>window.broken = true</script><img src=x onerror="window.broken = true">"""
LONG = "unbreakable" * 18
WIDE: ViewportSize = {"width": 1280, "height": 900}
NARROW: ViewportSize = {"width": 360, "height": 740}


class Servers(NamedTuple):
    """One for each kind of state."""

    full: Server
    empty: Server
    away: Server
    closed: Server
    waiting: Server


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """With runs of every kind; with none; with a store that does not answer; with a token; with a spool that is not empty."""
    clock = RunClock()
    away = FaultyStore(SQLiteStore(":memory:"))
    full_up = FaultyStore(SQLiteStore(tmp_path_factory.mktemp("spool") / "runs.db"))
    memory = "sqlite:///:memory:"
    with (
        RunTracker(memory, clock=clock, progress_interval=0) as full,
        RunTracker(memory) as empty,
        RunTracker(store=away) as broken,
        RunTracker(store=full_up, retry_attempts=1, retry_budget=0.1) as spooling,
        serving(full) as one,
        serving(empty) as two,
        serving(broken) as three,
        serving(empty, token=SecretStr("a-token-for-this-test-only")) as four,
        serving(spooling) as five,
    ):
        populate(full, clock)
        away.go_down()
        spooling.create("import", run_id=1)
        spooling.start(1)
        full_up.fail("append", times=1_000)
        assert not spooling.complete(1).stored
        yield Servers(one, two, three, four, five)
        away.come_back()


def populate(tracker: RunTracker, clock: RunClock) -> None:
    """A run for each thing that a page can say."""
    owner = Owner(host="gpu-1", pid=17, started_at=START)
    for run_id in ("lost", "corrected", "contradicted"):
        tracker.create("import", run_id=run_id, actor="cron")
        tracker.start(run_id, owner=owner)
        tracker.progress(run_id, 3, 10, step="extract")
    tracker.complete("contradicted")
    tracker.fail("contradicted", "too late")
    clock.advance(minutes=5)
    tracker.sweep()
    clock.advance(minutes=1)
    tracker.complete("corrected", result={"rows": 12})
    try:
        raise ValueError("no rows in " + LONG)
    except ValueError as error:
        tracker.create("export", run_id="failed", params={"folder": LONG})
        tracker.start("failed", owner=owner)
        tracker.fail("failed", error, with_traceback=True)
    tracker.create("export", run_id="cancelled")
    tracker.cancel("cancelled", reason="wrong month", actor="ada")
    for name, words in (("hostile", HOSTILE), ("long", LONG)):
        tracker.create(
            words[:200], run_id=f"{name}/{words}"[:200], actor=words[:200], tags={words[:200]: words[:200], "team": "data"}, params={words: words},
            parent_id=words[:200], retry_of="failed", attempt=2, correlation_id=words[:200], exclusive=words[:200],
        )  # fmt: skip
        run_id = tracker.list(limit=1)[0].run_id
        tracker.start(run_id, owner=Owner(host=words, pid=1, started_at=START))
        tracker.progress(run_id, 1, 3, step=words, message=words)
        tracker.request_cancel(run_id, reason=words)
    tracker.create("train", run_id="flagged", tags={"team": "ml"})
    tracker.start("flagged", owner=owner)
    clock.advance(minutes=10)
    tracker.create("newsletter", run_id="pending")
    tracker.create("reindex", run_id="running", deadline=clock.now.resolution * 60_000_000)
    tracker.start("running", owner=owner)
    tracker.progress("running", 288_400, 510_000, step="write segments")
    clock.advance(seconds=30)


STATES = {
    "list": ("full", "/"),
    "filtered": ("full", "/?status=failed&name=export"),
    "misread filter": ("full", "/?since=yesterday&flagged=perhaps"),
    "nothing matches": ("full", "/?name=nobody"),
    "flagged": ("full", "/runs/flagged"),
    "lost": ("full", "/runs/lost"),
    "corrected": ("full", "/runs/corrected"),
    "contradicted": ("full", "/runs/contradicted"),
    "failed": ("full", "/runs/failed"),
    "pending": ("full", "/runs/pending"),
    "running": ("full", "/runs/running"),
    "hostile": ("full", "/runs/?id=hostile"),
    "long": ("full", "/runs/?id=long"),
    "unknown": ("full", "/runs/nobody"),
    "several": ("full", "/runs/?id=c"),
    "empty": ("empty", "/"),
    "away": ("away", "/"),
    "sign in": ("closed", "/"),
    "not all stored": ("waiting", "/"),
    "not stored": ("waiting", "/runs/1"),
}


@pytest.fixture(scope="module")
def window(browser: Browser, servers: Servers) -> Iterator[Page]:
    """One window for all states: a window of its own for each would take longer than all that is looked at in it."""
    with windows(browser) as opened:
        yield opened(servers.empty.url)


@pytest.mark.parametrize("state", STATES)
def test_everybody_can_use_it(servers: Servers, window: Page, state: str) -> None:
    """axe finds nothing, in light and in dark; nothing sticks out at 360 pixels; nothing that people wrote was run."""
    which, path = STATES[state]
    window.set_viewport_size(WIDE)
    window.emulate_media(color_scheme="light")
    window.goto(getattr(servers, which).url + path)
    window.evaluate(
        "document.querySelectorAll('main details').forEach((one) => { one.open = true; })"
    )
    assert [] == faults_of(window)
    window.emulate_media(color_scheme="dark")
    assert [] == faults_of(window, only=["color-contrast", "link-in-text-block"])
    window.set_viewport_size(NARROW)
    assert 360 == window.evaluate("document.documentElement.scrollWidth")
    assert [] == too_wide(window)
    assert window.evaluate("window.broken") is None


def faults_of(page: Page, only: list[str] | None = None) -> list[str]:
    """What axe finds: rule, impact and the first element."""
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = only
    if not page.evaluate("'axe' in window"):
        page.evaluate(f"{AXE_SCRIPT};0")
    found = page.evaluate(
        "async (options) => (await axe.run(document, options)).violations", options
    )
    return [f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:200]}" for v in found]


def too_wide(page: Page) -> list[str]:
    """Elements that reach beyond the right edge, those that scroll by themselves aside."""
    return page.evaluate("""() => [...document.querySelectorAll("main *")]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5 && !one.closest(".scroll, pre, svg, .unseen, thead"))
        .map((one) => one.outerHTML.slice(0, 120))""")


def test_the_page_says_when_it_is_disconnected(open_page: Open) -> None:
    """Also that state has its contrast and its words."""
    with RunTracker("sqlite:///:memory:") as tracker:
        tracker.create("import", run_id=1)
        with serving(tracker) as server:
            page = open_page(server.url)
            expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#connection")).to_contain_text("Live updates paused, reconnecting")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]  # one of the two
            assert [] == faults_of(page)


def test_a_flagged_run_says_why(servers: Servers, open_page: Open) -> None:
    """In the list and on its page, in words and with the evidence."""
    page = open_page(servers.full.url)
    row = page.locator("tr[data-key=flagged]")
    expect(row).to_contain_text("Its owner has gone silent.")
    expect(row).to_contain_text("pid 17 on gpu-1 was last heard of 630 s ago; its lease is 60 s")
    row.get_by_role("link", name="train").click()
    notice = page.get_by_role("region", name="Its owner has gone silent")
    for words in ("This run looks as if it will never end", "Flagged since", "Last seen", "Lease", "1 m 00 s", "process 17 on gpu-1"):  # fmt: skip
        expect(notice).to_contain_text(words)


def test_a_run_without_an_outcome_warns(servers: Servers, open_page: Open) -> None:
    """`status_update_failed`: the page does not pass the tracker's verdict off as what the work said."""
    page = open_page(servers.full.url)
    row = page.locator("tr[data-key=lost]")
    expect(row).to_contain_text("Nobody reported an outcome.")
    row.get_by_role("link", name="import").click()
    notice = page.get_by_role("region", name="Nobody reported an outcome")
    for words in ("the tracker’s own verdict", "What the work did is not known", "status_update_failed", "Declared lost"):  # fmt: skip
        expect(notice).to_contain_text(words)
