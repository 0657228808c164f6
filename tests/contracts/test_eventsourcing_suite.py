"""The recorder keeps the eventsourcing library's own contract, on a file and in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

from lastword.infrastructure.sqlite.datastore import ThreadDatastore
from lastword.infrastructure.sqlite.preparing import Preparation, prepare_memory
from lastword.infrastructure.sqlite.recorder import RunRecorder

# The library's tests measure as well; the figures are of no use here.
_FIGURES_ONLY = {"test_performance", "test_concurrent_throughput"}


def _open(path: Path | None, ids: str) -> RunRecorder:
    url = "sqlite:///:memory:" if path is None else f"sqlite:///{path}"
    if path is not None:
        Preparation(path, url, 5.0).run()
    datastore = ThreadDatastore(path, url, originator_id_type=ids)
    if path is None:
        prepare_memory(datastore.link().raw, url)
    return RunRecorder(datastore)


class OpaqueEvents:
    """What every binding needs: a recorder per test, and quiet."""

    ids = "uuid"
    in_memory = False
    recorder: RunRecorder

    @pytest.fixture(autouse=True)
    def _quietly(self, tmp_path: Path) -> Iterator[None]:
        self.recorder = _open(None if self.in_memory else tmp_path / "runs.db", self.ids)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
        self.recorder.datastore.close()

    def new_originator_id(self) -> UUID | str:
        return uuid4() if self.ids == "uuid" else f"run-{uuid4()}"

    def create_recorder(self) -> RunRecorder:
        return self.recorder


def _without_figures(case: type) -> type:
    """The library's test case without the tests that print figures and check nothing else."""
    return type(f"{case.__name__}Quick", (case,), dict.fromkeys(_FIGURES_ONLY))


class AggregateEvents(OpaqueEvents):
    """The library's aggregate recorders give no positions back; ours always do, which its application suite asks for."""

    def create_recorder(self) -> RunRecorder:
        insert = self.recorder.insert_events

        class WithoutPositions(RunRecorder):
            def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
                insert(stored_events, **kwargs)

        return WithoutPositions(self.recorder.datastore)


class SubscribingEvents(OpaqueEvents):
    """With the part of the suite that is optional."""

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()  # type: ignore[attr-defined]  # comes with the suite


class TestAggregate(AggregateEvents, _without_figures(AggregateRecorderTestCase)): ...


class TestAggregateInMemory(AggregateEvents, _without_figures(AggregateRecorderTestCase)):
    in_memory = True


class TestApplication(SubscribingEvents, _without_figures(ApplicationRecorderTestCase)): ...


class TestApplicationWithTextIds(SubscribingEvents, _without_figures(ApplicationRecorderTestCase)):
    ids = "text"


class TestApplicationInMemory(SubscribingEvents, _without_figures(ApplicationRecorderTestCase)):
    in_memory = True


class TestNonInterleaving(OpaqueEvents, NonInterleavingNotificationIDsBaseCase): ...


class TestNonInterleavingInMemory(OpaqueEvents, NonInterleavingNotificationIDsBaseCase):
    in_memory = True
