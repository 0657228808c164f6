"""The pages for operators are true: every metric, every log line, every query of the dashboard and the alerts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from docs.log_lines import log_lines
from docs.pages import ROOT
from docs.test_catalogues import rows_of
from faults.kit import MovableClock
from lastword import RunTracker
from lastword.infrastructure.telemetry import metrics
from lastword.infrastructure.telemetry.prometheus import StoreCollector, prometheus_name


def test_every_metric_of_a_process_has_its_line() -> None:
    """With its kind, its unit and its attributes."""
    rows = rows_of("metrics.md")
    expected = {
        it.name: [
            it.kind.replace("up_down", "up-down").replace("_", " "),
            it.unit.strip("{}"),
            ", ".join(f"`{name}`" for name in it.attributes) or "none",
        ]
        for it in metrics.CATALOGUE
    }
    assert expected == {name: cells[:3] for name, cells in rows.items() if "lastword." in name}


def test_every_metric_of_the_page_has_its_line(tmp_path: Path) -> None:
    """With its kind and its labels."""
    own = {prometheus_name(it) for it in metrics.CATALOGUE} - {"lastword_runs_flagged"}
    expected = {}
    clock = MovableClock()
    with RunTracker(tmp_path / "runs.db", clock=clock, heartbeat=3600) as tracker:
        tracker.create("import", deadline=timedelta(seconds=1))
        for family in StoreCollector(tracker).collect():
            if family.name not in own:
                labels = {name for sample in family.samples for name in sample.labels}
                expected[family.name] = [
                    family.type,
                    ", ".join(f"`{it}`" for it in labels) or "none",
                ]
    rows = rows_of("metrics.md")
    assert expected == {name: cells[:2] for name, cells in rows.items() if "lastword_" in name}


MONITORING = ROOT / "docs" / "how-to" / "monitoring"
FROM_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus itself puts on."""


def queries_of_the_dashboard() -> Iterator[tuple[str, str]]:
    for panel in json.loads((MONITORING / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def queries_of_the_alerts() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


QUERIES = [*queries_of_the_dashboard(), *queries_of_the_alerts()]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every series that the page can have after a day's work, with the names of its labels."""
    found: dict[str, set[str]] = {"up": set()}
    with RunTracker(tmp_path_factory.mktemp("day") / "runs.db", heartbeat=3600) as tracker:
        with tracker.run("import"):
            pass
        for family in StoreCollector(tracker).collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[0])
def test_every_query_asks_for_what_is_there(
    query: tuple[str, str], series: dict[str, set[str]]
) -> None:
    """A metric that was renamed would leave a panel empty, and an alert silent, without a word."""
    _, expression = query
    names = set(re.findall(r"\blastword_\w+|\bup\b", expression))
    assert names
    assert names <= series.keys()
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    labels = {label.strip() for group in grouped for label in group.split(",")}
    labels |= set(re.findall(r"(\w+)\s*=~?\s*\"", expression))
    assert labels <= FROM_PROMETHEUS.union(*(series[name] for name in names))
    assert expression.count("(") == expression.count(")")


def test_the_dashboard_and_the_alerts_are_complete() -> None:
    """Panels have places of their own; alerts say what is wrong."""
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    places = {(it["gridPos"]["x"], it["gridPos"]["y"]) for it in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"]) == len({it["id"] for it in dashboard["panels"]})
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)


def test_every_log_line_has_its_line() -> None:
    """With its levels and its fields; a line that is logged no longer has none."""
    expected = {
        name: [
            ", ".join(sorted(line.levels)),
            ", ".join(f"`{it}`" for it in sorted(line.fields)) or "none",
        ]
        for name, line in log_lines().items()
    }
    found = {name: cells[:2] for name, cells in rows_of("logs.md").items()}
    assert expected == found
