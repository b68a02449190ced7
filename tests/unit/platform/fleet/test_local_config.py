"""The file for one machine: Ray takes it, and the types in it are those of the cluster file."""

from __future__ import annotations

import copy
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from visnet.platform import errors
from visnet.platform.fleet.definition import ClusterDefinition, read_definition
from visnet.platform.fleet.local_config import LOOKS, PRETENDED, Machine, head_command, rendered

FILE = Path(errors.__file__).resolve().parent.parent / "cluster.yaml"
MACHINE = Machine(
    directory=Path("/home/me/.visnet/clusters/visnet"),
    ray_directory=Path("/tmp/visnet-x"),
    gcs_port=6380,
    dashboard_port=8266,
    ray_client_port=20003,
    environment={"RAY_AUTH_MODE": "token"},
    gpus=0,
    object_store_bytes=100,
    memory_bytes=1_000,
    idle_timeout_s=None,
)


@pytest.fixture(scope="module")
def definition() -> ClusterDefinition:
    return read_definition(FILE)


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def machine(**changes: Any) -> Machine:
    return dataclasses.replace(MACHINE, **changes)


def words(definition: ClusterDefinition, given: Machine = MACHINE) -> list[str]:
    return shlex.split(head_command(definition.head, given))


def test_ray_takes_the_file(definition: ClusterDefinition) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    written = yaml.safe_load(yaml.safe_dump(rendered(definition, MACHINE)))
    prepared = prepare_config(copy.deepcopy(written))
    validate_config(prepared)
    assert prepared["available_node_types"]["gpu"]["labels"] == {"pool": "work"}


def test_ray_finds_the_provider(definition: ClusterDefinition) -> None:
    from ray.autoscaler._private.providers import _get_node_provider_cls

    assert _get_node_provider_cls(rendered(definition, MACHINE)["provider"]).__name__ == "LocalProvider"


def test_the_workers_are_the_clusters(definition: ClusterDefinition, content: dict[str, Any]) -> None:
    made = rendered(definition, MACHINE)
    assert list(made["available_node_types"]) == list(content["available_node_types"])
    for kind in definition.workers:
        given, found = content["available_node_types"][kind.name], made["available_node_types"][kind.name]
        assert {name: found[name] for name in ("labels", "min_workers", "max_workers")} == {
            name: given[name] for name in ("labels", "min_workers", "max_workers")
        }
        assert found["resources"] == {**given["resources"], "memory": 1_000, "object_store_memory": 100}
        assert found["node_config"] == {}
    for name in ("cluster_name", "max_workers", "upscaling_speed", "idle_timeout_minutes", "head_node_type"):
        assert made[name] == content[name]
    assert made["metadata"] == content["metadata"]


def test_the_head_does_no_work_and_is_the_only_one(definition: ClusterDefinition) -> None:
    labelled = dataclasses.replace(definition, head=dataclasses.replace(definition.head, labels={"pool": "work"}))
    head = rendered(labelled, MACHINE)["available_node_types"]["head"]
    assert head["resources"]["CPU"] == 0
    assert (head["min_workers"], head["max_workers"], head["labels"]) == (0, 0, {})
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(words(definition))


def test_a_types_memory_is_its_own_where_it_says_it(definition: ClusterDefinition) -> None:
    kind = dataclasses.replace(definition.workers[0], resources={"memory": 7.0, "shelf": 2.0})
    made = rendered(dataclasses.replace(definition, workers=(kind,)), MACHINE)
    resources = {"CPU": 0, "memory": 7, "shelf": 2, "object_store_memory": 100}
    assert made["available_node_types"][kind.name]["resources"] == resources


@pytest.mark.parametrize(("gpus", "said"), [(0, "pretended"), (1, "real")])
def test_the_head_says_whether_the_gpus_are_real(definition: ClusterDefinition, gpus: int, said: str) -> None:
    assert f"--labels={PRETENDED}={said}" in words(definition, machine(gpus=gpus))
    assert rendered(definition, machine(gpus=gpus))["provider"]["gpus"] == gpus


def test_idle_nodes_go_when_the_file_or_the_command_says(definition: ClusterDefinition) -> None:
    first = dataclasses.replace(definition.workers[0], idle_timeout_s=7.0)
    timed = dataclasses.replace(definition, workers=(first, *definition.workers[1:]))
    files, commands = rendered(timed, MACHINE), rendered(timed, machine(idle_timeout_s=30.0))
    assert files["idle_timeout_minutes"] == definition.idle_timeout_minutes
    assert files["available_node_types"][first.name]["idle_timeout_s"] == 7.0
    assert "idle_timeout_s" not in files["available_node_types"][definition.workers[1].name]
    assert commands["idle_timeout_minutes"] == 0.5
    assert "idle_timeout_s" not in commands["available_node_types"][first.name]


def test_the_commands_of_the_cloud_are_left_out(definition: ClusterDefinition) -> None:
    made = rendered(definition, MACHINE)
    assert made["head_start_ray_commands"] == [head_command(definition.head, MACHINE)]
    left = {name: value for name, value in made.items() if name.endswith(("_commands", "_mounts", "_files"))}
    assert [name for name, value in left.items() if value] == ["head_start_ray_commands"]
    assert "cluster_synced_files" in left  # Ray's own default would copy the user's


def test_the_provider_is_told_the_machine(definition: ClusterDefinition) -> None:
    provider = rendered(definition, MACHINE)["provider"]
    assert (provider["state_dir"], provider["ray_dir"]) == (str(MACHINE.directory), "/tmp/visnet-x")
    assert provider["gcs_port"] == 6380
    assert provider["environment"] == {"RAY_AUTH_MODE": "token", **LOOKS}


def test_the_head_listens_on_loopback_only(definition: ClusterDefinition) -> None:
    found = words(definition)
    assert found[:5] == [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
    assert {"--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"} <= set(found)
    assert {"--port=6380", "--dashboard-port=8266", "--temp-dir=/tmp/visnet-x"} <= set(found)
    assert f"--autoscaling-config={MACHINE.directory}/ray_bootstrap_config.yaml" in found


def test_a_folder_with_a_space_is_one_word(definition: ClusterDefinition) -> None:
    given = machine(directory=Path("/home/a user/c"))
    assert "--autoscaling-config=/home/a user/c/ray_bootstrap_config.yaml" in words(definition, given)


def test_it_holds_no_secret(definition: ClusterDefinition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret-token")
    assert "s3cret-token" not in yaml.safe_dump(rendered(definition, MACHINE))
