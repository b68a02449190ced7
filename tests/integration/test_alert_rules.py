"""The alert rules, by Prometheus's own tool: each fires when it should, and none while the service is just busy."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.debian import NotToBeHadError, unpacked

pytestmark = pytest.mark.integration

FILES = Path(__file__).parents[2] / "serve/observability"
FIRING = {
    "VisnetDown": ({'up{job="visnet"}': "0x20"}, "5m"),
    "VisnetNoRelease": ({'visnet_shard_up{shard="0"}': "1x20"}, "5m"),
    "VisnetShardDown": (
        {'visnet_shard_up{shard="0",replica="a"}': "1x20", 'visnet_shard_up{shard="0",replica="b"}': "1 0x19"},
        "5m",
    ),
    "VisnetErrors": (
        {'visnet_requests_total{status="200"}': "0+98x20", 'visnet_requests_total{status="500"}': "0+2x20"},
        "10m",
    ),
    "VisnetShedding": (
        {'visnet_requests_total{status="200"}': "0+97x20", 'visnet_shed_total{reason="late"}': "0+3x20"},
        "15m",
    ),
    "VisnetStale": (
        {
            f'visnet_freshness_seconds_bucket{{shard="0",le="{end}"}}': f"0+{count}x20"
            for end, count in (("1", 90), ("2.5", 100), ("+Inf", 100))
        },
        "15m",
    ),
    "VisnetJournalNotFollowed": (
        {'visnet_journal_lag{shard="0",replica="a"}': "3x20", 'visnet_journal_applied{shard="0",replica="a"}': "7x20"},
        "10m",
    ),
    "VisnetRecallLow": ({'visnet_ann_recall_at_k{shard="0"}': "0.8x20"}, "15m"),
    "VisnetSwitchFailed": ({'visnet_switches_total{outcome="refused"}': "0x3 1x15"}, "6m"),
    "VisnetControllerStuck": ({"visnet_controller_problem": "1x20"}, "5m"),
}
"""What makes each alert fire: series with a value a minute, and when it has to."""
BUSY = {
    'visnet_release_info{release="r-1"}': "1x20",
    'visnet_journal_lag{shard="0",replica="a"}': "3x20",
    'visnet_journal_applied{shard="0",replica="a"}': "0+100x20",
    'visnet_switches_total{outcome="served"}': "0x3 1x15",
    'visnet_requests_total{status="200"}': "0+999x20",
    'visnet_requests_total{status="503"}': "0+1x20",
}
"""Writes and a switch that go well."""


@pytest.fixture(scope="module")
def programs() -> Path:
    try:
        return unpacked(("prometheus",)) / "usr/bin"
    except NotToBeHadError as error:
        pytest.skip(f"no Prometheus: {error}")


def test_promtool_accepts_the_configuration_and_the_rules(programs: Path) -> None:
    for command in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        done = subprocess.run(
            [programs / "promtool", "check", command[0], FILES / command[1]], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + done.stdout


def complaints(programs: Path, folder: Path, cases: list[dict[str, Any]]) -> str:
    """What promtool has against the cases; nothing, if all is as they say."""
    (folder / "alerts.yml").write_text((FILES / "alerts.yml").read_text())
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "30s", "tests": cases}))
    done = subprocess.run([programs / "promtool", "test", "rules", file], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def case(series: dict[str, str], alert: str, time: str, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": time, "alertname": alert, "exp_alerts": expected}],
    }


@pytest.mark.parametrize("alert", re.findall(r"alert: (\w+)", (FILES / "alerts.yml").read_text()))
def test_every_alert_fires_when_it_should_and_not_otherwise(programs: Path, tmp_path: Path, alert: str) -> None:
    series, time = FIRING[alert]
    assert not complaints(programs, tmp_path, [case(BUSY, alert, time, [])])
    silent = complaints(programs, tmp_path, [case(series, alert, time, [])])
    assert re.search(rf"alertname: {alert}|alertname=.{alert}", silent), silent  # it fires, which this case denies
