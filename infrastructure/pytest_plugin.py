"""Fixtures for tests of code around runs. Pytest finds this module by itself once Lastword is installed.

It is loaded at every start of pytest, also where no test uses it: nothing of Lastword is imported before a fixture is asked for.
Switch it off with ``-p no:lastword``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .testing.clock import RunClock
    from .testing.replaying import Replayer
    from .testing.scenario import Given
    from .tracking.tracker import RunTracker

_OPTION = "--lastword-update-golden"
_WRITTEN = "lastword_golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our option, in a group of its own."""
    group = parser.getgroup("lastword", "histories of runs (lastword)")
    group.addoption(
        _OPTION,
        action="store_true",
        default=False,
        help="write the files that replay(..., golden=...) compares with, instead of comparing",
    )


@pytest.fixture
def run_clock() -> RunClock:
    """A clock that stands still until the test moves it: ``run_clock.advance(seconds=30)``."""
    from .testing.clock import RunClock

    return RunClock()


@pytest.fixture
def run_tracker(run_clock: RunClock) -> Iterator[RunTracker]:
    """A `RunTracker` in memory on `run_clock`, closed after the test. Nothing goes on in the background."""
    from .testing.still import StillTracker

    with StillTracker(run_clock) as tracker:
        yield tracker


@pytest.fixture
def given() -> Callable[..., Given]:
    """Rules as sentences: ``given(...).when(...).then(...)``; see `lastword.testing.given`."""
    from .testing.scenario import given as scenario

    return scenario


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Replayer:
    """The runs in a file that was exported, through today's code: ``replay("histories/2026-11.jsonl")[17]``.

    Paths are looked for beside the test, then in pytest's root folder. See `lastword.testing.replay`.
    """
    from .testing.replaying import Replayer

    def written(path: Path) -> None:
        request.node.user_properties.append((_WRITTEN, str(path)))

    return Replayer(
        (request.path.parent, request.config.rootpath),
        update=bool(request.config.getoption(_OPTION)),
        written=written,
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which golden files were written; also those of the workers of pytest-xdist."""
    if not terminalreporter.config.getoption(_OPTION):
        return
    reports = [report for group in terminalreporter.stats.values() for report in group]
    written = {
        value
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == _WRITTEN
    }
    for path in sorted(written):
        terminalreporter.write_line(f"lastword: wrote {path}")
