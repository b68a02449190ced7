"""`cluster.yaml`: Ray takes it as it stands, visnet reads its settings from it, and it holds no secret."""

import copy
import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from visnet.platform import settings as settings_module
from visnet.platform.settings import Settings
from visnet.platform.settings_file import load_settings

ROOT = Path(settings_module.__file__).resolve().parent.parent
FILE = ROOT / "cluster.yaml"
START = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(FILE)


def test_rays_own_schema_takes_it(content: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(content))  # with the provider's defaults, as `ray up` does
    validate_config(prepared)
    assert prepared["head_setup_commands"][: len(content["setup_commands"])] == content["setup_commands"]
    assert prepared["available_node_types"]["gpu"]["node_config"]["IamInstanceProfile"]


def test_the_schema_would_have_refused_a_slip(content: dict[str, Any]) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError):
        validate_config(prepare_config({**copy.deepcopy(content), "visnet": {}}))


def test_every_setting_it_names_exists_and_is_taken(content: dict[str, Any], settings: Settings) -> None:
    for path, value in leaves(content["metadata"]["visnet"]):
        found: Any = settings
        for name in path:
            assert name in {field.name for field in dataclasses.fields(found)}, ".".join(path)
            found = getattr(found, name)
        assert (list(found) if isinstance(found, tuple) else found) == value, ".".join(path)


def leaves(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def test_metadata_is_the_only_home_of_settings() -> None:
    homes = [
        path.relative_to(ROOT)
        for path in (*ROOT.glob("*.y*ml"), *ROOT.glob("*.toml"), *ROOT.glob("*.ini"))
        if re.search(r"^\s*visnet:|\[tool\.visnet", path.read_text(), re.MULTILINE)
    ]
    assert homes == [Path("cluster.yaml")]
    assert set(yaml.safe_load(FILE.read_text())["metadata"]) == {"visnet"}


def test_the_bounds_hold_what_the_settings_ask_for(content: dict[str, Any], settings: Settings) -> None:
    gpu, cpu = (content["available_node_types"][name] for name in ("gpu", "cpu"))
    gpus = gpu["max_workers"] * gpu["resources"]["GPU"]
    served = settings.index.shards * settings.serve.shard.replicas * settings.serve.shard.gpus
    served += settings.serve.embedder.max_replicas * settings.serve.embedder.gpus
    job = max(settings.train.workers * settings.train.gpus_per_worker, settings.embed.actors)
    assert served + job <= gpus
    for cpus in (settings.train.cpus_per_worker, settings.embed.cpus_per_actor):
        assert cpus < gpu["resources"]["CPU"]  # some are left for Ray Data
    assert gpu["max_workers"] <= content["max_workers"]
    assert cpu["max_workers"] <= content["max_workers"]


def test_nothing_runs_on_the_head(content: dict[str, Any]) -> None:
    head = content["available_node_types"][content["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in content["head_start_ray_commands"][-1].split()


@pytest.mark.parametrize("name", START)
def test_ray_starts_with_a_token_and_the_fast_serve(content: dict[str, Any], name: str) -> None:
    words = content[name][-1].split()
    start = words.index("ray")
    assert words[start : start + 2] == ["ray", "start"]
    assert {
        "RAY_AUTH_MODE=token",
        "RAY_SERVE_ENABLE_HA_PROXY=1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED=1",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=67108864",
    } <= set(words[:start])


def test_the_dashboard_stays_on_loopback(content: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1" in content["head_start_ray_commands"][-1].split()
    assert "0.0.0.0" not in "".join(command for name in START for command in content[name])


def test_it_holds_no_secret(content: dict[str, Any]) -> None:
    text = FILE.read_text()
    assert not re.search(r"RAY_AUTH_TOKEN=|AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*KEY|password|api_key:", text, re.IGNORECASE)
    assert not re.search(r"\b[0-9a-f]{32,}\b", text)
    assert content["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"  # mounted from the operator's machine


def test_the_nodes_get_all_that_the_install_needs(content: dict[str, Any]) -> None:
    mounts = {local for local in content["file_mounts"].values() if not local.startswith("~")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.split("/")[0] for path in project["tool"]["setuptools"]["package-dir"].values()}
    assert mounts >= folders | {"pyproject.toml", "constraints.txt", "visnet.py", project["project"]["readme"]}
    assert "." not in mounts  # Ray would hash the store and .git, and restart the cluster whenever they change
    assert [local for local in mounts if not (ROOT / local).exists()] == []
    assert any("--constraint ~/visnet/constraints.txt ~/visnet" in command for command in content["setup_commands"])
