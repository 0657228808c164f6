"""`lastword run -- CMD`: any command as a tracked run.

The command keeps its stdin, stdout, terminal and exit code, and runs whether or not the store can be reached. What it writes to
stderr is passed on, and the end of it is kept for the error. What happened to it becomes the run's outcome:

    what happened                                        outcome             exit code
    it ended with 0                                      completed           0
    it ended with another code                           failed, ExitCode    its own
    a signal ended it                                    failed, Signal      128 + signal
    it was asked to end (signal, `lastword cancel`)
      and did so with another code than 0                cancelled           as above
    it was still there after `timeout` seconds           failed, Timeout     124
    it is not there; it cannot be executed               failed, NotStarted  127; 126
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePath
from typing import Any

from pydantic import JsonValue

from ...domain.commands import CancelRun, CreateRun, FailRun
from ...domain.errors import InvalidInput
from ...domain.redaction import MAX_MESSAGE, mask_secrets, sanitise, sanitise_traceback
from ...domain.values import MAX_NAME_LENGTH, ErrorInfo, RunId, run_key
from ..clock import Clock
from ..tracking.outcomes import OutcomeCommand, completed
from ..tracking.tracker import RunTracker
from .child import Child, Ending, Limits, SignalGate
from .recording import Recording
from .relay import TAIL_BYTES, keep_standard_streams_taken

RUN_ID_VARIABLE = "LASTWORD_RUN_ID"
"""Tells the command, and every `lastword` below it, which run it is part of."""
URL_VARIABLE = "LASTWORD_URL"

EXIT_TIMED_OUT = 124
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127

_PARAMS_BYTES = 16 * 1024
"""As much of a long command line is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedCommand:
    """What to run and how to track it. Raises `InvalidInput` when made, before anything is written or started.

    >>> TrackedCommand(command=("/usr/bin/import", "--token", "x")).run_name
    'import'
    """

    command: tuple[str, ...]
    name: str | None = None
    """None: the last part of the command's path."""
    run_id: RunId | None = None
    params: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Beside ``command``, which is always there, with its secrets masked."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    actor: str | None = None
    correlation_id: str | None = None
    parent_id: RunId | None = None
    """None: the run that the environment names, if there is one."""
    exclusive: str | None = None
    timeout: timedelta | None = None
    """After this time the command is ended."""
    grace: timedelta = timedelta(seconds=5)
    """Between SIGTERM and SIGKILL."""
    deadline: timedelta | None = None
    """After this time the run is flagged; None: after the timeout, if there is one."""
    lease: timedelta | None = None
    strict: bool = False
    """Do not run the command unless the store has the run."""

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise InvalidInput(
                "command: expected one behind --, found none; e.g. lastword run -- make test"
            )
        for what in ("timeout", "grace", "deadline", "lease"):
            span = getattr(self, what)
            if span is not None and span <= timedelta(0):
                raise InvalidInput(f"{what}: expected more than 0 s, found {span.total_seconds()}")
        if self.run_id is not None:
            run_key(self.run_id)
        CreateRun(
            name=self.run_name,
            params=self.run_params,
            tags=dict(self.tags),
            actor=self.actor,
            correlation_id=self.correlation_id,
            parent_id=self.parent_id,
            exclusive=self.exclusive,
        )

    @property
    def run_name(self) -> str:
        """The name of the run."""
        if self.name is not None:
            return self.name
        base = mask_secrets(PurePath(self.command[0]).name)[:MAX_NAME_LENGTH]
        return base if base.strip() and base.isprintable() else "command"

    @property
    def run_params(self) -> dict[str, JsonValue]:
        """The params of the run: the command with its secrets masked, and what was given."""
        return {**self.params, "command": list[JsonValue](masked_command(self.command))}


def run_command(
    wanted: TrackedCommand,
    open_tracker: Callable[[Clock], RunTracker],
    *,
    url: str | None = None,
    environment: Mapping[str, str] | None = None,
    complain: Callable[[str], None] = lambda text: None,
) -> int:
    """Run the command to its end and return the exit code to leave with.

    `url` is what the command finds as ``LASTWORD_URL``; `complain` is called when the command cannot be started.
    Call it from the main thread of a process without other threads: signals are held back meanwhile.

    Raises `RunAlreadyExists`, `RunAlreadyActive`, `InvalidTransition`, and, when strict or exclusive, whatever is wrong with the
    store. Then the command has not been started.
    """
    keep_standard_streams_taken()
    environment = os.environ if environment is None else environment
    with SignalGate() as gate:
        recording = Recording(open_tracker, _creation(wanted, environment), wanted.run_id)
        try:
            recording.begin(
                sure=wanted.strict or wanted.exclusive is not None,
                patient=wanted.run_id is not None,
            )
            inside = {
                **environment,
                **recording.carrier(),
                RUN_ID_VARIABLE: str(recording.run_id),
            }
            if url is not None:
                inside[URL_VARIABLE] = url
            code, outcome = _run(wanted, inside, gate, recording, complain)
            recording.finish(outcome)
        finally:
            recording.close()
    return code


