"""The command line as a whole: its options, its commands, its exit codes.

0    fine; for `run`: what the command itself exits with
1    the answer is bad news (`check`, `verify`)
2    wrong usage, an unknown run, or something that the run's status does not allow
3    the store is unavailable, damaged, or written by a newer release
70   a fault of Lastword itself
130  interrupted from the keyboard
141  whoever read the output has closed it
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from ...domain.errors import (
    LastwordError,
    StoreCorrupt,
    StoreUnavailable,
    UnsupportedSchema,
    VersionConflict,
)
from ..words import one_line
from .output import STDOUT, ReaderGone, note
from .session import LogFormat, Session, debugging

BUG, INTERRUPTED, READER_GONE = 70, 130, 141
_GLOBAL_OPTIONS = ("--url", "--log-format", "--verbose")
_TAKE_A_VALUE = ("--url", "--log-format")

COMMANDS = {
    "running": ("run", "progress", "cancel", "demo"),
    "asking": ("list", "show", "history", "counts", "flagged", "check"),
    "watching": ("watch", "completions"),
    "serving": ("serve",),
    "keeping": ("sweep", "deliver", "rebuild"),
    "auditing": ("as-of", "verify", "seal"),
    "retaining": ("archive", "erase"),
    "exchanging": ("export", "import", "migrate"),
    "lineage": ("openlineage",),
}
"""Which module brings which commands, in the order of the help."""


def application(modules: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with the commands of these modules.

    >>> len(application().registered_commands) == sum(map(len, COMMANDS.values()))
    True
    """
    app = typer.Typer(
        name="lastword",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 fine, 1 bad news (check, verify), 2 wrong usage or unknown run, 3 store unavailable.",
    )
    app.callback()(lastword)
    for module in modules:
        import_module(f".{module}", __package__).add_to(app)
    return app


def modules_for(arguments: Sequence[str]) -> Iterable[str]:
    """The one module that these arguments need; all where that is not clear, as for the help.

    >>> [*modules_for(["--url", "show", "list"])], len([*modules_for(["--help"])]) == len(COMMANDS)
    (['asking'], True)
    """
    rest = iter(arguments)
    for argument in rest:
        option, equals, _ = argument.partition("=")
        if option in _TAKE_A_VALUE:
            if not equals:
                next(rest, None)
        elif option not in _GLOBAL_OPTIONS:
            return [name for name, found in COMMANDS.items() if argument in found] or COMMANDS
    return COMMANDS


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"lastword {version('lastword')}")
        raise typer.Exit


def lastword(
    ctx: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The store: a path, sqlite:///PATH, or postgresql://HOST/DATABASE. Default: $LASTWORD_URL, else a file in your data directory.",
        ),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="How log lines on stderr look.")
    ] = LogFormat.CONSOLE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log what is worth knowing, not only trouble.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Every run gets a last word, or a flag that says it never had one.

    Example: lastword run --name import -- python import.py
    """
    ctx.obj = Session(url=url, log_format=log_format, verbose=verbose)


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say, and return the exit code. Errors are one line on stderr, with the remedy."""
    _open_streams()
    try:
        app = application(modules_for(arguments))
        code = app(list(arguments), prog_name="lastword", standalone_mode=False)
        sys.stdout.flush()
    except (ReaderGone, BrokenPipeError):
        _forget_stdout()
        return READER_GONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except LastwordError as error:
        _complain(str(error), error)
        return exit_code_of(error)
    except Exception as error:  # noqa: BLE001  # people get one line, whatever went wrong
        if not arguments and _is_usage(error):  # what it says then is the help
            note(str(getattr(error, "format_message", lambda: "")()))
            return 2
        if _is_usage(error):
            _complain(_usage_of(error, arguments))
            return 2
        if isinstance(error, OSError):
            if error.filename == STDOUT:
                _forget_stdout()
            _complain(
                f"{error.strerror or error}: {error.filename or 'no file named'}; check the path and its rights",
                error,
            )
            return 3
        text = f"internal error: {type(error).__name__}: {error}; LASTWORD_DEBUG=1 shows where"
        _complain(text, error)
        return BUG
    return code if isinstance(code, int) else 0


def exit_code_of(error: LastwordError) -> int:
    """2 for what the caller can put right by asking for something else, 3 for what is wrong with the store."""
    at_fault = (StoreUnavailable, StoreCorrupt, UnsupportedSchema, VersionConflict)
    return 3 if isinstance(error, at_fault) else 2


def _complain(text: str, error: BaseException | None = None) -> None:
    if error is not None and debugging():
        traceback.print_exception(error)
    note(f"lastword: error: {one_line(text)}")


def _is_usage(error: Exception) -> bool:
    """Whether it says that the arguments are wrong; the class lives in different places in different releases."""
    usage = typer.BadParameter.__mro__
    base = next(kind for kind in usage if kind.__name__ == "ClickException")
    return isinstance(error, base)


def _usage_of(error: Exception, arguments: Sequence[str]) -> str:
    message: str = getattr(error, "format_message", lambda: str(error))().rstrip(".")
    option = getattr(error, "option_name", None)
    if option in _GLOBAL_OPTIONS:
        return f"No such option: {option}; {option} goes before the command: lastword {option} ... COMMAND"
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "lastword"
    if "--json" in arguments and option == "--json":
        return f"{message}; this command has no --json"
    return f"{message}; `{path} --help` shows what it takes"


def _open_streams() -> None:
    """Where stdout or stderr is closed, Python has none at all; writing must still be possible, also what their encoding has no sign for."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # for as long as we run
            setattr(sys, name, nowhere)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_stdout() -> None:
    """Nobody reads it, or nothing can be written there: what is still buffered must not be complained about at exit."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # a descriptor is wanted
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
