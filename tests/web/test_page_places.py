"""What a page may do and where it may stand: forms, mounting, files."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from browsing import Client
from html_pages import Page
from lastword import RunTracker
from lastword.web import create_app, router


@pytest.fixture
def client(run_tracker: RunTracker) -> Client:
    return Client(create_app(run_tracker))


# -- cancelling


def form(client: Client, headers: dict[str, str], **fields: str) -> httpx.Response:
    return client.ask("POST", "/cancel", data=fields, headers=headers)


OWN = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


def test_a_run_is_cancelled_from_its_page(run_tracker: RunTracker, client: Client) -> None:
    """The form needs no script; afterwards the run's page says so, and offers it no more."""
    run_tracker.create("import", run_id="a/b")
    run_tracker.start("a/b")
    (action,) = Page(client.get("/runs/a%2Fb")).all("form", method="post")
    assert "/cancel" == action["action"]
    answer = form(client, OWN, id="a/b", reason=" wrong month ")
    assert (303, "/runs/a%2Fb") == (answer.status_code, answer.headers["location"])
    (request,) = [item.event for item in run_tracker.history("a/b") if item.type == "CancellationRequested"]  # fmt: skip
    assert "wrong month" == request.model_dump()["reason"]
    page = Page(client.get("/runs/a%2Fb"))
    assert [] == page.all("form", method="post")
    assert "It was asked to stop" in page.text
    run_tracker.complete("a/b")
    assert [] == Page(client.get("/runs/a%2Fb")).all("form", method="post")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost:81", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_form_from_elsewhere_cancels_nothing(
    run_tracker: RunTracker, headers: dict[str, str]
) -> None:
    """Behind the guard of `lastword serve`, and just as well where the router stands alone in somebody's application."""
    run_tracker.create("import", run_id=1)
    app = FastAPI()
    app.include_router(router(run_tracker, pages=True))
    for client in (Client(create_app(run_tracker)), Client(app)):
        answer = form(client, headers, id="1", reason="")
        assert 403 == answer.status_code
    assert "pending" == run_tracker.get(1).status


@pytest.mark.parametrize(("fields", "status"), [({}, 400), ({"id": "nobody"}, 404), ({"id": "x" * 300}, 400)])  # fmt: skip
def test_cancelling_what_is_not_there_is_told(client: Client, fields: dict[str, str], status: int) -> None:  # fmt: skip
    """As a page."""
    answer = form(client, OWN, **fields)
    assert status == answer.status_code
    Page(answer)


def test_a_request_that_is_not_stored_is_told(tmp_path: Path) -> None:
    """It is kept, and will be delivered: neither done nor lost."""
    store = tmp_path / "runs.db"
    with RunTracker(store, retry_attempts=1, retry_budget=0.1) as tracker:
        client = Client(create_app(tracker))
        tracker.create("import", run_id=1)
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = form(client, OWN, id="1")
            other.execute("ROLLBACK")
        assert 202 == answer.status_code
        assert "kept, but not stored yet" in Page(answer).text
        tracker.deliver_spool()
        assert "cancelled" == tracker.get(1).status


# -- signing in

TOKEN = "a-token-for-this-test-only"


def test_a_browser_signs_in_with_the_token(run_tracker: RunTracker) -> None:
    """It is led to the form, gets a cookie that no script reads, and then sees the runs; signing out takes it back."""
    client = Client(create_app(run_tracker, token=TOKEN))
    led = client.get("/", accept="text/html")
    assert (303, "/login") == (led.status_code, led.headers["location"])
    asked = client.get("/login")
    (field,) = Page(asked).all("input", name="token")
    assert "password" == field["type"]
    for path in (element["href"] for element in Page(asked).all("link")):
        assert path is not None
        assert 200 == client.get(path).status_code
    answer = client.ask("POST", "/login", data={"token": TOKEN}, headers=OWN)
    assert (303, "/") == (answer.status_code, answer.headers["location"])
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Max-Age=43200"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    session = cookie.partition(";")[0]
    page = Page(client.get("/", accept="text/html", cookie=session))
    assert "No runs yet" in page.text
    assert ["/logout"] == [form["action"] for form in page.all("form", method="post")]
    gone = client.ask("POST", "/logout", headers={**OWN, "Cookie": session})
    assert (303, "/login") == (gone.status_code, gone.headers["location"])
    assert "Max-Age=0" in gone.headers["set-cookie"]


