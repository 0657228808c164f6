"""Our log lines obey the levels of `logging`, whenever they are set."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Iterator

import pytest

from lastword.infrastructure.logs import Logger, bind, bound, get_logger

NAME = "lastword.tests.levels"


@pytest.fixture
def log() -> Iterator[Logger]:
    target = logging.getLogger(NAME)
    yield get_logger(NAME)
    target.setLevel(logging.NOTSET)
    target.disabled = False


def test_a_level_may_change_at_any_time(log: Logger, caplog: pytest.LogCaptureFixture) -> None:
    """What is below it is not written; the logger need not be asked for again."""
    for level in (logging.WARNING, logging.DEBUG, logging.CRITICAL):
        logging.getLogger(NAME).setLevel(level)
        log.debug("it.began")
        log.warning("it.stumbled", times=level)
        log.critical("it.fell", times=level)
    expected = [
        *("event='it.stumbled' times=30", "event='it.fell' times=30"),
        *("event='it.began'", "event='it.stumbled' times=10", "event='it.fell' times=10"),
        "event='it.fell' times=50",
    ]
    assert expected == caplog.messages


def test_a_logger_that_is_switched_off_writes_nothing(
    log: Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """As `logging.config` does it with loggers that it does not know."""
    logging.getLogger(NAME).disabled = True
    log.critical("it.fell")
    assert [] == caplog.messages


def test_bound_fields_end_with_their_block_and_others_with_their_context(
    log: Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """A `with` puts back what was there before."""
    logging.getLogger(NAME).setLevel(logging.INFO)

    def inside() -> None:
        bind(run_id=17)
        with bound(run_id=18):
            log.info("a")
        log.info("b")

    contextvars.copy_context().run(inside)
    log.info("c")
    assert ["event='a' run_id=18", "event='b' run_id=17", "event='c'"] == caplog.messages


@pytest.mark.parametrize("part", ["filter", "handler"])
def test_what_breaks_in_logging_breaks_nothing_else(
    log: Logger, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    """`logging` hands on what a filter or a handler of the application raises; the line goes to stderr then."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no log today")

        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("no log today")

    target, broken = logging.getLogger(NAME), Broken()
    if part == "filter":
        target.addFilter(broken)
    else:
        target.addHandler(broken)
    try:
        log.error("it.fell", run_id=17)
    finally:
        target.removeFilter(broken)
        target.removeHandler(broken)
    line = capsys.readouterr().err
    assert "it.fell" in line
    assert "17" in line
    assert "no log today" in line
