"""What is recorded of a command that ended in one way or another, and what of its command line."""

import signal
from datetime import UTC, datetime, timedelta

import pytest

from lastword import InvalidInput
from lastword.domain.commands import CancelRun, FailRun
from lastword.infrastructure.processes.child import Ending
from lastword.infrastructure.processes.process import TrackedCommand, masked_command, outcome_of

NOW = datetime(2026, 2, 5, 22, tzinfo=UTC)
WANTED = TrackedCommand(command=("sleep", "600"), timeout=timedelta(seconds=90))


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Ending(0), ("completed", None, None)),
        (Ending(3), ("ExitCode", 3, None)),
        (Ending(-9), ("Signal", None, "SIGKILL")),
        (Ending(-40), ("Signal", None, "signal 40")),
        (Ending(0, signalled=signal.SIGINT), ("completed", None, None)),
        (Ending(0, cancelled=True), ("completed", None, None)),
        (Ending(1, signalled=signal.SIGINT), ("SIGINT received", None, None)),
        (Ending(-15, signalled=signal.SIGTERM), ("SIGTERM received", None, None)),
        (Ending(-9, cancelled=True), ("cancellation requested", None, None)),
        (Ending(0, timed_out=True), ("Timeout", 124, None)),
        (Ending(-15, timed_out=True, signalled=signal.SIGINT), ("Timeout", 124, None)),
    ],
)
def test_outcome_follows_from_how_the_command_ended(
    ending: Ending, expected: tuple[object, ...]
) -> None:
    """Success wins over a request to stop; a timeout is a failure whatever the command made of it."""
    command = outcome_of(WANTED, ending, lambda: NOW)
    found: tuple[object, ...] = ("completed", None, None)
    if isinstance(command, FailRun):
        found = (command.error.type, command.exit_code, command.signal)
    elif isinstance(command, CancelRun):
        found = (command.reason, None, None)
    assert expected == found
    assert NOW == command.now


@pytest.mark.parametrize(("status", "code"), [(0, 0), (3, 3), (255, 255), (-2, 130), (-9, 137)])
def test_exit_code_is_what_a_shell_would_say(status: int, code: int) -> None:
    """128 and the number of the signal."""
    assert code == Ending(status).exit_code


def test_the_end_of_the_output_is_kept_and_all_4_kib_beside_it() -> None:
    """The message has room for the end; the rest of the 4 KiB stands where a function's traceback would."""
    lines = "".join(f"line {number} of /srv/in.csv\n" for number in range(150))
    command = outcome_of(WANTED, Ending(3, tail=lines.encode()), lambda: NOW)
    assert isinstance(command, FailRun)
    message, whole = command.error.message, command.error.traceback
    assert message.startswith("exit code 3: …")
    assert message.endswith("line 149 of <path>")
    assert 1024 == len(message)
    assert whole is not None
    assert lines.replace("/srv/in.csv", "<path>") == whole


def test_secrets_in_the_command_are_masked_and_paths_kept() -> None:
    """By the name beside them, within an argument or before it."""
    command = [
        "/usr/bin/load",
        "--token",
        "abc",
        "--api-key=abc",
        "PASSWORD=abc",
        "https://ann:abc@host/x",
        "--token",
        "--dry",
    ]
    expected = [
        "/usr/bin/load",
        "--token",
        "***",
        "--api-key=***",
        "PASSWORD=***",
        "https://***@host/x",
        "--token",
        "--dry",
    ]
    assert expected == masked_command(command)


def test_a_very_long_command_is_cut_not_refused() -> None:
    """`xargs` makes such commands; they run, and the run says how much is left out."""
    params = TrackedCommand(command=("touch", *map(str, range(100_000)))).run_params
    command = params["command"]
    assert isinstance(command, list)
    assert ["touch", "0", "1"] == command[:3]
    assert f"… {100_001 - (len(command) - 1)} more" == command[-1]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("/usr/bin/import", "x"), "import"),
        (("./a b.sh",), "a b.sh"),
        (("x" * 300,), "x" * 200),
        (("/",), "command"),
        (("\udcff",), "\ufffd"),
    ],
)
def test_a_run_without_a_name_has_the_commands(command: tuple[str, ...], name: str) -> None:
    """Its last part, as far as a name may be long."""
    assert name == TrackedCommand(command=command).run_name


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"command": ()},
            "command: expected one behind --, found none; e.g. lastword run -- make test",
        ),
        ({"command": ("",)}, "command: expected one behind --, found none"),
        ({"grace": timedelta(0)}, "grace: expected more than 0 s"),
        ({"lease": timedelta(-1)}, "lease: expected more than 0 s"),
        ({"tags": {"a": "b" * 300}}, "tags: expected 1 to 200 characters"),
        ({"params": {"a": "b" * 70_000}}, "params: expected at most 65,536 bytes"),
        ({"exclusive": ""}, "exclusive: expected 1 to 200"),
    ],
)
def test_what_cannot_be_tracked_is_refused_before_anything_is_started(
    wrong: dict[str, object], said: str
) -> None:
    """Wrong usage is an error of the caller, not of the command."""
    with pytest.raises(InvalidInput) as refused:
        TrackedCommand(**{"command": ("true",), **wrong})
    assert said == str(refused.value)[: len(said)]
