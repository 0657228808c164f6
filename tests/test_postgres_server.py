"""The PostgreSQL that the tests use behaves as they need it."""

from __future__ import annotations

import psycopg
import pytest

from postgres_server import Server


def test_one_server_serves_all(postgres_url: str, postgres_server: str):
    """It answers, and a test's own schema is named in its URL."""
    assert postgres_url.startswith(postgres_server)
    with psycopg.connect(postgres_server) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_of_ones_own_is_stopped_killed_and_frozen():
    """What was committed is there after each of them; the port stays."""
    with Server.temporary() as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (number int)")
        for number, end in enumerate((server.stop, lambda: server.stop("immediate"), server.kill)):
            end()
            assert not server.answers()
            server.start()
            with psycopg.connect(server.url) as connection:
                connection.execute("INSERT INTO kept VALUES (%s)", (number,))
                assert connection.execute("SELECT count(*) FROM kept").fetchone() == (number + 1,)
        with psycopg.connect(server.url) as connection:
            server.freeze()
            assert not server.answers()
            server.thaw()
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not server.folder.exists()


def test_a_server_that_cannot_start_says_why():
    """With what it wrote into its log."""
    with (
        pytest.raises(RuntimeError, match=r"did not start(.|\n)*shared_buffers"),
        Server.temporary(settings=("shared_buffers=nonsense",)),
    ):
        pass
