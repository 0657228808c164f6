"""Roles that may do less than the owner of the tables: what they are told, and what a rebuild leaves them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import pytest

from lastword import RunTracker
from lastword.domain.errors import StoreUnavailable
from lastword.infrastructure.postgres import PostgresStore


@dataclass(frozen=True)
class Rights:
    """A database with a store that belongs to one role, and that another one may work with."""

    owner: str
    service: str
    database: str
    url: Callable[[str], str]
    """For a role."""


@pytest.fixture
def rights(postgres_server: str) -> Iterator[Rights]:
    token = uuid4().hex[:12]
    owner, service, database = f"owner_{token}", f"service_{token}", f"runs_{token}"
    head = postgres_server.rpartition("/")[0]

    def url(role: str) -> str:
        return f"{head}/{database}".replace("postgres@", f"{role}@")

    with psycopg.connect(postgres_server, autocommit=True) as admin:

        def order(*statements: str) -> None:
            for statement in statements:
                admin.execute(statement.encode())

        order(
            f"CREATE ROLE {owner} LOGIN",
            f"CREATE ROLE {service} LOGIN",
            f"CREATE DATABASE {database}",
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {database} TO {owner}, {service}",
        )
        try:
            with psycopg.connect(url("postgres"), autocommit=True) as inside:
                inside.execute(f"CREATE SCHEMA lastword AUTHORIZATION {owner}".encode())
                PostgresStore(url(owner)).close()
                for grant in (
                    f"GRANT USAGE ON SCHEMA lastword TO {service}",
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lastword TO {service}",
                    f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA lastword TO {service}",
                ):
                    inside.execute(grant.encode())
            yield Rights(owner, service, database, url)
        finally:
            order(f"DROP DATABASE {database} WITH (FORCE)", f"DROP ROLE {owner}, {service}")


def test_who_may_not_rebuild_is_told_who_may(rights: Rights) -> None:
    """By the call, and when a newer release has to compute rows anew."""
    told = f"expected the role '{rights.owner}'.*, found '{rights.service}'; .*rebuild.* URL of '{rights.owner}'"
    with RunTracker(rights.url(rights.service)) as tracker:
        tracker.create("import", run_id=1)
        with pytest.raises(StoreUnavailable, match=told) as caught:
            tracker.rebuild()
        assert not caught.value.transient
        tracker.start(1)
    with psycopg.connect(rights.url(rights.owner), autocommit=True) as link:
        link.execute(b"GRANT CREATE ON SCHEMA lastword TO PUBLIC")
        link.execute(b"UPDATE lastword.meta SET value = '0' WHERE key = 'projection'")
    with pytest.raises(StoreUnavailable, match=told):
        RunTracker(rights.url(rights.service))


@pytest.mark.parametrize("who", ["owner", "an administrator"])
def test_a_rebuild_takes_no_right_from_anybody(rights: Rights, who: str) -> None:
    """The new tables have the owner and the grants of the old ones, no more and no less."""
    rebuilder = rights.owner if who == "owner" else "postgres"
    with psycopg.connect(rights.url(rebuilder), autocommit=True) as link:
        link.execute(
            b"ALTER DEFAULT PRIVILEGES IN SCHEMA lastword GRANT SELECT ON TABLES TO PUBLIC"
        )
        link.execute(
            f"GRANT SELECT ON lastword.runs TO {rights.service} WITH GRANT OPTION".encode()
        )
        before = _access(link)
        with RunTracker(rights.url(rebuilder)) as tracker:
            tracker.rebuild()
        assert before == _access(link)
    with RunTracker(rights.url(rights.service)) as tracker, tracker.run("import", run_id=1):
        pass
    with contextlib.closing(PostgresStore(rights.url(rights.owner))) as store:
        assert 0 < store.rebuild()


def _access(link: psycopg.Connection) -> list[tuple[str, str, list[str]]]:
    return link.execute(
        b"SELECT relname, pg_get_userbyid(relowner), ARRAY(SELECT a::text FROM unnest(relacl) a ORDER BY 1)"
        b" FROM pg_class WHERE relkind = 'r' AND relnamespace = 'lastword'::regnamespace ORDER BY relname"
    ).fetchall()


def test_who_may_not_put_histories_aside_is_told_what_to_grant(rights: Rights) -> None:
    """An import needs temporary tables, which everybody may make unless somebody has taken that right away."""
    with RunTracker("sqlite:///:memory:") as memory:
        memory.create("import", run_id=1)
        lines = list(memory.export())
    grant = f'GRANT TEMPORARY ON DATABASE "{rights.database}" TO "{rights.service}"'
    with RunTracker(rights.url(rights.service)) as tracker:
        with pytest.raises(StoreUnavailable, match=grant) as caught:
            tracker.import_events(lines)
        assert not caught.value.transient
        with psycopg.connect(rights.url("postgres"), autocommit=True) as admin:
            admin.execute(grant.encode())
        assert 1 == tracker.import_events(lines).added


def test_a_vacuum_that_was_skipped_cleared_nothing(rights: Rights) -> None:
    """The server warns and goes on; what was erased still lies in the tables."""
    with RunTracker(rights.url(rights.service)) as tracker:
        with tracker.run("import", run_id=1, params={"who": "ann"}):
            pass
        assert not tracker.erase(1).journal_cleared
    with RunTracker(rights.url(rights.owner)) as tracker:
        assert tracker.erase(1).journal_cleared
