"""The store in memory keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contracts.keeping import Behind, Reopen
from contracts.kit import MovingClock
from contracts.store_contract import StoreContract
from lastword.infrastructure.sqlite import SQLiteStore


class TestMemory(StoreContract):
    """Its runs live as long as the object, which is its own other handle."""

    @pytest.fixture
    def store(self, clock: MovingClock) -> Iterator[SQLiteStore]:
        store = SQLiteStore(":memory:", clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def reopen(self, store: SQLiteStore) -> Reopen:
        return lambda: store

    @pytest.fixture
    def behind(self, store: SQLiteStore) -> Behind:
        return store.recorder.datastore.fetch
