"""The pages as HTML: what stands in them, and what never does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from browsing import Client
from faults.kit import FaultyStore
from html_pages import Page
from lastword import RunTracker, StoreUnavailable
from lastword.domain.values import Owner
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.web.pages.overview import Kept
from lastword.infrastructure.web.pages.run_page import EVENTS_SHOWN
from lastword.testing import START, RunClock
from lastword.web import create_app

HOSTILE = """"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}&lt;'"""


@pytest.fixture
def client(run_tracker: RunTracker) -> Client:
    return Client(create_app(run_tracker))


def owner(pid: int = 17) -> Owner:
    """A process on another host, so that nobody here can say whether it is alive."""
    return Owner(host="gpu-1", pid=pid, started_at=START)


# -- the list


def test_an_empty_store_says_how_to_begin(client: Client) -> None:
    """No table, no chart, no filter: one example in each language."""
    page = Page(client.get("/"))
    assert "No runs yet" in page.text
    assert "lastword run --name nightly" in page.text
    assert [] == page.all("table") == page.all("svg", role="img")


def test_the_list_is_newest_first_with_a_way_to_older_runs(
    run_tracker: RunTracker, run_clock: RunClock, client: Client
) -> None:
    """Fifty on a page; the link keeps the filters; the last page says that it is the last."""
    for number in range(70):
        run_tracker.create("import" if number % 7 else "export", run_id=number)
        run_clock.advance(seconds=1)
    first = Page(client.get("/?name=import"))
    expected = [str(number) for number in range(69, -1, -1) if number % 7]
    assert expected[:50] == first.rows()
    (older,) = first.all("a", rel="next")
    assert older["href"] is not None
    assert older["href"].startswith("/?name=import&cursor=")
    second = Page(client.get(older["href"]))
    assert expected[50:] == second.rows()
    assert [] == second.all("a", rel="next")
    assert "These are the oldest." in second.text


def test_filters_narrow_the_list_without_a_script(run_tracker: RunTracker, client: Client) -> None:
    """What the form sends is what the address bar shows."""
    run_tracker.create("import", run_id=1, tags={"team": "data", "env": "test"})
    run_tracker.create("import", run_id=2, tags={"team": "web"})
    run_tracker.cancel(2)
    for query, expected in (
        ("?status=cancelled&name=&tag=&since=&until=&flagged=", ["2"]),
        ("?tag=team%3Ddata+env%3Dtest", ["1"]),
        ("?flagged=0", ["2", "1"]),
        ("?flagged=1", []),
        ("?since=1h", ["2", "1"]),
        ("?until=1h", []),
        ("?name=nobody", []),
    ):
        assert expected == Page(client.get(f"/{query}")).rows(), query


def test_a_filter_that_cannot_be_read_is_told_beside_its_field(
    run_tracker: RunTracker, client: Client
) -> None:
    """400, the message, no runs, and what was typed is still there to be repaired."""
    run_tracker.create("import", run_id=1)
    answer = client.get("/?since=yesterday&name=import")
    page = Page(answer)
    assert (400, []) == (answer.status_code, page.rows())
    assert "No runs are shown until the filter can be read." in page.text
    assert "No run matches" not in page.text
    (field,) = page.all("input", name="since")
    assert ("yesterday", "true", "problem-since") == (
        field["value"],
        field["aria-invalid"],
        field["aria-describedby"],
    )
    assert 1 == len(page.all("li", id="problem-since"))
    assert "found 'yesterday'" in page.text


def test_an_empty_answer_says_why(run_tracker: RunTracker, client: Client) -> None:
    """Nothing matches is not the same as nothing is wrong."""
    run_tracker.create("import", run_id=1)
    assert "No run matches" in Page(client.get("/?name=other")).text
    assert "No run is flagged" in Page(client.get("/?flagged=1")).text


