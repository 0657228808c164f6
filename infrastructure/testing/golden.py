"""Outcomes that are kept: what each event of a history made of its run, in a file that a review can read.

The file is one JSON object. ``runs`` has an object for each run: its ``run_id``, and under ``events`` for each event its ``type``
and the fields of the view that it ``sets``. The first event sets all fields. Fields that a file does not have were added to the view
later; they are not compared.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...domain.errors import InvalidInput
from ...domain.events import RecordedEvent
from ...domain.values import run_key, shown
from ...projections.run_view import RunView, apply

UPDATE_OPTION = "--lastword-update-golden"
"""The option of pytest that writes the files anew."""

_FORMAT = 1
_LEFT_OUT = {"run_id", "version", "position", "flag"}
"""Said by the place in the file, told by the store that exported, or never the outcome of an event."""
_RUNS_SHOWN = 20
_MISSING = object()

Json = dict[str, Any]
Histories = Mapping[str, Sequence[RecordedEvent]]
"""The events of each run in order, by the run's key."""


def golden_of(histories: Histories) -> Json:
    """The content of a golden file for these histories.

    >>> from lastword.domain.events import RunCancelled, RunCreated
    >>> from lastword.infrastructure.testing.histories import recorded
    >>> made = golden_of({"1": recorded(RunCreated(name="import"), RunCancelled())})
    >>> made["runs"][0]["events"][1]["sets"]["status"]
    'cancelled'
    """
    runs: list[Json] = []
    for history in histories.values():
        events: list[Json] = []
        before: Json = {}
        for event, after in _steps(history):
            sets = {name: value for name, value in after.items() if _differs(before, name, value)}
            events.append({"type": event.type, "sets": sets})
            before = after
        runs.append({"run_id": history[0].run_id, "events": events})
    return {"format": _FORMAT, "runs": runs}


def differences(golden: Json, histories: Histories) -> list[str]:
    """What is not as the golden file has it, run by run: the first event that differs, and each field.

    Raises `LookupError`, `TypeError` or `AttributeError` when the file has another shape.
    """
    expected = {run_key(run["run_id"]): run for run in golden["runs"]}
    found: list[str] = []
    for key, run in expected.items():
        history = histories.get(key)
        if history is None:
            found.append(f"run {key}: expected its {len(run['events'])} events, found none")
        elif problem := _difference(run["events"], history):
            found.append(f"run {key}, {problem}")
    found += [
        f"run {key}: expected no such run, found {len(history)} events"
        for key, history in histories.items()
        if key not in expected
    ]
    return found


def check_golden(path: Path, histories: Histories, source: Path) -> None:
    """Compare the histories from `source` with the golden file.

    Raises `AssertionError`, which says which run, which event and which field differ; `InvalidInput` for a file that is not golden.
    """
    __tracebackhide__ = True
    remedy = f"if what was found is right: pytest {UPDATE_OPTION}"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AssertionError(
            f"{source.name}: expected the outcomes in {path}, but there is no such file;"
            f" write it: pytest {UPDATE_OPTION}"
        ) from None
    try:
        golden = json.loads(text)
        if golden["format"] != _FORMAT:
            raise ValueError(f"format {shown(golden['format'])}")  # noqa: TRY301  # becomes InvalidInput below
        problems = differences(golden, histories)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path}: expected outcomes in format {_FORMAT}, found something else"
            f" ({type(error).__name__}: {error}); write it anew: pytest {UPDATE_OPTION}"
        ) from error
    if problems:
        more = len(problems) - _RUNS_SHOWN
        listed = problems[:_RUNS_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise AssertionError(
            "\n".join([f"{source.name}: not as {path.name} has it", *listed, remedy])
        )


def write_golden(path: Path, histories: Histories) -> bool:
    """Write the golden file, whole or not at all; False when it had this content before. Raises `OSError`."""
    text = json.dumps(golden_of(histories), indent=1, ensure_ascii=False) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(text)
    os.replace(file.name, path)  # noqa: PTH105  # the name is a str
    return True


def _difference(expected: Iterable[Json], history: Sequence[RecordedEvent]) -> str:
    """The first event that differs, with its fields; empty when none does."""
    known: Json = {}
    for number, (step, pair) in enumerate(zip_longest(expected, _steps(history)), start=1):
        if pair is None:
            return f"event {number}: expected {step['type']}, found no such event"
        event, after = pair
        if step is None:
            return f"event {number}: expected no such event, found {event.type}"
        if step["type"] != event.type:
            return f"event {number}: expected {step['type']}, found {event.type}"
        known |= step["sets"]
        wrong = [
            f"    {name}: expected {_shown(value)}, found {_shown(after.get(name, _MISSING))}"
            for name, value in known.items()
            if _differs(after, name, value)
        ]
        if wrong:
            return "\n".join(
                [f"event {number} ({event.type}, {event.occurred_at.isoformat()})", *wrong]
            )
    return ""


def _steps(history: Iterable[RecordedEvent]) -> Iterator[tuple[RecordedEvent, Json]]:
    """Each event with the view's fields after it."""
    view: RunView | None = None
    for event in history:
        view = apply(view, event)
        yield event, view.model_dump(mode="json", exclude=_LEFT_OUT)


def _differs(fields: Json, name: str, value: object) -> bool:
    """Whether the field is missing or another; as JSON, where 1 is not true and 1.0 is not 1."""
    found = fields.get(name, _MISSING)
    return found is _MISSING or repr(found) != repr(value)


def _shown(value: object) -> str:
    return "no such field" if value is _MISSING else f"{value!r:.200}"
