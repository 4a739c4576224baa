"""Dashboard and alerts name only what Carrel exports, with labels that it has, and hold what the runbook wakes for."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
BOARD = json.loads((ROOT / "deploy" / "dashboards" / "carrel.json").read_text())
(GROUP,) = yaml.safe_load((ROOT / "deploy" / "alerts" / "carrel.rules.yaml").read_text())["groups"]
RULES = {rule["alert"]: rule for rule in GROUP["rules"]}
EXPRESSIONS = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in BOARD["panels"] for target in panel["targets"]
}
EXPRESSIONS |= {name: rule["expr"] for name, rule in RULES.items()}
FUNCTIONS = {"absent", "and", "by", "delta", "increase", "max", "min", "offset", "sum", "time"}


def exported():
    """Series -> its labels, of every family that `pipelines/metrics.py` makes."""
    found = {}
    for node in ast.walk(ast.parse((ROOT / "pipelines" / "metrics.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            if node.func.id in ("CounterMetricFamily", "GaugeMetricFamily", "_gauge") and name is not None:
                labels = [one.value for one in node.keywords if one.arg == "labels"]
                total = "_total" if node.func.id == "CounterMetricFamily" else ""
                found[name + total] = {label.value for one in labels for label in one.elts}
    return found


EXPORTED = exported()


def test_the_families_are_those_of_the_runbook():
    runbook = (ROOT / "docs" / "runbooks" / "live.md").read_text()

    assert len(EXPORTED) > 10
    assert set(EXPORTED) == set(
        re.findall(r"`(carrel_\w+)`", "\n".join(line for line in runbook.splitlines() if line.startswith("| `carrel_")))
    )


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_series_and_label_is_exported(name):
    text = EXPRESSIONS[name]
    series = set(re.findall(r"\bcarrel_\w+", text))
    chosen = [
        (one, label)
        for one, labels in re.findall(r"(carrel_\w+)\{([^}]*)\}", text)
        for label in re.findall(r"(\w+)=~?", labels)
    ]
    grouped = {label for labels in re.findall(r"\bby \(([^)]*)\)", text) for label in labels.split(", ")}
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)|carrel_\w+|\b\d\w*', "", text)

    assert series
    assert series <= set(EXPORTED)
    assert [(one, label) for one, label in chosen if label not in EXPORTED[one]] == []
    assert all(grouped <= EXPORTED[one] for one in series)
    assert set(re.findall(r"[a-z_]+", bare)) <= FUNCTIONS
    assert all(text.count(opened) == text.count(closed) for opened, closed in ("()", "[]", "{}"))


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_is_wrong_how_urgent_it_is_and_where_to_read_on(name):
    rule = RULES[name]
    series = re.findall(r"\bcarrel_\w+", rule["expr"])

    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert (ROOT / rule["annotations"]["runbook"]).is_file()
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert label in EXPORTED[series[0]]


def test_the_runbooks_conditions_are_all_rules():
    (line,) = (
        one for one in (ROOT / "docs" / "runbooks" / "live.md").read_text().splitlines() if "Be woken for" in one
    )
    conditions = re.findall(r"`([^`]*carrel_[^`]*)`", line)

    assert len(conditions) > 5
    assert set(conditions) <= {rule["expr"] for rule in RULES.values()}


def test_what_must_be_watched_is_watched():
    watched = " ".join(rule["expr"] for rule in RULES.values())
    shown = " ".join(target["expr"] for panel in BOARD["panels"] for target in panel["targets"])

    for series in (
        "carrel_clock_lag_seconds", "carrel_clock_timestamp_seconds", "carrel_rejects_total", "carrel_released_numbers",
        "carrel_key_age_days", "carrel_conservation_holds", "carrel_windows",
    ):  # fmt: skip
        assert series in watched
        assert series in shown
    assert all(one in shown for one in EXPORTED)


def test_the_dashboard_has_the_form_that_grafana_reads():
    panels = BOARD["panels"]
    places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels]

    assert len({one["id"] for one in panels}) == len(set(places)) == len(panels)
    assert all(one["gridPos"]["x"] + one["gridPos"]["w"] <= 24 for one in panels)
    assert {one["type"] for one in panels} <= {"stat", "timeseries"}
    assert {one["datasource"]["uid"] for one in panels} == {"${datasource}"}
    assert [one["name"] for one in BOARD["templating"]["list"]] == ["datasource"]
    assert BOARD["schemaVersion"] >= 36
