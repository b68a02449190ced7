"""`visnet cluster simulate` as it is typed: the file's settings, the options, tables and pictures."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from visnet.platform.fleet.simulation_cli import simulate

ROOT = Path(__file__).resolve().parents[4]
SHORT = (
    "--shards 6 --hours 0.5 --photos-per-s 200 --embedders 8 --rack-at-hour 0.2 --zone-at-hour -1 --release-at-hour -1"
)


def ran(line: str) -> Result:
    return CliRunner().invoke(simulate, [*shlex.split(line), "--cluster-file", str(ROOT / "cluster.yaml")])


def test_a_short_day_in_words_and_figures(tmp_path: Path) -> None:
    result = ran(f"{SHORT} --price 2 --minutes {tmp_path / 'day.csv'}")
    assert result.exit_code == 0, result.output
    assert "nodes: " in result.stdout
    assert "cost: " in result.stdout
    with (tmp_path / "day.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 30
    assert {"photos_per_s", "dark", "nodes"} <= set(lines[0])


def test_the_files_settings_count_unless_an_option_says_otherwise() -> None:
    sizes = json.loads(ran(f"{SHORT} --json").stdout)["scenario"]["sizes"]
    assert (sizes["replicas"], sizes["apart"], sizes["embedder_gpus"]) == (2, True, 0.25)
    changed = json.loads(ran(f"{SHORT} --json --replicas 1 --anywhere --target 3").stdout)["scenario"]["sizes"]
    assert (changed["replicas"], changed["apart"], changed["target_ongoing_requests"]) == (1, False, 3.0)


def test_no_failures_if_told_so() -> None:
    line = f"{SHORT} --json --mtbf-hours 0".replace("--rack-at-hour 0.2", "--rack-at-hour -1")
    assert json.loads(ran(line).stdout)["summary"]["deaths"] == 0
    assert json.loads(ran(f"{SHORT} --json --mtbf-hours 0").stdout)["summary"]["deaths"] > 0


def test_policies_side_by_side_with_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = ran(f"{SHORT} --compare --plots {tmp_path}")
    assert result.exit_code == 0, result.output
    assert "| target 32 |" in result.stdout
    assert "| 3 copies apart |" in result.stdout
    pictures = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(pictures) == {"simulation-day.png", "simulation-embedder.png", "simulation-shards.png"}
    assert all(10_000 < size < 150_000 for size in pictures.values())
