"""Run the tests on every CPython from 3.11 on that is installed here, each in its own `.venv-3.N`.

Called by `make test-all`. uv says which interpreters there are; it is asked to look where pyenv
keeps its own too, and never to download one. Exits with 1 if the tests fail on any of them.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

CLOSING_LINE = re.compile(r"\b\d+ (?:passed|failed|error|skipped)|no tests ran")


class Interpreter(NamedTuple):
    """One Python to test on; `version` is (3, minor, patch)."""

    version: tuple[int, int, int]
    path: str

    @property
    def name(self) -> str:
        """What people call it: `3.12.1`."""
        return ".".join(map(str, self.version))


def installed() -> list[Interpreter]:
    """Find the newest patch release of each minor version that can make an environment."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [os.environ["PATH"], *map(str, sorted(pyenv.glob("versions/*/bin")))]
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "--no-config", "python", "list", "--only-installed", "--output-format", "json"]
    answer = subprocess.run(
        [*command, ">=3.11"],
        env={**os.environ, "PATH": os.pathsep.join(folders), "UV_PYTHON_DOWNLOADS": "never"},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # complaints about the interpreters that pyenv has switched off
    )
    newest: dict[int, Interpreter] = {}
    for entry in json.loads(answer.stdout):
        if entry["implementation"] != "cpython" or entry["variant"] != "default":
            continue
        parts = entry["version_parts"]
        found = Interpreter((parts["major"], parts["minor"], parts["patch"]), entry["path"])
        best = newest.get(parts["minor"])
        if (best is None or best.version < found.version) and can_make_environments(found):
            newest[parts["minor"]] = found
    return sorted(newest.values())


def can_make_environments(interpreter: Interpreter) -> bool:
    """Tell whether `python -m venv` works: Debian ships it in a package of its own."""
    question = [interpreter.path, "-c", "import ensurepip, venv"]
    return subprocess.run(question, check=False, capture_output=True).returncode == 0


def run_tests(interpreter: Interpreter, arguments: str) -> tuple[bool, str]:
    """Run `make test` on it; True if it passed, and pytest's closing line."""
    venv = f".venv-{interpreter.version[0]}.{interpreter.version[1]}"
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    settings = [f"VENV={venv}", f"PYTHON={interpreter.path}", f"ARGS={arguments}"]
    command = ["make", "--no-print-directory", "test", *settings]
    closing = "did not get as far as a test"
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if CLOSING_LINE.search(line):
                closing = line.strip("= \n")
    return process.returncode == 0, closing


def main() -> int:
    """Test on each interpreter, then print the table."""
    table: list[str] = []
    failed = False
    for interpreter in installed():
        sys.stdout.write(f"\n--- Python {interpreter.name} ({interpreter.path})\n")
        sys.stdout.flush()
        began = time.monotonic()
        passed, closing = run_tests(interpreter, " ".join(sys.argv[1:]))
        failed = failed or not passed
        seconds = time.monotonic() - began
        verdict = "ok" if passed else "FAILED"
        table.append(f"{interpreter.name:<10}{verdict:<8}{seconds:>6.0f} s  {closing}")
    sys.stdout.write("\n" + "\n".join(table or ["no Python from 3.11 on was found"]) + "\n")
    return 1 if failed or not table else 0


if __name__ == "__main__":
    sys.exit(main())
