"""The commands that answer, write and keep house, called in this process: each once right and once wrong."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from commandline import json_lines
from lastword import Owner, RunTracker
from lastword.domain.commands import FailRun
from lastword.domain.values import ErrorInfo
from lastword.infrastructure.cli.app import COMMANDS, application, run

NOW = datetime.now(UTC)
GONE = Owner(host="elsewhere", pid=17, started_at=NOW)


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LASTWORD_URL", str(tmp_path / "runs.db"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for variable in ("LASTWORD_RUN_ID", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "runs.db"


@pytest.fixture
def cli(store: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Calls `lastword` with these arguments."""

    def call(*arguments: str) -> Answer:
        code = run(arguments)
        written = capsys.readouterr()
        return Answer(code, written.out, written.err)

    return call


@pytest.fixture
def tracker(store: Path) -> Iterator[RunTracker]:
    """A store with one run of each kind: completed, failed, running here, silent elsewhere, pending."""
    with RunTracker(store) as tracker:
        for run_id, name in (
            ("done-1", "import"),
            ("bad-2", "import"),
            ("now-3", "report"),
            ("silent-4", "nightly"),
        ):
            tracker.create(
                name, run_id=run_id, tags={"team": "data"} if name == "import" else {}, actor="cron"
            )
        tracker.create("later", run_id=5, params={"folder": "in"})
        tracker.start("done-1")
        tracker.complete("done-1", result={"rows": 10})
        tracker.start("bad-2")
        error = ErrorInfo(type="ExitCode", message="exit code 3: no rows")
        tracker.finish("bad-2", FailRun(error=error, exit_code=3))
        tracker.start("now-3")
        tracker.progress("now-3", 3, 10, step="extract")
        yield tracker


@pytest.fixture
def flagged(store: Path, tracker: RunTracker) -> str:
    """A run whose owner, on another host, was last heard of ten minutes ago."""
    then = datetime.now(UTC) - timedelta(minutes=10)  # NOW may be minutes ago
    with RunTracker(store, clock=lambda: then) as earlier:
        earlier.start("silent-4", owner=GONE)
    return "silent-4"


def ids(answer: Answer) -> list[Any]:
    return [item["run_id"] for item in json_lines(answer.out)]


def test_list_gives_the_models_fields_newest_first(cli: Cli, tracker: RunTracker) -> None:
    """What a script reads is what Python reads."""
    answer = cli("list", "--json")
    assert [view.model_dump(mode="json") for view in tracker.list()] == json_lines(answer.out)
    assert (0, "") == (answer.code, answer.err)


def test_list_for_people_has_a_line_for_each_run(cli: Cli, tracker: RunTracker) -> None:
    """Plain text off a terminal: no colour, nothing cut, one line a run."""
    out = cli("list").out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert ["run", "5", "silent-4", "now-3", "bad-2", "done-1"] == [
        line.split()[0] for line in lines
    ]
    assert lines[4].endswith("exit code 3: no rows")
    assert lines[3].endswith("3/10 (30%) extract")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--status", "failed"], ["bad-2"]),
        (["--status", "failed", "--status", "completed"], ["bad-2", "done-1"]),
        (["--name", "report"], ["now-3"]),
        (["--tag", "team=data"], ["bad-2", "done-1"]),
        (["--flagged"], ["silent-4"]),
        (["--not-flagged"], [5, "now-3", "bad-2", "done-1"]),
        (["--since", "2h", "--limit", "1"], [5]),
        (["--until", "1h"], []),
        (["--since", "2020-01-01T00:00Z", "--until", "2020-01-02T00:00+01:00"], []),
    ],
)
@pytest.mark.usefixtures("flagged")
def test_list_filters(cli: Cli, filters: list[str], expected: list[Any]) -> None:
    """All filters together narrow the list down."""
    assert expected == ids(cli("list", "--json", *filters))


def test_list_goes_on_from_a_cursor(cli: Cli, tracker: RunTracker) -> None:
    """The cursor is on stderr, where it does not disturb a script."""
    first = cli("list", "--json", "--limit", "2")
    assert first.err.startswith("lastword: there are more: --cursor ")
    second = cli("list", "--json", "--cursor", first.err.split()[-1])
    assert [5, "silent-4", "now-3", "bad-2", "done-1"] == ids(first) + ids(second)


