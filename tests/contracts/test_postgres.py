"""The store in PostgreSQL keeps the contract."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import psycopg
import pytest

from contracts.importing import Importing
from contracts.keeping import Behind, Reopen
from contracts.kit import MovingClock
from contracts.store_contract import StoreContract
from lastword.infrastructure.postgres import PostgresStore, counters
from postgres_pooler import PGBOUNCER, through


class TestPostgres(StoreContract):
    """Another handle is another object on the same schema."""

    @pytest.fixture
    def store(self, postgres_url: str, clock: MovingClock) -> Iterator[PostgresStore]:
        store = PostgresStore(postgres_url, clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def reopen(self, postgres_url: str, clock: MovingClock) -> Iterator[Reopen]:
        with contextlib.ExitStack() as opened:

            def another() -> PostgresStore:
                return opened.enter_context(
                    contextlib.closing(PostgresStore(postgres_url, clock=clock))
                )

            yield another

    @pytest.fixture
    def behind(self, store: PostgresStore) -> Behind:
        def execute(statement: str) -> None:
            # Its ways to write bytes, text that is given in bytes, and a large number.
            statement = re.sub(
                r"CAST\(x'(\w*)' AS TEXT\)", r"convert_from('\\x\1', 'UTF8')", statement
            )
            statement = statement.replace("1 <<", "1::bigint <<")
            statement = re.sub(r"X'(\w*)'", r"'\\x\1'", statement)
            counters.fold(store.connections)  # as happens every few thousand events
            try:
                store.connections.run(statement)
            except (psycopg.DataError, psycopg.ProgrammingError) as error:
                pytest.skip(f"PostgreSQL does not let this happen: {error}")

        return execute


@pytest.mark.soak
@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
class TestBehindAPooler(TestPostgres):
    """The contract, all but imports, by way of a pgbouncer in transaction mode, which has three connections for all."""

    @pytest.fixture
    def postgres_url(self, postgres_url: str, pooler_url: str) -> str:
        return through(pooler_url, postgres_url)


for _name in vars(
    Importing
):  # whoever asks meanwhile may be given the session of an import, which then refuses: see test_postgres_pooler.py
    if _name.startswith("test_"):
        setattr(TestBehindAPooler, _name, None)
