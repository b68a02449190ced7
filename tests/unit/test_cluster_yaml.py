"""`cluster.yaml`: Ray takes it as it stands, visnet reads its settings from it, and it holds no secret."""

import copy
import dataclasses
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from visnet.platform import haproxy
from visnet.platform import settings as settings_module
from visnet.platform.admission import Answer, Claim, decide
from visnet.platform.fleet.definition import ClusterDefinition, read_definition
from visnet.platform.placement import Node, Part, misfit
from visnet.platform.pools import pool_of
from visnet.platform.settings import Settings
from visnet.platform.settings_file import load_settings
from visnet.serve.app import CONTROLLER_CPUS, INGRESS_CPUS

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


@pytest.fixture(scope="module")
def definition() -> ClusterDefinition:
    return read_definition(FILE)


def room(definition: ClusterDefinition, pool: str | None) -> list[Node]:
    """All nodes that a pool may have."""
    kinds = pool_of(definition, pool, setting="pool").types
    return [
        Node(cpus=kind.cpus, gpus=kind.gpus, memory_bytes=math.inf) for kind in kinds for _ in range(kind.max_workers)
    ]


def jobs(settings: Settings) -> list[Claim]:
    """The largest of every kind, with all that it can use."""
    train, detector, embed, recommend = settings.train, settings.detector, settings.embed, settings.recommend
    asked = [
        ("train", train.workers, train.cpus_per_worker, train.gpus_per_worker, train.decoding_cpus),
        ("detector", detector.workers, detector.cpus_per_worker, detector.gpus_per_worker, detector.decoding_cpus),
        ("embed", embed.actors, embed.cpus_per_actor, embed.gpus_per_actor, embed.decoding_cpus),
        ("recommend", settings.index.shards, recommend.cpus_per_shard, recommend.gpus_per_shard, 0.0),
    ]
    return [
        Claim(id=kind, kind=kind, pool=None, least=n, most=n, cpus=cpus, gpus=gpus, beside_cpus=beside)
        for kind, n, cpus, gpus, beside in asked
    ]


def test_every_job_fits_the_pool_of_the_jobs(definition: ClusterDefinition, settings: Settings) -> None:
    nodes = room(definition, settings.pool)
    for job in jobs(settings):
        assert decide([job], nodes)[job.id] == Answer(copies=job.most)


def test_a_training_leaves_room_for_a_pass(definition: ClusterDefinition, settings: Settings) -> None:
    train, _, embed, _ = jobs(settings)
    answers = decide([train, embed], room(definition, settings.pool))
    assert all(answer.copies for answer in answers.values())


def test_the_service_fits_its_pool_while_a_release_is_switched(
    definition: ClusterDefinition, settings: Settings
) -> None:
    serve = settings.serve
    shards = [
        Part(name=f"{release}-{number}", replicas=serve.shard.replicas, cpus=serve.shard.cpus, gpus=serve.shard.gpus,
             memory_bytes=0, spread=serve.shard.apart)
        for release in ("old", "new") for number in range(settings.index.shards)
    ]  # fmt: skip
    embedder = Part(
        name="embedder",
        replicas=serve.embedder.max_replicas,
        cpus=serve.embedder.cpus,
        gpus=serve.embedder.gpus,
        memory_bytes=0,
    )
    ingress = Part(
        name="ingress",
        replicas=serve.ingress_replicas,
        cpus=INGRESS_CPUS,
        gpus=0,
        memory_bytes=0,
        spread=serve.ingress_apart,
    )
    controller = Part(name="controller", replicas=1, cpus=CONTROLLER_CPUS, gpus=0, memory_bytes=0)
    assert misfit([*shards, embedder, ingress, controller], room(definition, serve.pool)) is None


def test_every_node_is_of_a_pool_that_somebody_uses(definition: ClusterDefinition, settings: Settings) -> None:
    assert {kind.pool for kind in definition.workers} == {settings.pool, settings.serve.pool}
    assert settings.pool != settings.serve.pool


def test_some_cores_of_a_gpu_node_are_left_to_read_and_decode(
    definition: ClusterDefinition, settings: Settings
) -> None:
    (gpu,) = [kind for kind in definition.workers if kind.pool == settings.pool and kind.gpus]
    for cpus in (settings.train.cpus_per_worker, settings.detector.cpus_per_worker, settings.embed.cpus_per_actor):
        assert cpus < gpu.cpus


def test_nothing_runs_on_the_head(content: dict[str, Any]) -> None:
    head = content["available_node_types"][content["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in content["head_start_ray_commands"][-1].split()


@pytest.mark.parametrize("name", START)
def test_ray_starts_with_a_token_and_the_fast_serve(content: dict[str, Any], name: str) -> None:
    words = shlex.split(content[name][-1])
    start = words.index("ray")
    assert words[start : start + 2] == ["ray", "start"]
    assert {
        "RAY_AUTH_MODE=token",
        "RAY_SERVE_ENABLE_HA_PROXY=1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED=1",
        f"RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH={haproxy.GRPC_MESSAGE_BYTES}",
        f"RAY_SERVE_HAPROXY_RETRY_ON={haproxy.RETRY_ON}",
        f"RAY_SERVE_HAPROXY_TUNE_BUFSIZE={haproxy.RETRIED_BYTES}",
    } <= set(words[:start])


def test_the_flags_are_the_same_on_all_nodes(content: dict[str, Any]) -> None:
    head, worker = (
        [word for word in shlex.split(content[name][-1]) if word.startswith("RAY_SERVE_")] for name in START
    )
    assert head == worker
    assert len(head) == len({word.split("=")[0] for word in head})


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
