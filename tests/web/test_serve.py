"""The real `lastword serve`: where it listens, what it refuses, how it ends."""

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from browsing import problem
from commandline import PATIENCE, started
from lastword import RunTracker
from lastword.infrastructure.cli.app import run
from streaming import serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """The address is printed when it answers; Ctrl-C and SIGTERM end it with 0, and the store is closed properly."""
    store = tmp_path / "runs.db"
    with started(store, "serve", "--port", "0", "--json") as server:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        assert told["url"] == f"http://{told['host']}:{told['port']}"
        assert {"items": [], "next_cursor": None} == httpx.get(f"{told['url']}/api/runs").json()
        server.send_signal(number)
        output, errors = server.communicate(timeout=PATIENCE)
    assert (0, b"", b"") == (server.returncode, output, errors)
    assert not Path(f"{store}-wal").exists()


def test_whoever_cannot_wait_gets_no_traceback(tmp_path: Path) -> None:
    """A second signal ends it without waiting for answers that are on their way."""
    with started(tmp_path / "runs.db", "serve", "--port", "0", "--json") as server:
        assert server.stdout is not None
        assert server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=PATIENCE)
    assert (0, b"", b"") == (server.returncode, output, errors)


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """What `lastword serve` complains about when it does not start: wrong usage, in one line."""

    def complaint(*options: str, token: str | None = None) -> str:
        monkeypatch.setenv("LASTWORD_URL", str(tmp_path / "runs.db"))
        monkeypatch.delenv("LASTWORD_TOKEN", raising=False)
        if token is not None:
            monkeypatch.setenv("LASTWORD_TOKEN", token)
        assert 2 == run(["serve", *options])
        said = capsys.readouterr()
        assert ("", 1) == (said.out, len(said.err.splitlines()))
        return said.err

    return complaint


def test_a_port_that_is_taken_is_named(refused: Callable[..., str]) -> None:
    """With the address, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port}: expected an address and port" in refused("--port", str(port))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_does_not_listen_to_other_machines_without_a_token(
    refused: Callable[..., str], host: str
) -> None:
    """It refuses to start, and says what is missing."""
    assert "set LASTWORD_TOKEN" in refused("--port", "0", "--host", host)


def test_a_short_token_is_refused_and_not_shown(refused: Callable[..., str]) -> None:
    """The message tells how to make a good one, not what was given."""
    said = refused("--port", "0", token="hunter2")
    assert "secrets.token_urlsafe" in said
    assert "hunter2" not in said


def test_the_token_opens_every_address_and_is_never_logged(tmp_path: Path) -> None:
    """Beyond the loopback: 401 without it; the log has refusals, and no trace of the token."""
    token = "a-token-for-this-test-only"
    store = tmp_path / "runs.db"
    with RunTracker(store) as tracker:
        tracker.create("import", run_id=1)
    with started(
        store, "--url", str(store), "--verbose", "serve", "--host", "0.0.0.0", "--port", "0", "--json",
        LASTWORD_TOKEN=token,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        url = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        assert (401, "token-required") == problem(httpx.get(f"{url}/api/runs/1"))
        for wrong in (f"Bearer {token}x", f"Basic {token}", f"Bearer {token[:-1]}", "Bearer"):
            answer = httpx.get(f"{url}/api/runs/1", headers={"Authorization": wrong})
            assert (401, "token-required") == problem(answer)
        answer = httpx.get(f"{url}/api/runs/1", headers={"Authorization": f"Bearer {token}"})
        assert (200, 1) == (answer.status_code, answer.json()["run_id"])
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=PATIENCE)
    assert (0, 5) == (server.returncode, log.count(b"lastword.web.refused"))
    assert token[:-1].encode() not in log


def test_an_answer_does_not_wait_for_an_acknowledgement(tmp_path: Path) -> None:
    """Head and body go out as they come, on every connection: a small answer must not wait 40 ms for the next packet."""
    with RunTracker(tmp_path / "runs.db") as tracker, serving(tracker) as server:
        assert 0 != server._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
