"""Runs in the environment of the peers: says its version, then does one lifecycle for each line that it reads."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from importlib import metadata


def mlflow() -> Callable[[], object]:
    """Create a run, set its end: what its tracking client does against a SQLite file."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]  # not in this environment

    client = MlflowClient("sqlite:///mlflow.db")
    experiment = client.create_experiment("bench")

    def lifecycle() -> None:
        run = client.create_run(experiment)
        client.set_terminated(run.info.run_id)

    return lifecycle


def dbos() -> Callable[[], object]:
    """A workflow of one step on a SQLite file; its rows say pending, then success."""
    from dbos import DBOS  # pyright: ignore[reportMissingImports]  # not in this environment

    DBOS(
        config={
            "name": "bench",
            "system_database_url": "sqlite:///dbos.db",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )

    @DBOS.step()
    def step() -> dict[str, int]:
        return {"rows": 10}

    @DBOS.workflow()
    def workflow() -> dict[str, int]:
        return step()

    DBOS.launch()
    return workflow


PEERS = {"mlflow": ("mlflow-skinny", mlflow), "dbos": ("dbos", dbos)}


def main() -> None:
    """See the module's docstring."""
    answers, sys.stdout = (
        sys.stdout,
        sys.stderr,
    )  # what the peers print must not be taken for an answer
    logging.disable(logging.CRITICAL)
    package, make = PEERS[sys.argv[1]]
    lifecycle = make()
    print(metadata.version(package), file=answers, flush=True)
    for _ in sys.stdin:
        lifecycle()
        print("done", file=answers, flush=True)
    os._exit(0)  # their threads would keep the process for a while


if __name__ == "__main__":
    main()
