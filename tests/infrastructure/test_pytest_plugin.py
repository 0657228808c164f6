"""The pytest plugin, in real runs of pytest: what it offers works as documented, and its failures fail and say why."""

import subprocess
import sys
from pathlib import Path

import pytest

from lastword import InvalidInput, RunTracker
from lastword.infrastructure.testing.golden import UPDATE_OPTION
from lastword.testing import RunClock
from replaying import changed, cut_off, two_runs

pytest_plugins = ["pytester"]

EXAMPLES = """
from lastword import RunCompleted, RunCreated, RunLost, RunStarted
from lastword.testing import OWNER, CompleteRun


def test_import_is_recorded(run_tracker, run_clock):
    run_id = run_tracker.create("import"); run_tracker.start(run_id); run_clock.advance(seconds=30)
    assert run_tracker.get(run_id).status == "running"


def test_late_success_after_lost(given):
    given(RunCreated(name="import"), RunStarted(owner=OWNER), RunLost(flag="silent")).when(CompleteRun(result=1)).then(RunCompleted(result=1))


def test_production_histories(replay):
    views = replay("histories/2026-11.jsonl")
    assert views[17].status == "failed"
"""


@pytest.fixture
def histories(pytester: pytest.Pytester) -> Path:
    """A file with two runs, in the folder of the inner test."""
    return two_runs(pytester.path)


