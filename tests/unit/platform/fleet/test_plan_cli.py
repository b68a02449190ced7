"""`visnet cluster plan` as it is typed, and that docs/scale.md says what it answers."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from visnet.platform.fleet.plan_cli import plan

ROOT = Path(__file__).resolve().parents[4]
DOCS = (ROOT / "docs" / "scale.md").read_text()
COMMAND = "$ visnet cluster plan "
SHOP = "--images 100_000 --queries-per-s 20"


def ran(line: str) -> Result:
    return CliRunner().invoke(plan, [*shlex.split(line), "--cluster-file", str(ROOT / "cluster.yaml")])


def answered(line: str) -> str:
    result = ran(line)
    assert result.exit_code == 0, result.output
    return result.stdout


def blocks() -> list[tuple[str, str]]:
    """The commands that the docs show, and what they show as answers."""
    fenced = re.findall(r"^```\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    shown = [block.split("\n", 1) for block in fenced if block.startswith(COMMAND)]
    return [(command.removeprefix(COMMAND), answer) for command, answer in shown]


def test_the_docs_show_some() -> None:
    assert blocks()


@pytest.mark.parametrize(("line", "shown"), blocks())
def test_the_docs_show_what_the_command_answers(line: str, shown: str) -> None:
    assert shown == answered(line)


COLUMNS = re.compile(
    r"^\| (GPUs|CPUs) \| ([\d,]+) \| (\d+) x (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \| (\d+) \|$"
)


def rows() -> list[tuple[str, ...]]:
    return [found.groups() for line in DOCS.splitlines() if (found := COLUMNS.match(line))]


def test_the_docs_have_the_table() -> None:
    assert {(row[0], row[1]) for row in rows()} == {
        (on, per_s) for on in ("GPUs", "CPUs") for per_s in ("2,000", "20,000")
    }


@pytest.mark.parametrize("row", rows(), ids=lambda row: "-".join(row[:2]))
def test_the_docs_table_is_what_the_command_answers(row: tuple[str, ...]) -> None:
    on, per_s, *figures = row
    types = "" if on == "GPUs" else " --serve-on cpu --work-on cpu"
    made = json.loads(answered(f"--images 50_000_000 --queries-per-s {per_s.replace(',', '')}{types} --json"))
    serve, shards = made["serve"], made["serve"]["shards"]
    assert [int(figure.replace(",", "")) for figure in figures] == [
        shards["shards"],
        shards["copies"],
        round(1_000 * shards["one_pass"]["seconds"]),
        serve["nodes"],
        serve["most_nodes"],
        serve["embedder"]["replicas"],
        serve["ingress"]["replicas"],
    ]


def test_json_holds_the_plan_its_basis_and_what_to_set() -> None:
    made = json.loads(answered(f"{SHOP} --json"))
    assert made["serve"]["shards"]["shards"] >= 1
    assert {rate["basis"] for rate in made["rates"]} == {"measured", "assumed"}
    assert made["cost"] is None
    assert yaml.safe_load(made["cluster_yaml"])["metadata"]["visnet"]["index"] == {
        "shards": made["serve"]["shards"]["shards"]
    }
    assert made["fits"] is (made["gaps"] == [])


def test_a_rate_and_prices_of_ones_own() -> None:
    text = answered(f"{SHOP} --rate photos_per_l4=2000 --price serve=1 --price gpu=1 --price head=1 --price storage=0")
    assert "given:\n  photos_per_l4 = 2,000" in text
    assert "$ a month" in text
    assert "$ a month" not in answered(f"{SHOP} --price serve=1")


def test_the_rates_are_listed_with_their_sources() -> None:
    text = answered("--list-rates")
    assert "search_per_core = 1.683e+10 multiply-adds/s, measured" in text
    assert "[benchmarks/results/search-2-cores-2026-11-22.md]" in text


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (f"{SHOP} --rate speed", 2, "expected NAME=VALUE"),
        (f"{SHOP} --rate speed=1", 1, "no such rate"),
        (f"{SHOP} --price moon=1", 1, "--price moon: expected one of head, storage"),
        (f"{SHOP} --price cpu=-1", 1, "--price cpu: expected dollars"),
        (f"{SHOP} --photo-share 2", 1, "photo_share: expected from 0 to 1"),
        (f"{SHOP} --serve-on moon", 1, "--serve-on: expected one of"),
        ("--images 5", 2, "--queries-per-s"),
    ],
)
def test_what_is_wrong_is_said(line: str, code: int, said: str) -> None:
    result = ran(line)
    assert result.exit_code == code
    assert said in result.output
