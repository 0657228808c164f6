"""The words for where a run stands."""

from lastword.domain.status import ACTIVE, FlagReason, RunStatus


def test_the_statuses_are_public_words():
    """They are stored and sent; they do not change."""
    assert ["pending", "running", "completed", "failed", "cancelled"] == [
        str(status) for status in RunStatus
    ]


def test_a_run_is_active_or_has_had_its_last_word():
    """Two are active, three are terminal, none is both."""
    assert {RunStatus.PENDING, RunStatus.RUNNING} == ACTIVE
    assert ["completed", "failed", "cancelled"] == [s for s in RunStatus if s.is_terminal]


def test_the_flags_are_public_words():
    """They are sent and, in a verdict, stored."""
    assert ["owner_gone", "silent", "overdue", "never_started"] == [
        str(flag) for flag in FlagReason
    ]
