"""The store in a SQLite file keeps the contract."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.keeping import Behind, Reopen
from contracts.kit import MovingClock
from contracts.store_contract import StoreContract
from lastword.infrastructure.sqlite import SQLiteStore


class TestSQLite(StoreContract):
    """Another handle is another object on the same file."""

    @pytest.fixture
    def store(self, tmp_path: Path, clock: MovingClock) -> Iterator[SQLiteStore]:
        store = SQLiteStore(tmp_path / "runs.db", clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def reopen(self, tmp_path: Path, clock: MovingClock) -> Iterator[Reopen]:
        with contextlib.ExitStack() as opened:

            def another() -> SQLiteStore:
                return opened.enter_context(
                    contextlib.closing(SQLiteStore(tmp_path / "runs.db", clock=clock))
                )

            yield another

    @pytest.fixture
    def behind(self, tmp_path: Path) -> Behind:
        def execute(statement: str) -> None:
            with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as raw, raw:
                raw.execute(statement)

        return execute