def test_a_flag_is_told_in_words(
    run_tracker: RunTracker, run_clock: RunClock, client: Client
) -> None:
    """Which one, and what it rests on; in the list, in the number above it, and on the run's page with the evidence."""
    run_tracker.create("import", run_id=1)
    run_tracker.start(1, owner=owner())
    run_clock.advance(minutes=5)
    listed = Page(client.get("/"))
    assert "Its owner has gone silent." in listed.text
    assert "pid 17 on gpu-1 was last heard of 300 s ago; its lease is 60 s" in listed.text
    shown = Page(client.get("/runs/1"))
    for words in (
        "Its owner has gone silent",
        "This run looks as if it will never end",
        "Flagged since",
        "Last seen",
        "1 m 00 s",
        "process 17 on gpu-1",
        "lastword sweep",
    ):
        assert words in shown.text


def test_a_lost_run_warns_that_nobody_reported_an_outcome(
    run_tracker: RunTracker, run_clock: RunClock, client: Client
) -> None:
    """`status_update_failed`: failed is the tracker's verdict, and the page says so; the real outcome takes the warning away."""
    run_tracker.create("import", run_id=1)
    run_tracker.start(1, owner=owner())
    run_clock.advance(minutes=5)
    run_tracker.sweep()
    assert "Nobody reported an outcome." in Page(client.get("/")).text
    shown = Page(client.get("/runs/1"))
    assert "failed is the tracker’s own verdict" in shown.text
    assert "status_update_failed" in shown.text
    assert "Declared lost" in shown.text
    run_clock.advance(minutes=1)
    run_tracker.complete(1)
    again = Page(client.get("/runs/1"))
    assert "Nobody reported an outcome" not in again.text.replace("Nobody reported an outcome. It was declared lost", "")  # fmt: skip
    assert "its real outcome, came 1 m 00 s later" in again.text


def test_a_contradiction_names_both_outcomes(run_tracker: RunTracker, client: Client) -> None:
    """The last word stands; the other one is told."""
    run_tracker.create("import", run_id=1)
    run_tracker.start(1)
    run_tracker.complete(1)
    run_tracker.fail(1, "too late")
    assert "another outcome was reported later" in Page(client.get("/")).text
    shown = Page(client.get("/runs/1"))
    assert "Two outcomes were reported" in shown.text
    assert "too late" in shown.text


def test_what_waits_in_the_spool_is_told_on_every_page(tmp_path: Path, run_clock: RunClock) -> None:
    """The list says how much waits, and of which runs; the run says that it may have got further."""
    store = tmp_path / "runs.db"
    with RunTracker(store, clock=run_clock, retry_attempts=1, retry_budget=0.1) as tracker:
        client = Client(create_app(tracker))
        for run_id in (1, 2):
            tracker.create("import", run_id=run_id)
            tracker.start(run_id)
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert not tracker.complete(2).stored
            listed = Page(client.get("/"))
            assert "1 event not stored yet" in listed.text
            assert 1 == listed.text.count("Not stored yet:")
            assert "Not all of this run is stored yet" in Page(client.get("/runs/2")).text
            assert "Not all of this run is stored yet" not in Page(client.get("/runs/1")).text
            other.execute("ROLLBACK")
        assert 1 == tracker.deliver_spool()
        assert "Not all of this run" not in Page(Client(create_app(tracker)).get("/runs/2")).text


# -- one run


def test_a_run_is_told_with_everything_that_is_known(
    run_tracker: RunTracker, run_clock: RunClock, client: Client
) -> None:
    """Params, tags, progress, parent, retries, owner, result, and every event in full."""
    run_tracker.create("parent", run_id="p/1")
    run_tracker.create(
        "import", run_id=7, params={"folder": "in"}, tags={"team": "data"}, actor="ada", parent_id="p/1", retry_of=6,
        attempt=2, exclusive="key", correlation_id="req-9",
    )  # fmt: skip
    run_tracker.start(7, owner=owner())
    run_clock.advance(seconds=30)
    run_tracker.progress(7, 3, 10, step="extract")
    page = Page(client.get("/runs/7"))
    (bar,) = page.all("progress")
    assert "30.0" == bar["value"]
    for href in ("/runs/p%2F1", "/runs/6", "/?tag=team%3Ddata", "/?name=import"):
        assert page.all("a", href=href), href
    for words in ("3/10 (30%)", "extract", "ada", "req-9", "key", '"folder": "in"', "RunProgressed"):  # fmt: skip
        assert words in page.text, words
    run_tracker.complete(7, result={"rows": 12})
    assert '"rows": 12' in Page(client.get("/runs/7")).text