def test_show_tells_the_story(cli: Cli, flagged: str) -> None:
    """What became of it, and for a flagged run why."""
    out = cli("show", flagged).out
    assert re.search(rf"Run {flagged} \(nightly\) is running for 1\d m", out)
    assert "It looks as if it will never end (silent since " in out
    assert re.search(r"pid 17 on elsewhere was last heard of 6\d\d s ago; its lease is 60 s\.", out)
    assert "Run bad-2 (import) failed after " in cli("show", "bad-2").out
    assert 'result    {"rows": 10}' in cli("show", "done-1").out
    assert "Run 5 (later) is pending for " in cli("show", "5").out


def test_show_tells_of_a_contradiction_and_of_a_verdict(
    cli: Cli, tracker: RunTracker, flagged: str
) -> None:
    """Two things that people must not miss."""
    tracker.fail("done-1", "the disk was full after all")
    assert (
        "Another outcome was reported after the last word: claimed failed: Error: the disk"
        in cli("show", "done-1").out
    )
    assert 0 == cli("sweep").code
    assert (
        "Nobody reported an outcome: this verdict is the tracker's own." in cli("show", flagged).out
    )


def test_a_run_can_be_named_by_any_part_that_is_its_own(cli: Cli, tracker: RunTracker) -> None:
    """A unique beginning or end does; others are listed, and refused."""
    tracker.create("import", run_id="done-10")
    assert ["now-3"] == ids(cli("show", "now", "--json")) == ids(cli("show", "3", "--json"))
    assert ["done-1"] == ids(cli("show", "done-1", "--json"))
    answer = cli("show", "done")
    assert (2, "") == (answer.code, answer.out)
    assert answer.err.startswith(
        "lastword: error: run done: expected one run, found 2 or more; say which: "
    )
    assert {"done-1", "done-10"} == set(answer.err.split(": ")[-1].strip().split(", "))


def test_history_is_the_audit_trail(cli: Cli, tracker: RunTracker) -> None:
    """As recorded for scripts; with the time between the steps for people."""
    assert [e.as_json() for e in tracker.history("bad-2")] == json_lines(
        cli("history", "bad-2", "--json").out
    )
    lines = cli("history", "bad-2").out.splitlines()
    assert ["RunCreated", "RunStarted", "RunFailed"] == [
        line.split()[3 if n == 0 else 5] for n, line in enumerate(lines[1:])
    ]
    assert "ExitCode: exit code 3: no rows" in lines[3]


def test_counts(cli: Cli, tracker: RunTracker) -> None:
    """Every status has a number."""
    expected = {"pending": 2, "running": 1, "completed": 1, "failed": 1, "cancelled": 0}
    assert [expected] == json_lines(cli("counts", "--json").out)
    assert ["pending", "2"] in [line.split() for line in cli("counts").out.splitlines()]


def test_check_is_bad_news_when_a_run_is_flagged(cli: Cli, tracker: RunTracker) -> None:
    """Exit code 1, and which; 0 otherwise."""
    answer = cli("check")
    assert (0, "", "lastword: no run is flagged\n") == answer
    then = datetime.now(UTC) - timedelta(minutes=10)
    with RunTracker(tracker.store.url, clock=lambda: then) as earlier:
        earlier.start("silent-4", owner=GONE)
    answer = cli("check", "--json")
    assert (1, ["silent-4"]) == (answer.code, ids(answer))
    assert "lastword: 1 run flagged; `lastword sweep` gives up those that are lost\n" == answer.err
    assert "silent: pid 17 on elsewhere" in cli("flagged").out


def test_sweep_gives_up_what_is_flagged_once(cli: Cli, flagged: str, tracker: RunTracker) -> None:
    """A verdict is an event; there is no second one."""
    answer = cli("sweep", "--json")
    assert (0, [flagged], "lastword: 1 run declared lost\n") == (
        answer.code,
        ids(answer),
        answer.err,
    )
    assert (0, "", "lastword: nothing to give up\n") == cli("sweep")
    assert ("failed", True) == (
        tracker.get(flagged).status,
        tracker.get(flagged).status_update_failed,
    )


