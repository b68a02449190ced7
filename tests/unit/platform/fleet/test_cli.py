"""`visnet cluster`: every command is there, and says how it is used."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from visnet.platform.fleet.cli import COMMANDS, cluster


@pytest.fixture
def context() -> click.Context:
    return click.Context(cluster)


def test_the_commands_are_listed_in_the_order_of_their_use(context: click.Context) -> None:
    assert cluster.list_commands(context) == ["up", "status", "kill", "down", "render", "plan", "simulate"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_name_and_a_help(context: click.Context, name: str) -> None:
    command = cluster.get_command(context, name)  # type: ignore[attr-defined]
    assert isinstance(command, click.Command)
    assert command.name == name
    asked = CliRunner().invoke(cluster, [name, "--help"])
    assert asked.exit_code == 0
    assert len(asked.output.splitlines()) > 5


@pytest.mark.parametrize("name", ["", "up", "kill", "render", "plan", "simulate"])
def test_the_help_shows_an_example(name: str) -> None:
    asked = CliRunner().invoke(cluster, [name, "--help"] if name else ["--help"])
    assert "\n  visnet " in asked.output or "\n    visnet " in asked.output


def test_the_help_of_all_names_each_with_what_it_does() -> None:
    lines = CliRunner().invoke(cluster, ["--help"]).output.splitlines()
    for name in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert len(line.split()) > 3


def test_an_unknown_command_is_refused(context: click.Context) -> None:
    assert cluster.get_command(context, "downn") is None  # type: ignore[attr-defined]
    asked = CliRunner().invoke(cluster, ["downn"])
    assert asked.exit_code == 2
    assert "No such command 'downn'" in asked.output