def test_a_long_history_shows_its_ends(run_tracker: RunTracker, client: Client) -> None:
    """The page stays small, and says how much it leaves out."""
    run_tracker.create("import", run_id=1)
    run_tracker.start(1)
    for number in range(EVENTS_SHOWN + 50):
        run_tracker.progress(1, number)
        run_tracker.beat()
        run_tracker.clock.advance(seconds=2)  # pyright: ignore[reportFunctionMemberAccess]  # it is a RunClock
    events = run_tracker.get(1).version
    page = Page(client.get("/runs/1"))
    shown = [row for row in page.all("tr") if (row.get("data-key") or "").isdecimal()]
    assert EVENTS_SHOWN == len(shown)
    assert f"{events - EVENTS_SHOWN} events between these are not shown" in page.text
    assert str(events) == shown[-1]["data-key"]


def test_the_same_moment_is_for_people_and_for_machines(run_tracker: RunTracker, run_clock: RunClock, client: Client) -> None:  # fmt: skip
    """How long ago, with the exact time in UTC beside it."""
    run_tracker.create("import", run_id=1)
    run_clock.advance(minutes=5)
    (created, *_) = [
        item for item in Page(client.get("/")).all("time") if item["datetime"] == START.isoformat()
    ]
    assert f"{START:%Y-%m-%d %H:%M:%S} UTC" == created["title"]
    assert "5 min ago" in Page(client.get("/")).text


def test_an_unknown_run_is_a_page_that_helps(client: Client) -> None:
    """404, in words."""
    answer = client.get("/runs/nobody")
    assert 404 == answer.status_code
    assert "No run has this id" in Page(answer).text


@pytest.mark.parametrize(
    ("typed", "status", "address"),
    [
        ("import-17", 303, "/runs/import-17"),
        ("17", 303, "/runs/import-17"),
        ("import", 300, None),
        ("", 404, None),
        ("nobody", 404, None),
        ("..", 200, None),
    ],
)
def test_a_run_is_found_by_a_piece_of_its_id(
    run_tracker: RunTracker, client: Client, typed: str, status: int, address: str | None
) -> None:
    """One: there it goes. Several: they are named. An id that a browser would take for a way up has an address, too."""
    for run_id in ("import-17", "import-18", ".."):
        run_tracker.create("import", run_id=run_id)
    answer = client.ask("GET", "/runs/", params={"id": typed})
    assert (status, address) == (answer.status_code, answer.headers.get("location"))
    if status == 300:
        page = Page(answer)
        assert page.all("a", href="/runs/import-17")
        assert page.all("a", href="/runs/import-18")
    if typed == "..":
        assert {"value": "..", "type": "hidden", "name": "id"} in Page(answer).all("input")


# -- whatever people write


@pytest.mark.parametrize("run_id", [HOSTILE, "a/b", "../..", "läuft-✓", "a b?c#d%2F", "x" * 200])  # fmt: skip
def test_nothing_that_people_write_becomes_markup(
    run_tracker: RunTracker, run_clock: RunClock, client: Client, run_id: str
) -> None:
    """Ids, names, tags, steps, errors, reasons, params: all of it stays text, and every link leads where it says."""
    run_tracker.create(
        HOSTILE, run_id=run_id, tags={HOSTILE: HOSTILE}, params={HOSTILE: HOSTILE}, actor=HOSTILE, correlation_id=HOSTILE, exclusive=HOSTILE,
        parent_id=HOSTILE, retry_of=HOSTILE,
    )  # fmt: skip
    run_tracker.start(run_id, owner=Owner(host=HOSTILE, pid=1, started_at=START))
    run_tracker.progress(run_id, 1, 2, step=HOSTILE, message=HOSTILE)
    run_clock.advance(minutes=10)
    flagged = [client.get("/"), client.ask("GET", "/runs/", params={"id": run_id})]
    run_tracker.fail(run_id, HOSTILE)
    run_tracker.cancel(run_id, reason=HOSTILE)
    (row,) = Page(client.get("/")).all("a", href=flagged[1].headers["location"])
    address = row["href"]
    assert address is not None
    answers = [flagged[0], client.get("/"), client.get(address), client.ask("GET", "/", params={"name": HOSTILE, "tag": HOSTILE, "since": HOSTILE})]  # fmt: skip
    for answer in answers:
        page = Page(answer)
        assert HOSTILE in page.text or run_id in page.text
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            assert tag not in {"img", "iframe", "style", "object", "base"}
            if tag == "script":
                assert "/static/live.js" == attributes["src"]
            for name in ("href", "src", "action"):
                assert (attributes.get(name) or "/").startswith(("/", "#"))
        assert "49" not in page.text.replace("490", "") or "{{7*7}}" in page.text


