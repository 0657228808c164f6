"""Given, when, then: rules of a run's life as sentences, without a store and without a clock.

    given(RunCreated(name="import"), RunStarted(owner=OWNER), RunLost(flag="silent")) \\
        .when(CompleteRun(result=1)) \\
        .then(RunCompleted(result=1)) \\
        .then_view(status="completed", status_update_failed=False)

A failure prints what was given, what was asked, what was expected and what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from typing import Any, NoReturn

from ...domain.commands import Command
from ...domain.errors import LastwordError
from ...domain.events import RecordedEvent, RunEvent
from ...domain.run import RunState, decide, fold, reconcile
from ...domain.values import RunId
from ...projections.run_view import RunView, fold_view
from .histories import recorded


def given(*events: RunEvent | RecordedEvent, run_id: RunId | None = None) -> Given:
    """What has happened to a run so far; nothing for a run that does not exist.

    Events with an envelope, such as those of ``tracker.history(17)``, keep it; see `recorded` for the others. The id is 1 where
    nobody says another.

    >>> from lastword.domain.commands import CancelRun
    >>> from lastword.domain.events import RunCancelled, RunCreated
    >>> _ = given(RunCreated(name="import")).when(CancelRun()).then(RunCancelled())
    """
    if run_id is None:
        run_id = next((item.run_id for item in events if isinstance(item, RecordedEvent)), 1)
    return Given(run_id, tuple(recorded(*events, run_id=run_id)))


@dataclass(frozen=True, slots=True)
class Given:
    """A history, ready to be asked something."""

    run_id: RunId
    history: tuple[RecordedEvent, ...]

    def when(self, command: Command) -> Then:
        """Ask this of the run."""
        return self._then(command, lambda state: decide(command, state))

    def when_delivered(self, event: RunEvent) -> Then:
        """Bring an event that was decided elsewhere and waited in a spool."""
        return self._then(event, lambda state: reconcile(event, state))

    def _then(
        self, asked: Command | RunEvent, rule: Callable[[RunState], tuple[RunEvent, ...]]
    ) -> Then:
        state = fold(self.run_id, (item.event for item in self.history))
        try:
            return Then(self.run_id, self.history, asked, rule(state), None)
        except LastwordError as error:
            # The message says what was refused and why; the way through the rules says nothing to a test.
            return Then(self.run_id, self.history, asked, (), error.with_traceback(None))


@dataclass(frozen=True, slots=True)
class Then:
    """What came of it. Every check gives the same object back, so that checks can be put in a row.

    All checks raise `AssertionError`.
    """

    run_id: RunId
    history: tuple[RecordedEvent, ...]
    asked: Command | RunEvent
    found: tuple[RunEvent, ...]
    error: LastwordError | None

    def then(self, *expected: RunEvent) -> Then:
        """Exactly these events happened, in this order."""
        __tracebackhide__ = True
        if self.error is not None or self.found != expected:
            self._fail(_listed(expected))
        return self

    def then_nothing(self) -> Then:
        """It was a harmless repeat: no event, no error."""
        __tracebackhide__ = True
        return self.then()

    def then_raises(self, expected: type[LastwordError], match: str | None = None) -> Then:
        """It was refused with this error, and `match` is found in its message (a regular expression)."""
        __tracebackhide__ = True
        fits = isinstance(self.error, expected)
        if not fits or (match is not None and re.search(match, str(self.error)) is None):
            about = "" if match is None else f" matching {match!r}"
            self._fail([f"{expected.__name__}{about}"])
        return self

    def then_view(self, **expected: Any) -> Then:
        """The view of the run, after what happened, has these fields. Raises `TypeError` for a field that views do not have."""
        __tracebackhide__ = True
        unknown = expected.keys() - RunView.model_fields.keys()
        if unknown:
            raise TypeError(f"then_view: RunView has no field {', '.join(sorted(unknown))}")
        view = fold_view(recorded(*self.history, *self.found, run_id=self.run_id))
        if view is None or self.error is not None:
            self._fail([f"a view with {_arguments(expected.items())}"])
        found = {name: getattr(view, name) for name in expected}
        wrong = [name for name, value in expected.items() if found[name] != value]
        if wrong:
            self._fail(
                [f"view.{name} == {_shown(expected[name])}" for name in wrong],
                also=[f"view.{name} == {_shown(found[name])}" for name in wrong],
            )
        return self

    def _fail(self, expected: list[str], also: Iterable[str] = ()) -> NoReturn:
        __tracebackhide__ = True
        found = _listed(self.found)
        if self.error is not None:
            found = [f"{type(self.error).__name__}: {self.error}"]
        parts = {
            "given": _listed(item.event for item in self.history),
            "when": [_described(self.asked)],
            "expected": expected,
            "found": [*found, *also],
        }
        lines = (
            f"{title}\n" + "\n".join(f"    {line}" for line in parts[title]) for title in parts
        )
        raise AssertionError(f"run {self.run_id}\n" + "\n".join(lines)) from self.error


def _listed(events: Iterable[RunEvent]) -> list[str]:
    return [_described(event) for event in events] or ["(nothing)"]


def _described(thing: Command | RunEvent) -> str:
    """The event or command with the fields that differ from their defaults."""
    if isinstance(thing, RunEvent):
        said = [(name, value) for name, value in thing if not _is_default(thing, name, value)]
    else:
        said = [
            (item.name, getattr(thing, item.name))
            for item in fields(thing)
            if getattr(thing, item.name)
            != (item.default_factory() if item.default_factory is not MISSING else item.default)
        ]
    return f"{type(thing).__name__}({_arguments(said)})"


def _is_default(event: RunEvent, name: str, value: object) -> bool:
    declared = type(event).model_fields.get(name)
    return declared is not None and value == declared.get_default(call_default_factory=True)


def _arguments(pairs: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name}={_shown(value)}" for name, value in pairs)


def _shown(value: object) -> str:
    return repr(value.value) if isinstance(value, Enum) else repr(value)