def test_verify_finds_a_row_that_is_not_its_events_and_rebuild_repairs_it(
    cli: Cli, store: Path, tracker: RunTracker
) -> None:
    """Exit code 1 with the run, the difference and the remedy; then 0 again."""
    assert (0, "ok: 5 runs with 11 events\n", "") == cli("verify")
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE runs SET status = 'completed' WHERE run_key = 'now-3'")
    answer = cli("verify")
    assert 1 == answer.code
    assert answer.out.startswith("run now-3: row: status: expected ")
    (report,) = json_lines(cli("verify", "--json").out)
    assert (False, 5, 1) == (report["ok"], report["runs"], len(report["problems"]))
    assert (0, "", "lastword: 5 rows computed from the events\n") == cli("rebuild")
    assert 0 == cli("verify").code


def test_completions_are_signals_with_positions(cli: Cli, tracker: RunTracker) -> None:
    """The feed, in the order of the store, from any position on."""
    feed = [{**signal, "position": position} for position, signal in tracker.completions()]
    assert feed == json_lines(cli("completions", "--json").out)
    assert [feed[1]] == json_lines(
        cli("completions", "--json", "--after", str(feed[0]["position"])).out
    )
    assert ["done-1  completed", "bad-2  failed"] == [
        line.split(maxsplit=1)[1] for line in cli("completions").out.splitlines()
    ]


def test_watching_a_finished_run_ends_at_once(cli: Cli, tracker: RunTracker) -> None:
    """Its history, and exit code 0."""
    answer = cli("watch", "bad-2", "--json")
    assert (0, [e.as_json() for e in tracker.history("bad-2")]) == (
        answer.code,
        json_lines(answer.out),
    )
    assert "RunFailed  ExitCode: exit code 3: no rows" in cli("watch", "bad-2").out


def test_progress_of_a_named_run_and_of_the_one_around(
    cli: Cli, tracker: RunTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside, the run is named; inside `lastword run` two numbers are enough."""
    assert (0, "", "") == cli("progress", "now-3", "4", "10", "--step", "load")
    assert (4, 10, "load") == progress_of(tracker)
    assert (0, "", "") == cli("progress", "now-3", "-0.5")
    assert (-0.5, 10, "load") == progress_of(tracker)
    monkeypatch.setenv("LASTWORD_RUN_ID", "now-3")
    assert (0, "", "") == cli("progress", "7", "20")
    assert (7, 20, "load") == progress_of(tracker)
    assert 0 == cli("progress", "8").code
    assert (8, 20, "load") == progress_of(tracker)


def progress_of(tracker: RunTracker) -> tuple[Any, Any, Any]:
    view = tracker.get("now-3")
    return view.progress_current, view.progress_total, view.current_step


def test_cancel_says_what_came_of_it(cli: Cli, tracker: RunTracker) -> None:
    """A running run is asked, a pending one is cancelled at once, a finished one stays."""
    assert (0, "", "lastword: run now-3: asked to stop\n") == cli(
        "cancel", "now-3", "--reason", "enough", "--actor", "ann"
    )
    assert (0, "", "lastword: run now-3: it was asked to stop before\n") == cli("cancel", "now-3")
    assert "CancellationRequested" == tracker.history("now-3")[-1].type
    assert (0, "", "lastword: run 5: cancelled\n") == cli("cancel", "5")
    assert (0, "", "lastword: run bad-2: it has had its last word already: failed\n") == cli(
        "cancel", "bad-2"
    )


def test_every_command_explains_itself_with_an_example(cli: Cli) -> None:
    """The help ends with a line that can be typed."""
    app = application()
    assert [*chain(*COMMANDS.values())] == [command.name for command in app.registered_commands]
    for command in app.registered_commands:
        help_text = (command.callback and command.callback.__doc__) or ""
        assert re.search(rf"\n *Example: lastword {command.name}", help_text), command.name
        assert 0 == cli(str(command.name), "--help").code


def test_json_stays_json_whatever_a_name_holds(cli: Cli, tracker: RunTracker) -> None:
    """Quotes, other scripts; and what would move the cursor does not reach a table."""
    tracker.create('a "b" ✓', run_id="odd")
    tracker.start("odd")
    tracker.progress("odd", 1, step="\x1b[2Jclear")
    (view,) = json_lines(cli("show", "odd", "--json").out)
    assert ('a "b" ✓', "\x1b[2Jclear") == (view["name"], view["current_step"])
    assert "\x1b" not in cli("show", "odd").out + cli("list").out + cli("history", "odd").out
    assert json.loads(cli("list", "--json", "--name", 'a "b" ✓').out)["run_id"] == "odd"
