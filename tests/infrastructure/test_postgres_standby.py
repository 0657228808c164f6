"""A server that repeats the log of another one can be read, and no follower misses an event there either."""

from __future__ import annotations

import contextlib

import pytest

from contracts.kit import LONG, Writer
from faults.kit import wait_until
from lastword.domain.errors import StoreUnavailable
from lastword.domain.events import RunCompleted, RunCreated
from lastword.domain.status import RunStatus
from lastword.infrastructure.postgres import PostgresStore
from postgres_server import FAST, Server

CREATED = RunCreated(name="import")


def test_a_standby_is_read_and_not_written():
    """A follower waits there for what is still on its way on the primary; a write is a fault that may pass, as after a failover."""
    with (
        Server.temporary((*FAST, "wal_level=replica")) as server,
        contextlib.closing(PostgresStore(server.url)) as primary,
        server.standby() as copy,
        contextlib.closing(PostgresStore(copy.url)) as standby,
    ):
        writer = Writer(primary)
        writer.start("a")
        assert standby.wait(1, LONG)
        assert standby.counts()[RunStatus.RUNNING] == 1
        with primary.connections.separate() as slow:
            slow.execute(b"BEGIN")
            slow.execute(primary.connections.sql("SELECT base FROM take(1, NULL)"))
            later = writer.add("a", RunCompleted()).events[0].position
            wait_until(lambda: (view := standby.view("a")) is not None and view.position == later)
            assert [1, 2] == [event.position for event in standby.read(0, 10)]
            slow.execute(b"ROLLBACK")
        writer.add("b", CREATED)
        wait_until(lambda: standby.last_position() == later + 1)
        assert [1, 2, later, later + 1] == [event.position for event in standby.read(0, 10)]
        with pytest.raises(StoreUnavailable) as caught:
            Writer(standby).add("c", CREATED)
        assert caught.value.transient
