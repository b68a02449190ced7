"""The cluster file's machines: what is taken from it, and what is told of one that can't be."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from visnet.platform import errors
from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import find_definition, parse_definition, read_definition

FILE = Path(errors.__file__).resolve().parent.parent / "cluster.yaml"


def content(**changes: Any) -> dict[str, Any]:
    types = {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 8, "GPU": 1}, "labels": {"pool": "work"}, "max_workers": 4},
        "serve": {"resources": {"CPU": 4}, "labels": {"pool": "serve"}, "min_workers": 1, "max_workers": 2},
    }
    made = {"cluster_name": "shop", "max_workers": 6, "head_node_type": "head", "available_node_types": types}
    return {**made, **changes}


def typed(name: str, **changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(content())
    made["available_node_types"][name].update(changes)
    return made


def test_the_repositorys_file_is_taken() -> None:
    found = read_definition(FILE)
    given = yaml.safe_load(FILE.read_text())
    assert found.cluster_name == given["cluster_name"]
    assert found.head.name == given["head_node_type"]
    assert found.head.cpus == found.head.gpus == 0
    assert [kind.name for kind in found.workers] == [n for n in given["available_node_types"] if n != found.head.name]
    for kind in found.workers:
        said = given["available_node_types"][kind.name]
        assert (kind.resources, kind.labels, kind.max_workers) == (
            said["resources"], said["labels"], said["max_workers"],
        )  # fmt: skip
        assert kind.instance_type == said["node_config"]["InstanceType"]
    assert {kind.pool for kind in found.workers} == {"work", "serve"}
    assert found.content == given


def test_what_a_type_has() -> None:
    found = parse_definition(content(), source="here")
    gpu, serve = found.workers
    assert (gpu.cpus, gpu.gpus, gpu.pool) == (8, 1, "work")
    assert (serve.gpus, serve.min_workers, serve.instance_type) == (0, 1, None)


def test_a_type_may_say_nothing_and_keys_that_are_others_are_left_to_them() -> None:
    made = content(provider={"type": "aws"})
    made["available_node_types"]["gpu"] = None
    gpu = parse_definition(made, source="here").workers[0]
    assert (gpu.name, gpu.resources, gpu.pool, gpu.max_workers) == ("gpu", {}, None, 0)


@pytest.mark.parametrize("key", ["InstanceType", "machineType"])
def test_the_machines_name_is_aws_s_or_googles(key: str) -> None:
    assert parse_definition(typed("gpu", node_config={key: "big"}), source="").workers[0].instance_type == "big"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([], "here: available_node_types: expected the types of machines, got None"),
        (content(available_node_types={}), r"available_node_types: expected the types of machines, got \{\}"),
        (content(head_node_type="hed"), "head_node_type: expected one of head, gpu, serve, got 'hed'"),
        (content(cluster_name=None), "cluster_name: input should be a valid string, got None"),
        (content(max_workers=-1), "max_workers: input should be greater than or equal to 0, got -1"),
        (content(upscaling_speed="fast"), "upscaling_speed: .*got 'fast'"),
        (content(idle_timeout_minutes=-1), "idle_timeout_minutes: .*got -1"),
        (typed("gpu", resources={"CPU": -8}), "workers.0.resources.CPU: .*got -8"),
        (typed("head", resources={"CPU": "many"}), "head.resources.CPU: .*got 'many'"),
        (typed("serve", labels={"pool": 1}), "workers.1.labels.pool: .*got 1"),
        (typed("serve", max_workers=1.5), "workers.1.max_workers: .*got 1.5"),
        (typed("serve", idle_timeout_s=-1), "workers.1.idle_timeout_s: .*got -1"),
        (typed("serve", min_workers=3), "available_node_types.serve.min_workers: expected at most .*2.*, got 3"),
    ],
)
def test_a_wrong_key_is_named(given: Any, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        parse_definition(given, source="here")


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_definition({**typed("gpu", min_workers="x"), "max_workers": None}, source="here")
    assert "max_workers: " in str(caught.value)
    assert "workers.0.min_workers: " in str(caught.value)


def test_the_types_of_two_pools_must_not_compete_for_the_last_node() -> None:
    with pytest.raises(SettingsError, match=r"max_workers: expected at least 6.* got 5: below it one pool"):
        parse_definition(content(max_workers=5), source="here")
    alike = typed("serve", labels={"pool": "work"})
    assert parse_definition({**alike, "max_workers": 5}, source="here").max_workers == 5


def test_idle_nodes_go_after_their_types_time_or_the_clusters() -> None:
    found = parse_definition({**typed("gpu", idle_timeout_s=7), "idle_timeout_minutes": 2}, source="here")
    assert [found.idle_timeout_s(kind) for kind in found.workers] == [7, 120]


def test_a_file_of_settings_only_has_no_machines(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("metadata: {visnet: {store: here}}\n")
    assert find_definition(file) is None
    with pytest.raises(SettingsError, match=r"settings\.yaml: available_node_types"):
        read_definition(file)
    file.write_text("")
    assert find_definition(file) is None
    file.write_text(yaml.safe_dump(content()))
    assert find_definition(file) == read_definition(file)


def test_a_file_with_wrong_machines_is_none_of_settings_only(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(content(head_node_type="x")))
    with pytest.raises(SettingsError, match="head_node_type"):
        find_definition(file)


@pytest.mark.parametrize("written", [None, b"a: [", b"\xff\xfe\xff"])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, written: bytes | None) -> None:
    file = tmp_path / "cluster.yaml"
    if written is not None:
        file.write_bytes(written)
    with pytest.raises(SettingsError, match=r"can't read .*cluster\.yaml"):
        read_definition(file)
