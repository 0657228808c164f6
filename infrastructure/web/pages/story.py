"""A run's life in sentences. Pure: from its events and its view to pieces of text, moments and links."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ....domain.events import (
    CancellationRequested,
    OutcomeContradicted,
    RecordedEvent,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunErased,
    RunFailed,
    RunLost,
    RunStarted,
)
from ....domain.status import FlagReason
from ....domain.values import Owner, RunId
from ....projections.run_view import RunView
from ... import words

LATE = timedelta(seconds=1)
"""An event that reached the store so much later than it happened is told as one that waited."""

FLAGS = {
    FlagReason.OWNER_GONE: "the process that ran it is gone",
    FlagReason.SILENT: "its owner has gone silent",
    FlagReason.OVERDUE: "it is past its deadline",
    FlagReason.NEVER_STARTED: "nobody has started it",
}
"""Each flag in words."""


class At(NamedTuple):
    """A moment, shown with its date."""

    moment: datetime


class Name(NamedTuple):
    """What somebody or something is called."""

    text: str


class Quote(NamedTuple):
    """What people or programs wrote: shown so that it cannot be taken for our own words."""

    text: str


class Link(NamedTuple):
    """Another run."""

    run_id: RunId


Piece = str | At | Name | Quote | Link
Sentence = tuple[Piece, ...]


def story(view: RunView, events: Sequence[RecordedEvent], now: datetime) -> list[Sentence]:
    """What became of the run, from its first event to now; a sentence or two for each thing that happened, progress aside.

    `events` may lack some in the middle.
    """
    told: list[Sentence] = []
    lost: RecordedEvent | None = None
    ended = False
    for item in events:
        told += _told(item, view, lost=lost, ended=ended)
        if isinstance(item.event, RunLost):
            lost = item
        elif item.event.LEADS_TO is not None and item.event.LEADS_TO.is_terminal:
            lost, ended = None, True
    if not view.status.is_terminal:
        told += _unfinished(view, now)
    return told


def _told(
    item: RecordedEvent, view: RunView, *, lost: RecordedEvent | None, ended: bool
) -> Iterable[Sentence]:
    fact, at = item.event, item.occurred_at
    late: Sentence = ()
    if item.recorded_at - at > LATE:
        late = (f" The store took this only {words.span(item.recorded_at - at)} later.",)
    match fact:
        case RunCreated():
            yield (*_created(fact, at), ".", *late)
        case RunStarted():
            after = words.span(max(timedelta(0), at - view.created_at))
            yield (f"It began {after} later in ", *_owner(fact.owner), ".", *late)
        case CancellationRequested():
            yield (*_by(fact.actor, "asked it to stop at ", "It was asked to stop at "), At(at), *_why(fact.reason), ".", *late)  # fmt: skip
        case RunCompleted():
            yield (f"It completed{_after(view, at)}.", *late, *_instead(lost, at))
        case RunFailed():
            how = f" with exit code {fact.exit_code}" if fact.exit_code is not None else ""
            how = f", ended by {fact.signal}" if fact.signal else how
            yield (f"It failed{_after(view, at)}{how}.", *late, *_instead(lost, at))
        case RunCancelled():
            yield ("It was cancelled", *_by_whom(fact.actor), f"{_after(view, at)}", *_why(fact.reason), ".", *late, *_instead(lost, at))  # fmt: skip
        case RunLost():
            why = FLAGS.get(fact.flag, str(fact.flag))
            yield (f"Nobody reported an outcome. It was declared lost{_after(view, at)}, because {why}.", *late)  # fmt: skip
        case OutcomeContradicted():
            detail: Sentence = (": ", Quote(fact.detail)) if fact.detail else ()
            yield ("Later, at ", At(at), f", somebody reported that it {_ended(fact.claimed)}", *detail, ". That is kept as evidence and changes nothing.", *late)  # fmt: skip
        case RunErased():
            yield ("What people had written into it was erased", *_by_whom(fact.actor), " at ", At(at), *_why(fact.reason), ".")  # fmt: skip
        case _:
            return


def _created(fact: RunCreated, at: datetime) -> Sentence:
    inside: Sentence = () if fact.parent_id is None else (" inside run ", Link(fact.parent_id))
    again: Sentence = ()
    if fact.retry_of is not None:
        again = (f", as attempt {fact.attempt} after run ", Link(fact.retry_of))
    elif fact.attempt > 1:
        again = (f", as attempt {fact.attempt}",)
    return (*_by(fact.actor, "asked for it at ", "It was created at "), At(at), *inside, *again)


def _unfinished(view: RunView, now: datetime) -> Iterable[Sentence]:
    if view.started_at is None:
        yield (f"Nobody has begun it for {words.span(now - view.created_at)}.",)
        return
    going = f"It has been running for {words.took(view, now)}"
    if view.progress_current is None:
        yield (f"{going} and has reported no progress.",)
        return
    share = words.progress(view.model_copy(update={"current_step": None}))
    step: Sentence = (", at ", Quote(view.current_step)) if view.current_step else ()
    yield (f"{going}; it last reported {share}", *step, ".")


def _instead(lost: RecordedEvent | None, at: datetime) -> Sentence:
    if lost is None:
        return ()
    gap = abs(at - lost.occurred_at)
    when = "later" if at >= lost.occurred_at else "earlier, and was told later"
    return (
        f" It had been given up for lost; this, its real outcome, came {words.span(gap)} {when} and took the verdict’s place.",
    )


def _by(actor: str | None, active: str, passive: str) -> Sentence:
    return (passive,) if actor is None else (Name(actor), f" {active}")


def _by_whom(actor: str | None) -> Sentence:
    return () if actor is None else (" by ", Name(actor))


def _why(reason: str | None) -> Sentence:
    return () if not reason else (": ", Quote(reason))


def _owner(owner: Owner) -> Sentence:
    return (f"process {owner.pid} on ", Name(owner.host))


def _after(view: RunView, at: datetime) -> str:
    if view.started_at is None:
        return " before anybody began it"
    return f" after {words.span(max(timedelta(0), at - view.started_at))}"


def _ended(claimed: str) -> str:
    return "was cancelled" if claimed == "cancelled" else str(claimed)
