"""Attempts to break in. docs/security.md names each of these tests beside what it tries."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from browsing import Client, problem
from commandline import PATIENCE
from faults.kit import wait_until
from lastword import RunTracker
from lastword.infrastructure.web.guarding.guard import HEADERS, MAX_BODY
from lastword.infrastructure.web.guarding.hosts import HostList
from lastword.infrastructure.web.guarding.tokens import COOKIE, SESSION, Keyring
from lastword.infrastructure.web.serving import Server
from lastword.testing import RunClock
from lastword.web import create_app
from streaming import listening, serving

TOKEN = "a-token-for-these-tests-only"
OPEN = {"/healthz", "/login", "/static/{path}"}


@pytest.fixture
def open_client(run_tracker: RunTracker) -> Client:
    """Of a server for this machine only, without a token."""
    run_tracker.create("import", run_id=1)
    return Client(create_app(run_tracker))


@pytest.fixture
def closed_client(run_tracker: RunTracker) -> Client:
    """Of a server with a token."""
    run_tracker.create("import", run_id=1)
    return Client(create_app(run_tracker, token=TOKEN))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with RunTracker(tmp_path / "runs.db") as tracker, serving(tracker) as server:
        yield server


def keyring(clock: RunClock, token: str = TOKEN) -> Keyring:
    return Keyring(token, clock=clock)


# -- the token


def test_nothing_but_the_open_doors_answers_without_the_token(run_tracker: RunTracker) -> None:
    """Every route there is, with every method of it; also what does not exist is not told apart from what does."""
    app = create_app(run_tracker, token=TOKEN)
    client = Client(app)
    paths = [(method, path) for path, routes in app.openapi()["paths"].items() for method in routes]
    assert len(paths) > 15
    for method, path in [*paths, ("get", "/nothing"), ("get", "/openapi.json"), ("get", "/")]:
        if path not in OPEN:
            answer = client.ask(method.upper(), path.replace("{run_id}", "1"))
            assert (401, "token-required") == problem(answer), path
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "given",
    [
        "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Bearer {TOKEN} x", f"Basic {TOKEN}",
        TOKEN, f"Bearer {TOKEN.upper()}", "Bearer \u00e4", "Bearer " + "x" * 10_000,
    ],
)  # fmt: skip
def test_a_wrong_token_is_refused_whatever_its_form(closed_client: Client, given: str) -> None:
    """Shorter, longer, another scheme, not ASCII."""
    answer = closed_client.ask("GET", "/api/runs", headers={"Authorization": given.encode()})
    assert (401, "token-required") == problem(answer)
    assert TOKEN not in answer.text


def test_the_token_opens(closed_client: Client) -> None:
    """As a Bearer, whatever the case of that word."""
    for scheme in ("Bearer", "bearer"):
        answer = closed_client.ask(
            "GET", "/api/runs", headers={"Authorization": f"{scheme} {TOKEN}"}
        )
        assert 200 == answer.status_code


def test_the_token_in_an_address_opens_nothing(closed_client: Client) -> None:
    """Addresses end up in logs and histories."""
    assert 401 == closed_client.get(f"/api/runs?token={TOKEN}").status_code


def test_a_session_opens_until_it_runs_out(
    run_tracker: RunTracker, run_clock: RunClock, closed_client: Client
) -> None:
    """The cookie is not the token, and does not outlive its time."""
    session = keyring(run_clock).session()
    assert TOKEN not in session
    cookie = f"other=1; {COOKIE}={session}"
    assert 200 == closed_client.get("/api/runs", cookie=cookie).status_code
    run_clock.advance(seconds=SESSION.total_seconds() + 1)
    assert 401 == closed_client.get("/api/runs", cookie=cookie).status_code


def test_a_session_cannot_be_made_up(run_clock: RunClock, closed_client: Client) -> None:
    """Not with a later end, not of another token, not from the token itself, not by garbage."""
    until, _, signature = keyring(run_clock).session().partition(".")
    other = keyring(run_clock, "another-token-for-another-server").session()
    for value in (
        f"{int(until) + 1}.{signature}", f"{until}.", f"{until}", f".{signature}", other, TOKEN, f"{until}.{TOKEN}",
        f"-1.{signature}", f"{'9' * 5000}.{signature}", "\u0661.x",
    ):  # fmt: skip
        answer = closed_client.ask(
            "GET", "/api/runs", headers={"Cookie": f"{COOKIE}={value}".encode()}
        )
        assert 401 == answer.status_code, value


def test_a_session_changes_nothing_without_proof_that_the_page_is_ours(
    run_clock: RunClock, closed_client: Client
) -> None:
    """A browser sends Origin or Sec-Fetch-Site with every POST; who sends neither must show the token itself."""
    cookie = {"Cookie": f"{COOKIE}={keyring(run_clock).session()}"}
    ask = closed_client.ask
    assert (403, "other-origin") == problem(ask("POST", "/api/runs/1/cancel", headers=cookie))
    own = {**cookie, "Origin": "http://localhost"}
    assert 200 == ask("POST", "/api/runs/1/cancel", headers=own).status_code
    own = {**cookie, "Sec-Fetch-Site": "same-origin"}
    assert 200 == ask("POST", "/api/runs/1/cancel", headers=own).status_code


# -- host and origin


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "localhost@evil.example",
        "localhost/../evil", "127.0.0.2", "[::2]", "localhost:x", "0x7f000001",
    ],
)  # fmt: skip
def test_a_name_that_is_not_ours_is_refused(open_client: Client, host: str) -> None:
    """A site that makes its own name point to this machine (DNS rebinding) gets nothing."""
    answer = open_client.ask("GET", "/api/runs", headers={"Host": host})
    assert (421, "unknown-host") == problem(answer)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:5278", "LOCALHOST.", "localhost:80"]
)
def test_the_names_of_this_machine_are_answered(open_client: Client, host: str) -> None:
    """With any port, in any case."""
    assert 200 == open_client.ask("GET", "/api/runs", headers={"Host": host}).status_code


def test_beyond_the_loopback_the_own_address_and_named_hosts_are_answered() -> None:
    """An address cannot be rebound; a name must have been allowed."""
    hosts = HostList.for_binding("0.0.0.0", ["runs.example.org"])
    assert hosts.allows("192.0.2.1:5278", "192.0.2.1")
    assert hosts.allows("runs.example.org", "192.0.2.1")
    assert not hosts.allows("192.0.2.2", "192.0.2.1")
    assert not hosts.allows("example.org", "192.0.2.1")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "https://localhost"},
        {"Origin": "http://localhost:8000"}, {"Origin": "http://localhost.evil.example"}, {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    ],
)  # fmt: skip
def test_a_page_of_another_site_changes_nothing(
    run_tracker: RunTracker, open_client: Client, headers: dict[str, str]
) -> None:
    """Neither by a script nor by a form, and not from another port of this machine."""
    answer = open_client.ask("POST", "/api/runs/1/cancel", headers=headers)
    assert (403, "other-origin") == problem(answer)
    assert "pending" == run_tracker.get(1).status


def test_a_form_of_another_site_is_no_json(run_tracker: RunTracker, open_client: Client) -> None:
    """What a browser sends without asking first has another content type."""
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        answer = open_client.ask(
            "POST", "/api/runs/1/fail", content=b'{"message": "x"}', headers={"Content-Type": kind}
        )
        assert (415, "unsupported-media-type") == problem(answer)
    assert "pending" == run_tracker.get(1).status


def test_a_page_of_another_site_can_link_here_and_nothing_else(open_client: Client) -> None:
    """It can neither embed nor read what is here, nor hold a stream open."""
    for path in ("/api/runs", "/api/completions/stream", "/api/runs/1/stream"):
        for mode in ("no-cors", "cors", "websocket"):
            headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
            assert (403, "other-origin") == problem(open_client.ask("GET", path, headers=headers))
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = open_client.ask("GET", "/api/runs", headers=link)
    assert 200 == answer.status_code
    assert "access-control-allow-origin" not in answer.headers


# -- what is answered


def test_every_answer_carries_the_protective_headers(
    server: Server, closed_client: Client, open_client: Client
) -> None:
    """Also errors, refusals and streams."""
    answers = [
        open_client.get("/api/runs"), open_client.get("/"), open_client.get("/nothing"), open_client.get("/api/runs/x"),
        open_client.ask("GET", "/", headers={"Host": "evil.example"}), closed_client.get("/api/runs"),
        closed_client.get("/healthz"), open_client.post("/api/runs", {"nonsense": 1}),
    ]  # fmt: skip
    with listening(server, "/api/completions/stream") as stream:
        answers.append(stream.response)
    for answer in answers:
        assert HEADERS == {name: answer.headers[name] for name in HEADERS}, answer.url
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:"} & set(policy.split())


def test_no_page_loads_a_script_from_another_host(open_client: Client) -> None:
    """FastAPI's own pages would; they are not there."""
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert 404 == open_client.get(path).status_code
    assert 200 == open_client.get("/openapi.json").status_code