def _run(
    wanted: TrackedCommand,
    inside: Mapping[str, str],
    gate: SignalGate,
    recording: Recording,
    complain: Callable[[str], None],
) -> tuple[int, Callable[[Clock], OutcomeCommand]]:
    asked = gate.pending()
    if asked is not None:
        ending = Ending(status=-asked, signalled=asked)
        return ending.exit_code, lambda clock: outcome_of(wanted, ending, clock)
    limits = Limits(
        timeout=None if wanted.timeout is None else wanted.timeout.total_seconds(),
        grace=wanted.grace.total_seconds(),
    )
    try:
        child = Child(wanted.command, inside, gate)
    except OSError as error:
        code, text = _not_started(wanted.command[0], error)
        complain(text)
        info = ErrorInfo(type="NotStarted", message=sanitise(text))
        return code, lambda clock: FailRun(error=info, exit_code=code, now=clock())

    def cancel() -> None:
        limits.cancel.set()
        gate.wake()

    with recording.watch_for_cancellation(cancel):
        ending = child.wait(limits)
    code = EXIT_TIMED_OUT if ending.timed_out else ending.exit_code
    return code, lambda clock: outcome_of(wanted, ending, clock)


def outcome_of(wanted: TrackedCommand, ending: Ending, clock: Clock) -> OutcomeCommand:
    """What to record of a command that ended like this."""
    now = clock()
    if ending.timed_out and wanted.timeout is not None:
        seconds = wanted.timeout.total_seconds()
        error = _error("Timeout", f"still running after {seconds:g} s", ending.tail)
        return FailRun(error=error, exit_code=EXIT_TIMED_OUT, now=now)
    if ending.status == 0:
        return completed(None, now=now)
    if ending.signalled is not None:
        return CancelRun(reason=f"{ending.signalled.name} received", now=now)
    if ending.cancelled:
        return CancelRun(reason="cancellation requested", now=now)
    if ending.signal_name is not None:
        error = _error("Signal", f"ended by {ending.signal_name}", ending.tail)
        return FailRun(error=error, signal=ending.signal_name, now=now)
    error = _error("ExitCode", f"exit code {ending.status}", ending.tail)
    return FailRun(error=error, exit_code=ending.status, now=now)


def masked_command(command: Sequence[str]) -> list[str]:
    """The command as it may be stored: secrets masked, paths kept; its end is left out when it is very long.

    A secret is known by the name beside it: ``--token x``, ``TOKEN=x``, ``https://user:x@host``. A bare one is not.

    >>> masked_command(["curl", "--password", "hunter2", "https://ann:pw@host/x"])
    ['curl', '--password', '***', 'https://***@host/x']
    """
    masked: list[str] = []
    size = 0
    for number, argument in enumerate(command):
        before = command[number - 1] if number else ""
        is_value = (
            before.startswith("--")
            and not argument.startswith("-")
            and mask_secrets(f"{before} value").endswith(" ***")
        )
        text = "***" if is_value else mask_secrets(argument)
        size += len(json.dumps(text))
        if size > _PARAMS_BYTES:
            return [*masked, f"… {len(command) - number} more"]
        masked.append(text)
    return masked


def _creation(wanted: TrackedCommand, environment: Mapping[str, str]) -> dict[str, Any]:
    parent: RunId | None = wanted.parent_id
    if parent is None and environment.get(RUN_ID_VARIABLE):
        try:
            parent = run_key(environment[RUN_ID_VARIABLE])
        except InvalidInput:
            parent = None  # somebody else's use of the name; no reason not to run
    return {
        "name": wanted.run_name,
        "params": wanted.run_params,
        "tags": wanted.tags,
        "actor": wanted.actor,
        "correlation_id": wanted.correlation_id,
        "parent_id": parent,
        "exclusive": wanted.exclusive,
        "deadline": wanted.deadline or wanted.timeout,
        "lease": wanted.lease,
    }


def _error(kind: str, what: str, tail: bytes) -> ErrorInfo:
    """The end of the output matters most, so where the message is too long, its beginning goes."""
    output = tail.decode(errors="replace")
    text = sanitise(output, limit=4 * TAIL_BYTES).strip()
    message = f"{what}: {text}" if text else what
    if len(message) <= MAX_MESSAGE:
        return ErrorInfo(type=kind, message=message)
    room = MAX_MESSAGE - len(what) - len(": …")
    message = f"{what}: …{text[-room:]}"
    return ErrorInfo(type=kind, message=message, traceback=sanitise_traceback(output))


def _not_started(program: str, error: OSError) -> tuple[int, str]:
    if isinstance(error, FileNotFoundError):
        remedy = "check its name and $PATH"
        return EXIT_NOT_FOUND, f"{program}: command not found; {remedy}"
    return (
        EXIT_NOT_EXECUTABLE,
        f"{program}: cannot be executed: {error.strerror}; is it a program and executable?",
    )