def test_the_three_examples_run_as_they_are_written(pytester: pytest.Pytester, histories: Path):
    """In a process of its own, found by installing alone, where every warning is an error."""
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(EXAMPLES)
    result = pytester.runpytest_subprocess("-q", "-W", "error", "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=3)


def test_nothing_is_imported_before_a_fixture_is_used(pytester: pytest.Pytester):
    """Whoever has Lastword installed and does not use it does not pay for it."""
    pytester.makepyfile(
        """
        import sys

        def test_not_imported(request):
            assert request.config.pluginmanager.hasplugin("lastword")
            ours = {name for name in sys.modules if name.partition(".")[0] == "lastword"}
            assert ours == {"lastword", "lastword.infrastructure", "lastword.infrastructure.pytest_plugin"}
            assert "pydantic" not in sys.modules

        def test_rules_need_no_tracker(given):
            given().when
            assert "lastword.domain.run" in sys.modules
            assert "lastword.infrastructure.tracking.tracker" not in sys.modules
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=2)


def test_it_can_be_switched_off(pytester: pytest.Pytester):
    """A project may have fixtures of these names already, or none of it."""
    pytester.makepyfile("def test_off(run_tracker): pass")
    result = pytester.runpytest_inprocess("-q", "-p", "no:lastword")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'run_tracker' not found*"])


def test_the_fixtures_and_the_option_are_in_the_help(pytester: pytest.Pytester):
    """`pytest --fixtures` and `pytest --help` say what there is."""
    fixtures = pytester.runpytest_inprocess("--fixtures", "-q").stdout
    fixtures.fnmatch_lines(["*run_clock*", "*stands still until the test moves it*"])
    fixtures.fnmatch_lines(["*run_tracker*", "*in memory*"])
    pytester.runpytest_inprocess("--help").stdout.fnmatch_lines([f"*{UPDATE_OPTION}*"])


def test_a_failed_scenario_fails_and_prints_both_lists(pytester: pytest.Pytester):
    """What was given, asked, expected and found; and no line of our own code."""
    pytester.makepyfile(
        """
        from lastword import RunCancelled, RunCreated, RunStarted
        from lastword.domain.errors import RunNotFound
        from lastword.testing import OWNER, CompleteRun, StartRun

        def test_then(given):
            given(RunCreated(name="import"), RunStarted(owner=OWNER)).when(CompleteRun(result=1)).then(RunCancelled())

        def test_nothing(given):
            given(RunCreated(name="import")).when(StartRun(owner=OWNER)).then_nothing()

        def test_raises(given):
            given(RunCreated(name="import")).when(CompleteRun()).then_raises(RunNotFound, match="x")

        def test_view(given):
            given(RunCreated(name="import")).when(StartRun(owner=OWNER)).then_view(status="failed")
        """
    )
    result = pytester.runpytest_inprocess("-q")
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: run 1",
            "E *given",
            "E *    RunCreated(name='import')",
            "E *    RunStarted(owner=*",
            "E *when",
            "E *    CompleteRun(result=1)",
            "E *expected",
            "E *    RunCancelled()",
            "E *found",
            "E *    RunCompleted(result=1)",
        ]
    )
    result.stdout.fnmatch_lines(["E *    (nothing)", "E *found", "E *    RunStarted*"])
    result.stdout.fnmatch_lines(["E *    RunNotFound matching 'x'", "E *found", "E *Invalid*"])
    result.stdout.fnmatch_lines(["E *    view.status == 'failed'", "E *view.status == 'running'"])
    result.stdout.no_fnmatch_line("*scenario.py*")


def test_an_assertion_on_a_view_is_explained_by_pytest(pytester: pytest.Pytester):
    """A plain `assert` in a test shows the status that was found."""
    pytester.makepyfile(
        """
        def test_status(run_tracker):
            assert run_tracker.get(run_tracker.create("import")).status == "running"
        """
    )
    result = pytester.runpytest_inprocess("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *assert *'pending'* == 'running'*"])


def test_time_passes_only_when_the_test_says_so(run_tracker: RunTracker, run_clock: RunClock):
    """A run is silent once the clock is past its lease, and no longer after a beat; nothing beats by itself."""
    run_id = run_tracker.create("import", run_id=1)
    run_tracker.start(run_id)
    run_clock.advance(seconds=61)
    flag = run_tracker.get(1).flag
    assert flag is not None
    assert "silent" == flag.reason
    run_tracker.beat()
    assert run_tracker.get(1).flag is None
    run_clock.advance(minutes=2)
    assert [1] == [view.run_id for view in run_tracker.sweep()]
    run_tracker.complete(1)
    assert ("completed", run_clock.now) == (
        run_tracker.get(1).status,
        run_tracker.get(1).finished_at,
    )


def test_every_progress_report_is_stored(run_tracker: RunTracker):
    """A test sees what it reported, though no time passed."""
    run_id = run_tracker.create("import")
    run_tracker.start(run_id)
    for number in (1, 2, 3):
        run_tracker.progress(run_id, number, 10)
    assert 3 == run_tracker.get(run_id).progress_current


def test_the_environment_does_not_reach_the_tracker(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
):
    """A test gives the same result on a machine where Lastword is set up; and the tracker is closed after it."""
    monkeypatch.setenv("LASTWORD_URL", "sqlite:///elsewhere.db")
    monkeypatch.setenv("LASTWORD_LEASE", "7")
    pytester.makepyfile(
        """
        kept = []

        def test_settings(run_tracker):
            kept.append(run_tracker)
            assert run_tracker.settings.lease == 60
            run_tracker.create("import")

        def test_closed():
            import pytest
            from lastword import StoreUnavailable
            with pytest.raises(StoreUnavailable):
                kept[0].create("import")
        """
    )
    pytester.runpytest_inprocess("-q").assert_outcomes(passed=2)
    assert not (pytester.path / "elsewhere.db").exists()


def test_a_clock_is_moved_on_or_set():
    """Steps have a length; a naive moment is refused."""
    clock = RunClock()
    start = clock.now
    assert 90061 == (clock.advance(days=1, hours=1, minutes=1, seconds=1) - start).total_seconds()
    with pytest.raises(InvalidInput, match="advance: expected a positive time"):
        clock.advance(seconds=-1)
    with pytest.raises(InvalidInput, match="advance: expected a positive time"):
        clock.advance()
    with pytest.raises(InvalidInput, match="expected an aware datetime"):
        clock.set(start.replace(tzinfo=None))
    assert start == clock.set(start) == clock()
    assert "RunClock(2026-01-01T00:00:00+00:00)" == repr(clock)


def test_a_bad_file_fails_the_test_that_reads_it(pytester: pytest.Pytester, histories: Path):
    """With the message alone, without the way through our code; a file that is not there names the places."""
    cut_off(histories)
    pytester.makepyfile(
        """
        def test_truncated(replay):
            replay("histories/2026-11.jsonl")

        def test_missing(replay):
            replay("histories/2026-12.jsonl")
        """
    )
    result = pytester.runpytest_inprocess("-q")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E *InvalidInput: 2026-11.jsonl, line 6: *truncated*"])
    result.stdout.fnmatch_lines(["E *FileNotFoundError: replay: *none at *2026-12.jsonl*"])
    result.stdout.no_fnmatch_line("*replaying.py*")


GOLDEN_TEST = """
def test_outcomes(replay):
    views = replay("../histories/2026-11.jsonl", golden="../histories/2026-11.golden.json")
    assert views[17].name
"""


@pytest.fixture
def golden(pytester: pytest.Pytester, histories: Path) -> Path:
    """A golden file that agrees with the histories, and a test that compares with it."""
    folder = pytester.mkdir("tests")
    (folder / "test_golden.py").write_text(GOLDEN_TEST, encoding="utf-8")
    result = pytester.runpytest_inprocess("-q", UPDATE_OPTION)
    result.assert_outcomes(passed=1)
    path = histories.with_suffix(".golden.json")
    result.stdout.fnmatch_lines(["lastword: wrote *2026-11.golden.json"])
    assert path.is_file()
    return path


def test_outcomes_that_agree_pass_and_are_not_written_again(
    pytester: pytest.Pytester, golden: Path
):
    """The file stays as it was, byte for byte; nothing else is left beside it."""
    before = (golden.read_bytes(), golden.stat().st_mtime_ns)
    pytester.runpytest_inprocess("-q").assert_outcomes(passed=1)
    result = pytester.runpytest_inprocess("-q", UPDATE_OPTION)
    result.stdout.no_fnmatch_line("*wrote*")
    assert before == (golden.read_bytes(), golden.stat().st_mtime_ns)
    assert ["2026-11.golden.json", "2026-11.jsonl"] == sorted(
        path.name for path in golden.parent.iterdir()
    )


def test_a_difference_names_run_event_and_field(
    pytester: pytest.Pytester, histories: Path, golden: Path
):
    """The first event that differs, with what was expected and what was found; then the way to accept it."""
    error = {"error": {"type": "KeyError", "message": "no rows"}}
    changed(histories, 3, data=error, time="2026-01-01T00:00:09Z")
    result = pytester.runpytest_inprocess("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: 2026-11.jsonl: not as 2026-11.golden.json has it",
            "E *run 17, event 3 (RunFailed, 2026-01-01T00:00:09+00:00)",
            "E *    finished_at: expected '2026-01-01T00:00:02Z', found '2026-01-01T00:00:09Z'",
            "E *    error_type: expected 'ValueError', found 'KeyError'",
            f"E *if what was found is right: pytest {UPDATE_OPTION}",
        ]
    )
    result.stdout.no_fnmatch_line("*run a*")
    pytester.runpytest_inprocess("-q", UPDATE_OPTION).assert_outcomes(passed=1)
    pytester.runpytest_inprocess("-q").assert_outcomes(passed=1)


def test_the_public_face_imports_no_tracker():
    """`lastword.testing` is for rules and histories; a tracker is loaded where one is wanted."""
    code = "import sys, lastword.testing; sys.exit('lastword.infrastructure.tracking.tracker' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode
