"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from postgres_pooler import pooler
from postgres_server import schema_of, shared_server

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory. The tests kill processes, never the machine: a faster fsync takes nothing from what they prove."""
_ROOM = 4 << 30

if (
    "PYTEST_DEBUG_TEMPROOT" not in os.environ
    and os.access(MEMORY, os.W_OK)
    and shutil.disk_usage(MEMORY).free > _ROOM
):
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)

# The tests start hundreds of programs; without bytecode each would compile all of our modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Who runs the tests in the background of a script lets them ignore Ctrl-C, and all that they start would ignore it, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a shared machine is slow now and then. `--hypothesis-profile=thorough` looks longer.
settings.register_profile("quick", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("quick")


@pytest.hookimpl(trylast=True)  # after the other processes of the run have ended
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Give the memory back; what a failed test wrote stays for whoever wants to look at it."""
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # pyright: ignore[reportAttributeAccessIssue]  # pytest has no public name for it
    folder = factory.getbasetemp()
    if (
        exitstatus == 0
        and folder.is_relative_to(MEMORY)
        and not hasattr(session.config, "workerinput")
    ):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _logs_are_nobodys() -> Iterator[None]:
    """The command line sets structlog up for its process; here that is the process of all tests."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """The URL of a real PostgreSQL that all tests of this run share."""
    folder = tmp_path_factory.getbasetemp()
    if (
        worker_id != "master"
    ):  # pytest-xdist gives each of its processes a folder below that of the run
        folder = folder.parent
    with shared_server(folder) as url:
        yield url


@pytest.fixture(scope="session")
def pooler_url(postgres_server: str) -> Iterator[str]:
    """The same server by way of a pgbouncer in transaction mode; for `postgres_pooler.through`."""
    with pooler(postgres_server) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A URL whose schema belongs to this test alone."""
    with schema_of(postgres_server) as url:
        yield url
