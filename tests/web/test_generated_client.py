"""A client that a generator made from the OpenAPI document drives one lifecycle against a real server."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from lastword import RunTracker
from streaming import serving

TOKEN = "a-token-for-this-test-only"


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the package `made` will be generated, on the path of imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_generated_client_drives_a_lifecycle(generated: Path) -> None:
    """Create, start, beat, progress, complete, and read back: typed, with problems as types of their own."""
    with (
        RunTracker(generated / "runs.db") as tracker,
        serving(tracker, token=SecretStr(TOKEN)) as server,
    ):
        document = generated / "openapi.json"
        app: Any = server.config.app
        document.write_text(json.dumps(app.openapi()), encoding="utf-8")
        subprocess.run(
            [Path(sys.executable).with_name("clientele"), "start-api", "--file", document, "--output", generated / "made"],
            check=True, capture_output=True,
        )  # fmt: skip
        made, schemas, config = (
            importlib.import_module(f"made.{name}") for name in ("client", "schemas", "config")
        )
        made.client.configure(
            config=config.Config(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"})
        )
        created = made.create_run(
            data=schemas.CreateBody(name="import", run_id="a/1", tags={"team": "data"})
        )
        assert ("a/1", ["RunCreated"]) == (created.run_id, created.events)
        started = made.start_run(
            run_id="a/1",
            data=schemas.StartBody(owner=schemas.OwnerBody(host="h", pid=7, started_at=None)),
        )
        assert "running" == started.status
        assert made.heartbeat(run_id="a/1", data=schemas.Nothing()).cancel_requested is False
        made.report_progress(run_id="a/1", data=schemas.ProgressBody(current=3, total=10))
        done = made.complete_run(run_id="a/1", data=schemas.CompleteBody(result={"rows": 10}))
        assert isinstance(done, schemas.CommandAnswer)
        view = made.get_run(run_id="a/1")
        assert isinstance(view, schemas.RunView)
        assert ("completed", 3) == (view.status, view.progress_current)
        assert {"rows": 10} == tracker.get("a/1").result
        (listed,) = made.list_runs(tag=["team:data"]).items
        assert "a/1" == listed.run_id
        missing = made.get_run(run_id="nobody")
        assert isinstance(missing, schemas.LastwordProblem)
        assert (404, "nobody") == (missing.status, missing.run_id)
        made.client.close()
