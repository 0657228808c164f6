"""The recipes whose programs need something around them: cron's shell, a workflow's steps, a notebook's kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from docs.pages import ROOT, Block, agrees, blocks_of
from faults.kit import wait_until
from lastword import RunTracker
from managing import QUICK, locked

SCHEDULED = ROOT / "docs" / "how-to" / "scheduled-jobs.md"
NOTEBOOK = ROOT / "docs" / "how-to" / "jupyter.md"


def block_called(page: Path, title: str) -> Block:
    """The block of a page with this title."""
    (block,) = (block for block in blocks_of(page) if block.title == title)
    return block


def shell(
    command: str, folder: Path, *, sh: str = "sh", **variables: str
) -> subprocess.CompletedProcess[str]:
    """The command as cron and runners start it: with few variables of the environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    return subprocess.run(
        [sh, "-c", command],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), "NO_COLOR": "1", "COLUMNS": "200", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_lines_for_cron(tmp_path: Path) -> None:
    """Cron's own way: the variables above, then each line's command in a shell with nothing else around it."""
    setting, backup, check = block_called(SCHEDULED, "crontab").text.splitlines()
    name, value = setting.split("=", 1)
    made = shell(backup.split(" ", 5)[5], tmp_path, **{name: value})
    assert (0, "12 files\n") == (made.returncode, made.stdout)
    mail = tmp_path / "bin" / "mail"
    mail.parent.mkdir()
    mail.write_text("#!/bin/sh\ncat > mailed.txt\n", encoding="utf-8")
    mail.chmod(0o755)
    command = f'PATH="{mail.parent}:$PATH"; {check.split(" ", 5)[5]}'
    assert 0 == shell(command, tmp_path, **{name: value}).returncode
    assert not (tmp_path / "mailed.txt").exists()
    killed = "lastword run --name backup -- sh -c 'kill -9 $PPID'"
    assert 0 != shell(killed, tmp_path, **{name: value}).returncode
    shell(command, tmp_path, **{name: value})
    assert "owner_gone" in (tmp_path / "mailed.txt").read_text()


def test_the_steps_of_the_workflow(tmp_path: Path) -> None:
    """Each step but the installation, as the runner starts it: ``bash -e``, with the job's variables."""
    workflow = yaml.safe_load(block_called(SCHEDULED, ".github/workflows/nightly.yml").text)
    assert [{"cron": "15 3 * * *"}] == workflow[True]["schedule"]  # YAML 1.1 reads `on` as true
    job = workflow["jobs"]["import"]
    summary = tmp_path / "summary.md"
    variables = {**job["env"], "GITHUB_STEP_SUMMARY": str(summary)}
    steps = {step.get("name"): step for step in job["steps"]}
    install = steps.pop("Install")
    assert "python -m pip install lastword" == install["run"]
    for step in steps.values():
        if "run" in step:
            done = shell(f"set -e\n{step['run']}", tmp_path, sh="bash", **variables)
            assert 0 == done.returncode, done.stderr
    assert "import" in summary.read_text()
    assert "completed" in summary.read_text()
    assert steps[None]["with"]["path"] == "runs.jsonl"
    with RunTracker(tmp_path / "elsewhere.db") as elsewhere:
        assert 1 == elsewhere.import_events(tmp_path / "runs.jsonl").new_runs


class Notebook:
    """Cells in a real kernel."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self._client = client  # with `stop_on_error` a kernel may pass over what comes just after a cell that raised

    def run(self, cell: str) -> dict[str, Any]:
        """Run a cell to its end; its reply, with what it printed under ``printed``."""
        printed = list[str]()

        def listen(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                printed.append(message["content"]["text"])

        reply = self._client.execute_interactive(
            cell, output_hook=listen, timeout=30, stop_on_error=False
        )
        return {**reply["content"], "printed": "".join(printed)}

    def begin(self, cell: str) -> str:
        """Have a cell begun; the id to wait with."""
        return self._client.execute(cell, stop_on_error=False)

    def reply(self) -> dict[str, Any]:
        """How the cell that was begun has ended."""
        return self._client.get_shell_msg(timeout=30)["content"]


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    manager = KernelManager(transport="ipc", ip=str(tmp_path / "kernel"))
    manager.start_kernel(cwd=str(tmp_path), env={**os.environ, "IPYTHONDIR": str(tmp_path)})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_the_cells_of_the_notebook(notebook: Notebook, tmp_path: Path) -> None:
    """The page's cells in a real kernel; then one that raises, one during an outage, one that is interrupted, one whose kernel is killed."""
    printed = ""
    for block in blocks_of(NOTEBOOK):
        if block.language == "python":
            reply = notebook.run(block.text)
            assert "ok" == reply["status"], reply
            printed = reply["printed"]
        elif block.title == "Output":
            assert agrees(block.text, printed)
    with RunTracker(tmp_path / "runs.db", **QUICK) as tracker:

        def status(name: str) -> str | None:
            view = tracker.latest(name)
            return None if view is None else view.status.value

        assert "error" == notebook.run("%%tracked broken\n1 / 0")["status"]
        assert "failed" == status("broken")

        notebook.run(
            "tracker.close(); tracker = RunTracker('runs.db', retry_attempts=1, retry_budget=0.1)"
        )
        notebook.begin(
            "%%tracked outage\nopen('begun', 'w'); import os\nwhile not os.path.exists('go'): pass"
        )
        wait_until((tmp_path / "begun").exists)
        with locked(tmp_path / "runs.db"):
            (tmp_path / "go").touch()
            assert "ok" == notebook.reply()["status"]
            assert "running" == status("outage")
        notebook.run("tracker.deliver_spool()")
        assert "completed" == status("outage")

        notebook.begin("%%tracked interrupted\nimport time\ntime.sleep(60)")
        wait_until(lambda: status("interrupted") == "running")
        notebook.manager.interrupt_kernel()
        assert "error" == notebook.reply()["status"]
        assert "cancelled" == status("interrupted")

        notebook.begin("%%tracked killed\nimport time\ntime.sleep(60)")
        wait_until(lambda: status("killed") == "running")
        notebook.manager.signal_kernel(signal.SIGKILL)  # `shutdown_kernel` interrupts it first
        wait_until(lambda: not notebook.manager.is_alive())
        (flagged,) = tracker.flagged()
        assert flagged.flag is not None
        assert ("killed", "owner_gone") == (flagged.name, flagged.flag.reason)
