"""The completion feed as pages, and the probe of health."""

import sqlite3
from pathlib import Path

import pytest

from browsing import Client, problem
from lastword import RunTracker
from lastword.web import create_app


def test_the_feed_goes_on_where_a_page_ended(run_tracker: RunTracker) -> None:
    """In store order, with links while there is more; the position of the last page leads to what comes later."""
    client = Client(create_app(run_tracker))
    for number in range(5):
        run_tracker.create("import", run_id=number)
        run_tracker.fail(number, "no")
    path, seen, answer = "?limit=2", list[int](), None
    while path:
        answer = client.get(f"/api/completions{path}")
        seen += [item["run_id"] for item in answer.json()["items"]]
        path = answer.links.get("next", {}).get("url")
    assert [0, 1, 2, 3, 4] == seen
    assert answer is not None
    after = answer.json()["next_after"]
    assert {"items": [], "next_after": after} == client.get(
        f"/api/completions?after={after}"
    ).json()
    assert after == client.get("/api/completions?after=latest").json()["next_after"]
    run_tracker.create("import", run_id="x")
    run_tracker.cancel("x")
    (item,) = client.get(f"/api/completions?after={after}").json()["items"]
    expected = {"run_id": "x", "complete": True, "db_status": "cancelled"}
    assert {**expected, "position": run_tracker.get("x").position} == item


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", f"after={2**63}", "limit=0", "limit=1001", "x=1"]
)
def test_a_place_that_cannot_be_is_refused(run_tracker: RunTracker, query: str) -> None:
    """Before the store is asked."""
    client = Client(create_app(run_tracker))
    assert (422, "invalid-input") == problem(client.get(f"/api/completions?{query}"))


def test_health_is_what_the_store_says(tmp_path: Path) -> None:
    """200 with what waits in the spool; 503 when the store cannot be read."""
    path = tmp_path / "runs.db"
    with RunTracker(path, retry_attempts=1, retry_budget=0.1, heartbeat=3600) as tracker:
        client = Client(create_app(tracker, token="a-token-that-is-long-enough"))
        tracker.create("import", run_id=1)
        healthy = {"status": "ok", "spool_pending": 0, "spool_set_aside": 0}
        assert healthy == client.get("/healthz").json()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        tracker.start(1)
        assert {**healthy, "spool_pending": 1} == client.get("/healthz").json()
        other.execute("ROLLBACK")
        other.close()
        tracker.store.close()
        answer = client.get("/healthz")
        assert (503, "store-unavailable") == problem(answer)
        assert 1 == answer.json()["spool_pending"]
