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