def test_an_error_page_holds_no_path_and_no_secret(tmp_path: Path) -> None:
    """What went wrong is told without where the store lies."""
    store = tmp_path / "runs.db"
    with RunTracker(store) as tracker:
        client = Client(create_app(tracker))
        tracker.create("import", run_id=1)
        with closing(sqlite3.connect(store)) as other, other:
            other.execute("DROP TABLE runs")
        for path in ("/", "/runs/1"):
            answer = client.get(path)
            assert answer.status_code in (500, 503)
            assert str(tmp_path) not in answer.text
            assert "Traceback" not in answer.text


def test_a_store_that_is_away_has_a_page_of_its_own() -> None:
    """503 with Retry-After, on every page; it tries again, with a script or without."""
    store = FaultyStore(SQLiteStore(":memory:"))
    with RunTracker(store=store) as tracker:
        tracker.create("import", run_id=1)
        client = Client(create_app(tracker))
        store.go_down()
        for path in ("/", "/runs/1", "/runs/?id=1"):
            answer = client.get(path)
            page = Page(answer)
            assert (503, "5") == (answer.status_code, answer.headers["retry-after"])
            assert "The store does not answer" in page.text
            assert page.all("meta", content="5")
            assert page.all("script", src="/static/live.js")
        store.come_back()
        assert 200 == client.get("/").status_code


# -- how much is asked


def test_a_page_asks_a_fixed_number_of_questions() -> None:
    """However many runs there are; of two who look at once, the second asks for nothing but the runs."""
    store = FaultyStore(SQLiteStore(":memory:"))
    with RunTracker(store=store) as tracker:
        for run_id in range(60):
            tracker.create("import", run_id=run_id)
            tracker.start(run_id, owner=owner())
        client = Client(create_app(tracker))
        for path, expected in (
            ("/", ["counts", "last_position", "query", "query", "tally"]),
            ("/", ["last_position", "query"]),
            ("/runs/1", ["last_position", "read_run", "view"]),
        ):
            store.calls.clear()
            assert 200 == client.get(path).status_code
            assert expected == sorted(store.calls)


def test_an_answer_is_kept_for_a_while() -> None:
    """Errors, too: those who wait for a store that is away do not try it one after the other. A clock that is set back ends it."""
    now = 100.0
    answers: list[int | Exception] = [1, StoreUnavailable("away"), 2, 3]

    def fetch() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    kept = Kept(1.0, fetch, lambda: now)
    assert (1, 1) == (kept(), kept())
    now = 101.0
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="away"):
            kept()
    now = 102.0
    assert (2, 2) == (kept(), kept())
    now = 50.0
    assert 3 == kept()


def test_what_takes_long_is_asked_less_often() -> None:
    """Fetching takes a tenth of the time at the most."""
    now = 0.0
    fetched: list[float] = []

    def fetch() -> int:
        nonlocal now
        fetched.append(now)
        now += 2.0
        return len(fetched)

    kept = Kept(1.0, fetch, lambda: now)
    while now < 60:
        kept()
        now += 0.5
    assert [0.0, 20.0, 40.0] == fetched