def test_an_internal_error_tells_nothing(
    run_tracker: RunTracker, open_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, no path, no text of the exception."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("secret at /srv/app/main.py")

    monkeypatch.setattr(run_tracker.store, "view", broken)
    answer = open_client.get("/api/runs/1")
    assert (500, "internal") == problem(answer)
    for word in ("secret", "/srv", "Traceback", "RuntimeError", ".py"):
        assert word not in answer.text


def test_a_broken_store_shows_no_path(tmp_path: Path) -> None:
    """The file that is not a store is not named to clients."""
    tracker = RunTracker(tmp_path / "runs.db")
    tracker.create("import", run_id=1)
    client = Client(create_app(tracker))
    tracker.close()
    for path in ("/api/runs/1", "/api/runs", "/healthz", "/api/runs/1/stream"):
        answer = client.get(path)
        assert (503, "store-unavailable") == problem(answer)
        assert str(tmp_path) not in answer.text


# -- sizes and slowness


def test_a_body_beyond_a_mebibyte_is_refused_unread(server: Server) -> None:
    """By its announced length, without a byte of it; and in chunks, when it gets too long."""
    with _connected(server) as connection:
        connection.sendall(_head(server, f"Content-Length: {MAX_BODY + 1}"))
        assert _answered(connection).startswith(b"HTTP/1.1 413 ")
    with _connected(server) as connection:
        connection.sendall(_head(server, "Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(16):
            connection.sendall(chunk)
        connection.sendall(b"1\r\nx\r\n")
        assert b"body-too-large" in _answered(connection)
    with httpx.Client(base_url=server.url) as client:
        answer = client.post(
            "/api/runs", json={"name": "n", "correlation_id": "x" * (MAX_BODY - 100)}
        )
        assert (422, "invalid-input") == problem(answer)


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "9" * 40])
def test_a_length_that_is_no_number_is_refused(server: Server, length: str) -> None:
    """Whoever notices it first."""
    with _connected(server) as connection:
        connection.sendall(_head(server, f"Content-Length: {length}"))
        assert _answered(connection)[9:12] in {b"400", b"413"}


def test_who_sends_a_request_too_slowly_is_dropped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing at all, half a head, half a body, half a second head: each holds a connection for a moment only."""
    monkeypatch.setattr("lastword.infrastructure.web.guarding.protocol.REQUEST_SECONDS", 0.3)
    for begun in (b"", b"GET /api/runs HT", _head(server, "Content-Length: 100") + b"{"):
        with _connected(server) as connection:
            connection.sendall(begun)
            assert b"" == _answered(connection)
    with _connected(server) as connection:
        connection.sendall(
            f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /")
        assert b"" == _answered(connection)


def test_who_takes_nothing_of_a_stream_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place is free again, and what was to be sent is not kept."""
    monkeypatch.setattr("lastword.infrastructure.web.guarding.protocol.STALL_SECONDS", 0.1)
    with RunTracker(tmp_path / "runs.db") as tracker, serving(tracker) as server:
        large = {str(number): "x" * 200 for number in range(100)}
        tracker.create("import", run_id=1, params={"a": "x" * 60_000}, tags=large)
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        desk = server._desk
        with _connected(server, receive_buffer=4096) as connection:
            host = f"Host: 127.0.0.1:{server.port}"
            connection.sendall(f"GET /api/runs/1/stream HTTP/1.1\r\n{host}\r\n\r\n".encode())
            wait_until(lambda: desk.hub.listening == 1)
            wait_until(lambda: desk.hub.listening == 0)
        assert {} == dict(desk.turnstile._open)


def test_pages_have_a_size(open_client: Client) -> None:
    """Nobody gets a million runs at once."""
    assert (422, "invalid-input") == problem(open_client.get("/api/runs?limit=100000"))
    assert (422, "invalid-input") == problem(open_client.get("/api/completions?limit=100000"))


def _connected(server: Server, receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", server.port))
    return connection


def _head(server: Server, *headers: str) -> bytes:
    lines = [
        "POST /api/runs HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Content-Type: application/json",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _answered(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts: list[bytes] = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)
