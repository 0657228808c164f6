"""A run's life in sentences."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lastword.domain.events import (
    CancellationRequested,
    Evidence,
    OutcomeContradicted,
    RecordedEvent,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunErased,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.infrastructure.web.pages.story import FLAGS, At, Link, Name, Quote, Sentence, story
from lastword.projections.run_view import fold_view
from lastword.testing import OWNER, START, recorded

CREATED = RunCreated(name="import")
STARTED = RunStarted(owner=OWNER)
FAILED = RunFailed(error=ErrorInfo(type="E", message="m"))


def plain(sentence: Sentence) -> str:
    """A sentence as text: moments as seconds since the start, names and ids in brackets, quotes in quotes."""
    text = ""
    for piece in sentence:
        match piece:
            case str():
                text += piece
            case At():
                text += f"+{(piece.moment - START).total_seconds():g}"
            case Name():
                text += f"[{piece.text}]"
            case Quote():
                text += f'"{piece.text}"'
            case Link():
                text += f"<{piece.run_id}>"
    return text


def told(*events: RunEvent, after: float = 100, late: dict[int, float] | None = None) -> list[str]:
    """The story of these events, a second apart; `late` says of some by how many seconds the store took them later."""
    history: list[RecordedEvent] = []
    for item in recorded(*events):
        delay = timedelta(seconds=(late or {}).get(item.version, 0))
        history.append(item.model_copy(update={"recorded_at": item.occurred_at + delay}))
    view = fold_view(history)
    assert view is not None
    return [plain(sentence) for sentence in story(view, history, START + timedelta(seconds=after))]


OWNED = f"process {OWNER.pid} on [{OWNER.host}]"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((CREATED,), ["It was created at +0.", "Nobody has begun it for 1 m 40 s."]),
        (
            (RunCreated(name="import", actor="ada", parent_id=7), STARTED),
            [
                "[ada] asked for it at +0 inside run <7>.",
                f"It began 1.00 s later in {OWNED}.",
                "It has been running for 1 m 39 s and has reported no progress.",
            ],
        ),
        (
            (
                RunCreated(name="import", retry_of="a", attempt=2),
                STARTED,
                RunProgressed(current=3, total=10, step="<b>"),
            ),
            [
                "It was created at +0, as attempt 2 after run <a>.",
                f"It began 1.00 s later in {OWNED}.",
                'It has been running for 1 m 39 s; it last reported 3/10 (30%), at "<b>".',
            ],
        ),
        (
            (CREATED, STARTED, RunCompleted(result=1)),
            [
                "It was created at +0.",
                f"It began 1.00 s later in {OWNED}.",
                "It completed after 1.00 s.",
            ],
        ),
        (
            (CREATED, FAILED),
            ["It was created at +0.", "It failed before anybody began it."],
        ),
        (
            (
                RunCreated(name="import", attempt=3),
                STARTED,
                RunFailed(error=FAILED.error, exit_code=3),
            ),
            [
                "It was created at +0, as attempt 3.",
                f"It began 1.00 s later in {OWNED}.",
                "It failed after 1.00 s with exit code 3.",
            ],
        ),
        (
            (CREATED, STARTED, RunFailed(error=FAILED.error, signal="SIGKILL")),
            [
                "It was created at +0.",
                f"It began 1.00 s later in {OWNED}.",
                "It failed after 1.00 s, ended by SIGKILL.",
            ],
        ),
        (
            (
                CREATED,
                STARTED,
                CancellationRequested(reason="wrong month", actor="ada"),
                RunCancelled(reason="wrong month", actor="ada"),
                OutcomeContradicted(claimed=RunStatus.COMPLETED, detail="12 rows"),
                RunErased(reason="law", actor="bob"),
            ),
            [
                "It was created at +0.",
                f"It began 1.00 s later in {OWNED}.",
                '[ada] asked it to stop at +2: "wrong month".',
                'It was cancelled by [ada] after 2.00 s: "wrong month".',
                'Later, at +4, somebody reported that it completed: "12 rows". That is kept as evidence and changes nothing.',
                'What people had written into it was erased by [bob] at +5: "law".',
            ],
        ),
        (
            (
                CREATED,
                STARTED,
                RunLost(flag=FlagReason.SILENT, evidence=Evidence(detail="x")),
                RunCompleted(),
            ),
            [
                "It was created at +0.",
                f"It began 1.00 s later in {OWNED}.",
                "Nobody reported an outcome. It was declared lost after 1.00 s, because its owner has gone silent.",
                "It completed after 2.00 s. It had been given up for lost; this, its real outcome, came 1.00 s later and took the verdict’s place.",
            ],
        ),
    ],
)
def test_a_life_is_told_in_order(events: tuple[RunEvent, ...], expected: list[str]) -> None:
    """Each thing that happened has its sentence, and what people wrote stands apart from our own words."""
    assert expected == told(*events)


def test_what_waited_in_a_spool_is_told_as_late() -> None:
    """When it happened and when the store learnt of it are two facts."""
    assert (
        "It completed after 1.00 s. The store took this only 1 m 30 s later."
        == told(CREATED, STARTED, RunCompleted(), late={3: 90})[-1]
    )


def test_every_flag_has_words() -> None:
    """Also the ones that somebody adds."""
    assert set(FlagReason) == set(FLAGS)
    for reason in FlagReason:
        assert f"because {FLAGS[reason]}." in told(CREATED, STARTED, RunLost(flag=reason))[-1]
