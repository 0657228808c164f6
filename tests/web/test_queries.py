"""Questions over HTTP: the list and its pages, one run, histories, flags, counts."""

import pytest

from browsing import Client, problem
from lastword import RunTracker
from lastword.testing import RunClock
from lastword.web import create_app


@pytest.fixture
def client(run_tracker: RunTracker) -> Client:
    return Client(create_app(run_tracker))


def test_a_run_is_what_python_sees(run_tracker: RunTracker, client: Client) -> None:
    """The JSON of one run is that of its view, and its id has the type it was created with."""
    run_tracker.create("import", run_id=17, params={"folder": "in"}, tags={"team": "data"})
    answer = client.get("/api/runs/17")
    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    assert run_tracker.get(17).model_dump(mode="json") == answer.json()
    assert 17 == answer.json()["run_id"]


@pytest.mark.parametrize(
    ("run_id", "path"),
    [
        ("a/b", "a%2Fb"),
        ("a/events", "a%2Fevents"),
        ("x%2Fy", "x%252Fy"),
        ("two words", "two%20words"),
        ("läuft-✓", "l%C3%A4uft-%E2%9C%93"),
        ("?a=b#c", "%3Fa%3Db%23c"),
        ("1", "1"),
    ],
)
def test_any_id_can_stand_in_a_path(
    run_tracker: RunTracker, client: Client, run_id: str, path: str
) -> None:
    """Percent-encoded, also with slashes, also when it ends like another route."""
    run_tracker.create("import", run_id=run_id)
    assert run_id == client.get(f"/api/runs/{path}").json()["run_id"]
    (event,) = client.get(f"/api/runs/{path}/events").json()
    assert (run_id, "RunCreated") == (event["run_id"], event["type"])


def test_an_unknown_run_is_a_problem_that_names_it(client: Client) -> None:
    """404, with the id in a member of its own."""
    answer = client.get("/api/runs/nobody")
    assert (404, "run-not-found") == problem(answer)
    assert "nobody" == answer.json()["run_id"]


def test_pages_follow_each_other_by_their_links(run_tracker: RunTracker, client: Client) -> None:
    """The Link header keeps the filters; new runs shift nothing; the last page has no link."""
    for number in range(5):
        run_tracker.create("import", run_id=number, tags={"team": "data"})
    run_tracker.create("export", run_id=99)
    seen: list[int] = []
    path = "/api/runs?name=import&tag=team:data&limit=2"
    while path:
        answer = client.get(path)
        seen += [item["run_id"] for item in answer.json()["items"]]
        run_tracker.create("import", run_id=f"new-{len(seen)}")
        following = answer.links.get("next", {}).get("url")
        assert (following is None) == (answer.json()["next_cursor"] is None)
        path = f"/api/runs{following}" if following else None
    assert [4, 3, 2, 1, 0] == seen


def test_filters_are_those_of_python(
    run_tracker: RunTracker, client: Client, run_clock: RunClock
) -> None:
    """Status, flag, tags and times."""
    for number, name in enumerate(["import", "export", "import"]):
        run_tracker.create(name, run_id=number, tags={"n": str(number)})
        run_clock.advance(seconds=60)
    run_tracker.fail(1, "no")
    for query, expected in [
        ("status=failed", [1]),
        ("status=failed&status=pending", [2, 1, 0]),
        ("name=import", [2, 0]),
        ("tag=n:2", [2]),
        ("tag=n:2&tag=n:2", [2]),
        ("flagged=true", []),
        ("flagged=false", [2, 1, 0]),
    ]:
        answer = client.get(f"/api/runs?{query}")
        assert expected == [item["run_id"] for item in answer.json()["items"]], query
    since = run_tracker.get(1).created_at
    for name, expected in (("since", [2, 1]), ("until", [0])):
        answer = client.ask("GET", "/api/runs", params={name: since.isoformat()})
        assert expected == [item["run_id"] for item in answer.json()["items"]], name


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=1001", "limit=x", "status=done", "stauts=failed", "cursor=nonsense", "tag=team",
        "tag=:x", "tag=a:1&tag=a:2", "since=2026-02-05T22:00:00", "flagged=perhaps", "name=a&name=b&x=1",
    ],
)  # fmt: skip
def test_a_query_that_means_nothing_is_refused(client: Client, query: str) -> None:
    """A misspelt filter must not widen the answer in silence."""
    assert (422, "invalid-input") == problem(client.get(f"/api/runs?{query}"))


@pytest.mark.parametrize(
    "path", ["/api/runs/1", "/api/counts", "/api/flagged", "/api/runs/1/events"]
)
def test_parameters_that_nobody_reads_are_refused(
    run_tracker: RunTracker, client: Client, path: str
) -> None:
    """The problem says which parameters there are."""
    run_tracker.create("import", run_id=1)
    answer = client.get(f"{path}?verbose=1")
    assert (422, "invalid-input") == problem(answer)
    assert "verbose" == answer.json()["found"]


def test_flags_and_counts(run_tracker: RunTracker, client: Client, run_clock: RunClock) -> None:
    """Flagged runs come with the reason; every status has a number."""
    run_tracker.create("import", run_id=1)
    assert [] == client.get("/api/flagged").json()
    with RunTracker(store=run_tracker.store, clock=run_clock, start_timeout=30) as impatient:
        run_clock.advance(seconds=60)
        (flagged,) = Client(create_app(impatient)).get("/api/flagged").json()
    assert (1, "never_started") == (flagged["run_id"], flagged["flag"]["reason"])


def test_an_entity_tag_saves_the_body(run_tracker: RunTracker, client: Client) -> None:
    """304 while nothing has changed, also for a list and for weak or several tags; 200 with another tag afterwards."""
    run_tracker.create("import", run_id=1)
    for path in ("/api/runs/1", "/api/runs"):
        tag = client.get(path).headers["etag"]
        for given in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            answer = client.get(path, if_none_match=given)
            assert (304, b"", tag) == (answer.status_code, answer.content, answer.headers["etag"])
    tag = client.get("/api/runs/1").headers["etag"]
    run_tracker.start(1)
    answer = client.get("/api/runs/1", if_none_match=tag)
    assert (200, "running") == (answer.status_code, answer.json()["status"])
    assert tag != answer.headers["etag"]


def test_paths_and_methods_that_do_not_exist_are_problems(client: Client) -> None:
    """Also where no route of the API is reached."""
    assert (404, "blank") == problem(client.get("/api/nothing"))
    answer = client.ask("DELETE", "/api/runs/1")
    assert (405, "blank") == problem(answer)
    assert "GET" == answer.headers["allow"]