@pytest.mark.parametrize(
    ("token", "headers", "message"),
    [
        ("", OWN, "This is not the token."),
        (TOKEN + "x", OWN, "This is not the token."),
        (TOKEN, {}, "This form was not sent by this page."),
        (TOKEN, {"Sec-Fetch-Site": "none"}, "This form was not sent by this page."),
    ],
)
def test_a_wrong_token_opens_nothing(run_tracker: RunTracker, token: str, headers: dict[str, str], message: str) -> None:  # fmt: skip
    """And a page elsewhere cannot sign somebody in."""
    client = Client(create_app(run_tracker, token=TOKEN))
    answer = client.ask("POST", "/login", data={"token": token}, headers=headers)
    assert 403 == answer.status_code
    assert "set-cookie" not in answer.headers
    assert message in Page(answer).text


def test_without_a_token_there_is_nothing_to_sign_in_to(client: Client) -> None:
    """The form would ask for what nobody has."""
    assert 404 == client.get("/login").status_code


def test_over_tls_the_cookie_stays_there(run_tracker: RunTracker) -> None:
    """It is never sent in the clear."""
    client = Client(create_app(run_tracker, token=TOKEN), "https://localhost")
    own = {"Origin": "https://localhost", "Sec-Fetch-Site": "same-origin"}
    answer = client.ask("POST", "/login", data={"token": TOKEN}, headers=own)
    assert "Secure" in answer.headers["set-cookie"].split("; ")


# -- where they stand


@pytest.mark.parametrize("prefix", ["", "/lastword", "/a/b"])
def test_the_pages_work_wherever_they_are_mounted(run_tracker: RunTracker, prefix: str) -> None:
    """Every link, form and file is under the prefix, and answers."""
    run_tracker.create("import", run_id="x/y", tags={"team": "data"})
    app = FastAPI()
    app.include_router(router(run_tracker, pages=True), prefix=prefix)
    client = Client(app)
    for path in ("/", "/runs/x%2Fy", "/runs/nobody", "/?name=nobody"):
        page = Page(client.get(prefix + path))
        assert prefix == page.all("body")[0]["data-base"]
        addresses = {element[name] for _, element in page.elements for name in ("href", "src") if name in element}  # fmt: skip
        for address in addresses:
            assert address is not None
            if address.startswith("#"):
                continue
            assert address.startswith(f"{prefix}/")
            assert client.get(address).status_code in (200, 303), address


def test_pages_are_guarded_also_without_the_guard(run_tracker: RunTracker) -> None:
    """The policy on scripts comes with the page itself, wherever the router is mounted."""
    app = FastAPI()
    app.include_router(router(run_tracker, pages=True))
    answer = Client(app).get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "no-store" == answer.headers["cache-control"]


def test_files_are_sent_once(client: Client) -> None:
    """With a tag, so that a browser asks only whether they have changed."""
    answer = client.get("/static/lastword.css")
    assert (200, "text/css; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    again = client.get("/static/lastword.css", if_none_match=answer.headers["etag"])
    assert (304, b"") == (again.status_code, again.content)
    assert 404 == client.get("/static/../routes.py").status_code
    assert 404 == client.get("/static/%2e%2e%2froutes.py").status_code


def test_the_pages_are_no_part_of_the_api(client: Client) -> None:
    """Its document names none of them."""
    paths = json.loads(client.get("/openapi.json").text)["paths"]
    assert not [path for path in paths if not path.startswith(("/api/", "/healthz", "/metrics"))]
