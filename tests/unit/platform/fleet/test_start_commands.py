"""What the start commands of a cluster file give to Ray's processes."""

from typing import Any

import pytest

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.start_commands import HEAD, WORKER, start_environment, start_option


def content(head: str, worker: str) -> dict[str, Any]:
    return {HEAD: ["ray stop", head], WORKER: ["ray stop", worker]}


def test_the_variables_before_ray_start_and_no_others() -> None:
    start = "export X=1; ulimit -n 65536; A=1 B='two words' ray start --head --labels=C=3"
    assert start_environment(content(start, start)) == {"A": "1", "B": "two words"}


def test_an_option_of_the_head() -> None:
    given = content("A=1 ray start --head --metrics-export-port=8080", "A=1 ray start")
    assert start_option(given, HEAD, "metrics-export-port") == "8080"
    assert start_option(given, WORKER, "metrics-export-port") is None


def test_differing_variables_are_named() -> None:
    with pytest.raises(SettingsError, match="but A, B differ"):
        start_environment(content("A=1 B=1 ray start --head", "A=2 ray start"))


@pytest.mark.parametrize("command", ["ray stop", "echo raystart", ""])
def test_no_ray_start(command: str) -> None:
    with pytest.raises(SettingsError, match="expected a command with `ray start`"):
        start_environment(content(command, command))
