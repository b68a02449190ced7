"""The files for Prometheus and Grafana, against what they need and what there is to see. That the queries have answers
is tested with a real Prometheus."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from visnet.serve import telemetry

FILES = Path(__file__).parents[3] / "serve/observability"
NAMES = {name for family in telemetry.FAMILIES for name in family.sample_labels}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / "grafana-dashboard.json").read_text())
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def test_the_dashboard_has_what_grafana_needs() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 36
    assert board["uid"]
    assert board["title"]
    assert [(one["name"], one["type"], one["query"]) for one in board["templating"]["list"]] == [
        ("datasource", "datasource", "prometheus")
    ]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_panel_says_what_it_is_and_asks_the_chosen_prometheus() -> None:
    for panel in dashboard()["panels"]:
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_lie_side_by_side_in_rows() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    for one, other in pairwise(places):
        beside = one["y"] == other["y"] and one["x"] + one["w"] <= other["x"]
        assert beside or (other["y"] == one["y"] + one["h"] and other["x"] == 0)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_what_is_asked_for_is_what_is_measured() -> None:
    asked = {name for text in [*queries(), *(rule["expr"] for rule in alerts())] for name in named(text)}
    assert asked <= NAMES
    measured = {family.name: set(family.sample_labels) for family in telemetry.FAMILIES}
    assert [name for name, samples in measured.items() if not samples & asked] == []


def test_labels_that_are_asked_for_are_there() -> None:
    known = {label for family in telemetry.FAMILIES for names in family.sample_labels.values() for label in names}
    for text in [*queries(), *(rule["expr"] for rule in alerts())]:
        for group in re.findall(r"by \(([^)]*)\)", text):
            assert {label.strip() for label in group.split(",")} <= {*known, "replica", "deployment"}, text


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"].split()) > 15, rule["alert"]


def named(text: str) -> set[str]:
    return set(re.findall(r"visnet_\w+", text))
