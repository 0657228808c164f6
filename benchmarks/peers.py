"""Other trackers, measured beside ours: MLflow and DBOS, each in a process of an environment of its own (``--peers``).

Their dependencies would not fit beside ours, so they are installed into a fresh environment, which goes with the measuring unless a folder
is named.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from report import Options

PACKAGES = ("mlflow-skinny", "sqlalchemy", "alembic", "dbos")
"""What MLflow's own store needs comes with the second and the third."""

CHILD = Path(__file__).with_name("peer_child.py")
KINDS = {"mlflow": "MLflow", "dbos": "DBOS"}


def environment(folder: str, shared: Path, tell: Callable[[str], object]) -> Path:
    """The interpreter of an environment that has the peers; made when the folder has none yet."""
    place = Path(folder) if folder else shared / "peers"
    python = place / "bin" / "python"
    if not (place / "installed").exists():
        tell("installing MLflow and DBOS into an environment of their own; this takes some minutes")
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        command = [
            str(python),
            "-m",
            "pip",
            "install",
            "-qq",
            "--disable-pip-version-check",
            *PACKAGES,
        ]
        subprocess.run(command, check=True)
        (place / "installed").touch()
    return python.absolute()


def contenders(options: Options, folder: Path) -> list[Peer]:
    """Both of them, running; none when they were not asked for."""
    if options.peers is None:
        return []
    return [Peer(options.peers, kind, name, folder) for kind, name in KINDS.items()]


class Peer:
    """A lifecycle of another tracker, in its own process: one line asks for one, one line says that it is done."""

    path = None

    def __init__(self, python: Path, kind: str, name: str, folder: Path) -> None:
        own = folder / kind
        own.mkdir()
        self._log = (own / "log").open("w")
        self._child = subprocess.Popen(
            [python, CHILD, kind],
            cwd=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.name = f"{name} {self._answer()}"
        self._own = own

    def _answer(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline().strip()
        if not line:
            self._log.flush()
            raise SystemExit(f"{self._child.args}: {Path(self._log.name).read_text()[-2000:]}")
        return line

    def lifecycle(self) -> None:
        """See `Contender`."""
        assert self._child.stdin is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        self._answer()

    def close(self) -> None:
        """See `Contender`."""
        self._child.communicate()
        self._log.close()
        shutil.rmtree(self._own, ignore_errors=True)
