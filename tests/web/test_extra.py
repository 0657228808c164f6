"""Without the extra `web`: a clear error that says what to install."""

import subprocess
import sys
from pathlib import Path

import pytest

from commandline import PATIENCE, environment


def said_without(module: str, program: str, store: Path) -> tuple[int, str]:
    """What a Python that cannot import the module says on stderr: its exit code and last line."""
    hidden = f"import sys; sys.modules[{module!r}] = None\n{program}"
    answer = subprocess.run(
        [sys.executable, "-c", hidden],
        env=environment(store), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    return answer.returncode, answer.stderr.splitlines()[-1]


@pytest.mark.parametrize("module", ["fastapi", "jinja2"])
def test_importing_says_what_to_install(tmp_path: Path, module: str) -> None:
    """Whichever of its libraries is missing."""
    code, line = said_without(module, "import lastword.web", tmp_path / "runs.db")
    assert 1 == code
    assert f"ImportError: lastword.web: expected the extra `web`, found no {module}" in line
    assert "pip install 'lastword[web]'" in line


def test_the_command_says_what_to_install(tmp_path: Path) -> None:
    """One line, and the exit code of wrong usage; every other command works without."""
    program = "from lastword.infrastructure.cli.app import run\nrun(['--version'])\nsys.exit(run(['serve']))"
    code, line = said_without("uvicorn", program, tmp_path / "runs.db")
    assert 2 == code
    assert line.startswith("lastword: error: serve: expected the extra `web`, found no uvicorn")
