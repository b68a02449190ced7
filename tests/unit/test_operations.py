"""docs/operations.md: its provider blocks are ones that Ray reads, its commands exist, and no alert is without help."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from visnet.platform.cli import main
from visnet.platform.fleet.cli import COMMANDS, cluster
from visnet.platform.fleet.definition import parse_definition
from visnet.platform.submit import ENTRYPOINTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()
CLUSTER = yaml.safe_load((ROOT / "cluster.yaml").read_text())
PROVIDERS = ("GCP", "Azure")


def section(heading: str) -> str:
    """The text below a heading, up to the next one of its rank or above."""
    match = re.search(rf"^(#+) {re.escape(heading)}$", TEXT, re.MULTILINE)
    assert match is not None, heading
    below = TEXT[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", below, re.MULTILINE)
    return below[: end.start()] if end else below


def test_every_alert_has_a_heading_and_no_heading_is_of_none() -> None:
    rules = yaml.safe_load((ROOT / "serve" / "observability" / "alerts.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^### (\w+)$", section("Alerts"), re.MULTILINE) == alerts


def with_provider(name: str) -> dict[str, Any]:
    """cluster.yaml with the keys of a provider's block in place of its own."""
    (block,) = re.findall(r"```yaml\n(.*?)```", section(name), re.DOTALL)
    changes = yaml.safe_load(block)
    content = copy.deepcopy(CLUSTER)
    for kind, change in changes.pop("available_node_types").items():
        content["available_node_types"][kind] |= change
    return content | changes


@pytest.mark.parametrize("name", PROVIDERS)
def test_ray_takes_the_file_with_another_provider(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    content = with_provider(name)
    prepared = prepare_config(copy.deepcopy(content))
    validate_config(prepared)
    assert not any("InstanceType" in str(kind["node_config"]) for kind in prepared["available_node_types"].values())
    definition = parse_definition(content, source=name)
    assert [kind.pool for kind in definition.workers] == [
        kind.pool for kind in parse_definition(CLUSTER, source="AWS").workers
    ]


def commands() -> Iterator[str]:
    """The visnet commands in code, each on one line."""
    joined = TEXT.replace("\\\n", " ")
    for line in re.findall(r"^ {4}(.+)$", joined, re.MULTILINE):
        yield from re.findall(r"(?:^|[\s/])visnet ((?:[^|#&]|\|\|)+)", line)
    yield from re.findall(r"`visnet ([^`]+)`", TEXT)


def described(context: click.Context, command: click.Command, words: list[str]) -> None:
    """Fails if a word is no command, or an option none of the command's."""
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    options = {each for parameter in command.params for each in parameter.opts}
    for word in words:
        if word == "--":
            break
        if word.startswith("--"):
            assert word.split("=")[0] in options or command.ignore_unknown_options, (command.name, word)


def test_every_command_it_names_is_there() -> None:
    found = [line for line in commands() if line.strip()]
    assert len(found) > 20
    context = click.Context(main)
    for line in found:
        words = line.replace('"$JOURNAL"', "URL").split()
        if words[0] == "submit":
            assert words[1] in ENTRYPOINTS
        elif words[:2] == ["cluster", "plan"]:
            assert "plan" in COMMANDS
        else:
            described(context, main, words)
    assert cluster.name == "cluster"


def test_the_start_commands_for_own_machines_are_the_files() -> None:
    lines = section("Own machines").replace("\\\n", " ").splitlines()
    starts = [line.split() for line in lines if "ray start" in line]
    assert len(starts) == 2
    for words, key in zip(starts, ("head_start_ray_commands", "worker_start_ray_commands"), strict=True):
        files = CLUSTER[key][-1].split(";")[-1].split()
        before = words[: words.index("ray")]
        assert before == files[: files.index("ray")]


@pytest.mark.parametrize("heading", ["On a laptop", "On one machine", "Back up and restore", "What listens where"])
def test_the_headings_that_others_point_to(heading: str) -> None:
    assert section(heading).strip()
