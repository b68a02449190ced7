"""The manifests for KubeRay: fields that exist, and the same cluster as the file's, by Ray's own reading too."""

import copy
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition, parse_definition, read_definition
from visnet.platform.fleet.kuberay import (
    Manifest,
    as_yaml,
    rendered_cluster,
    rendered_job,
    rendered_service,
)
from visnet.platform.fleet.kuberay_target import MAX_NAME, Target, kubernetes_settings
from visnet.platform.settings_file import parse_settings
from visnet.platform.submit import ENTRYPOINTS

ROOT = Path(__file__).parents[4]
SCHEMA = json.loads((Path(__file__).parent / "data" / "kuberay.json").read_text())
MOST_JOB = 47
"""Characters of a RayJob's name that KubeRay takes."""


def validate(manifest: Manifest) -> None:
    """Raises ValidationError unless every field of a manifest is one that KubeRay or Kubernetes knows."""
    Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{manifest['kind']}"}).validate(manifest)


@pytest.fixture(scope="module")
def definition() -> ClusterDefinition:
    return read_definition(ROOT / "cluster.yaml")


def target(**options: Any) -> Target:
    given = {"image": "visnet:1", "name": "visnet", "store": "s3://bucket/visnet", **options}
    return Target(**given)


def changed(definition: ClusterDefinition, *path: str, to: Any) -> ClusterDefinition:
    """The definition of a file with one value changed."""
    content = copy.deepcopy(dict(definition.content))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return parse_definition(content, source="a test")


def every(definition: ClusterDefinition) -> Iterator[Manifest]:
    """Manifests of all kinds, with all options and with none."""
    full = target(
        journal="postgresql://visnet@db/visnet",
        journal_secret="journal",
        token_secret="token",
        store="/mnt/shared/visnet",
        store_claim="shared",
        by_instance_type=True,
        service_account="visnet",
        pool="serve",
    )
    for each in (target(), full):
        yield from rendered_cluster(definition, each)
        yield from rendered_service(definition, each)
        yield from rendered_job(each, "train", "python -m visnet.train")


def spec_of(manifests: list[Manifest]) -> dict[str, Any]:
    """The spec of the RayCluster, or of the one in the RayService."""
    spec: dict[str, Any] = manifests[-1]["spec"]
    return spec.get("rayClusterConfig", spec)


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_every_field_exists(definition: ClusterDefinition) -> None:
    kinds = set()
    for manifest in every(definition):
        validate(manifest)
        kinds.add(manifest["kind"])
    assert kinds == {"ConfigMap", "NetworkPolicy", "RayCluster", "RayService", "RayJob"}


def mappings(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every mapping in a tree, itself too."""
    if isinstance(tree, dict):
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, below in items:
        yield from mappings(below, (*path, key))


FREE = {"labels", "matchLabels", "nodeSelector", "annotations", "rayStartParams", "data", "clusterSelector"}
"""Mappings whose keys are not fields."""


def is_free(path: tuple[Any, ...]) -> bool:
    of_ray = path[-1:] == ("resources",) and not {"containers", "autoscalerOptions"} & set(path)
    return of_ray or bool(FREE & set(path[-1:]))


def test_a_misspelt_field_is_refused_wherever_it_is(definition: ClusterDefinition) -> None:
    tried = 0
    for manifest in every(definition):
        for path in mappings(manifest):
            if is_free(path):
                continue
            broken = copy.deepcopy(manifest)
            place: Any = broken
            for key in path:
                place = place[key]
            place["nodeSelectr"] = "x"
            with pytest.raises(ValidationError):
                validate(broken)
            tried += 1
    assert tried > 300


@pytest.mark.parametrize("rendered", [rendered_cluster, rendered_service])
def test_rays_autoscaler_reads_back_the_types_of_the_file(definition: ClusterDefinition, rendered: Any) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    metadata = {"name": "visnet", "namespace": "default"}
    read = _derive_autoscaling_config_from_ray_cr(
        {"metadata": metadata, "spec": spec_of(rendered(definition, target()))}
    )
    assert read["idle_timeout_minutes"] == definition.idle_timeout_minutes
    assert read["upscaling_speed"] == definition.upscaling_speed
    assert read["max_workers"] == sum(kind.max_workers for kind in definition.workers)
    types = read["available_node_types"]
    head = types.pop(read["head_node_type"])
    assert head["resources"]["CPU"] == 0
    assert list(types) == [kind.name for kind in definition.workers]
    for kind in definition.workers:
        found = types[kind.name]
        memory = found["resources"].pop("memory")
        assert found["resources"] == dict(kind.resources)
        assert memory >= 2**30
        assert found["labels"] == dict(kind.labels)
        assert (found["min_workers"], found["max_workers"]) == (kind.min_workers, kind.max_workers)
        assert found["idle_timeout_s"] == definition.idle_timeout_s(kind)


def test_what_a_type_says_more(definition: ClusterDefinition) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    resources = {"CPU": 8, "GPU": 1, "memory": 20 * 2**30, "object_store_memory": 4 * 2**30, "camera": 2}
    more = changed(definition, "available_node_types", "serve", "resources", to=resources)
    more = changed(more, "available_node_types", "serve", "idle_timeout_s", to=90)
    more = changed(more, "available_node_types", "serve", "min_workers", to=2)
    spec = spec_of(rendered_cluster(more, target(pool="serve")))
    read = _derive_autoscaling_config_from_ray_cr({"metadata": {"name": "a", "namespace": "b"}, "spec": spec})
    serve = read["available_node_types"]["serve"]
    assert serve["resources"] == {"CPU": 8, "GPU": 1, "camera": 2, "memory": 20 * 2**30}
    assert serve["idle_timeout_s"] == 90
    (group,) = spec["workerGroupSpecs"]
    assert group["rayStartParams"]["object-store-memory"] == str(4 * 2**30)
    assert (group["replicas"], group["minReplicas"]) == (2, 2)


def test_the_environment_is_the_files_on_all_nodes(definition: ClusterDefinition) -> None:
    commands = [definition.content[f"{node}_start_ray_commands"][-1] for node in ("head", "worker")]
    for container in containers(spec_of(rendered_cluster(definition, target()))):
        given = {each["name"]: each["value"] for each in container["env"]}
        assert given.pop("VISNET_CLUSTER_FILE") == "/etc/visnet/cluster.yaml"
        for command in commands:
            words = shlex.split(command)
            before = {word for word in words[: words.index("ray")] if "=" in word}
            assert before == {f"{name}={value}" for name, value in given.items()}


def test_variables_that_differ_between_head_and_workers_are_refused(definition: ClusterDefinition) -> None:
    other = changed(
        definition, "worker_start_ray_commands", to=["RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:1"]
    )
    with pytest.raises(SettingsError, match="RAY_SERVE_ENABLE_HA_PROXY, RAY_SERVE_HAPROXY"):
        rendered_cluster(other, target())


def test_a_cluster_without_a_token_is_refused(definition: ClusterDefinition) -> None:
    open_one = definition
    for node in ("head", "worker"):
        open_one = changed(open_one, f"{node}_start_ray_commands", to=["RAY_AUTH_MODE=disabled ray start --head"])
    with pytest.raises(SettingsError, match="RAY_AUTH_MODE=token, got 'disabled'"):
        rendered_cluster(open_one, target())


def test_the_settings_are_the_files(definition: ClusterDefinition) -> None:
    (settings_map, *_) = rendered_cluster(definition, target())
    content = yaml.safe_load(settings_map["data"]["cluster.yaml"])
    pods = parse_definition(content, source="the map")  # every pod can read it as we do
    assert [kind.name for kind in pods.workers] == [kind.name for kind in definition.workers]
    written = parse_settings(content["metadata"]["visnet"], source="the map")
    files = parse_settings(definition.content["metadata"]["visnet"], source="the file")
    assert written.train == files.train
    assert written.serve.shard == files.serve.shard
    (settings_map, *_) = rendered_cluster(definition, target(pool="work"))
    there = yaml.safe_load(settings_map["data"]["cluster.yaml"])["available_node_types"]
    assert list(there) == ["head", "gpu", "cpu"]  # nobody is to wait for a type that can't come
    assert (written.store, written.serve.host, written.serve.port) == ("s3://bucket/visnet", "0.0.0.0", 8000)


def test_the_service_is_told_the_same_settings(definition: ClusterDefinition) -> None:
    from ray.serve.schema import ServeDeploySchema

    manifests = rendered_service(definition, target())
    config = yaml.safe_load(manifests[-1]["spec"]["serveConfigV2"])
    taken = ServeDeploySchema.model_validate(config)
    assert [application.name for application in taken.applications] == ["visnet", "visnet-standing"]
    in_map = yaml.safe_load(manifests[0]["data"]["cluster.yaml"])["metadata"]["visnet"]
    assert config["applications"][0]["args"] == {"settings": in_map}


def test_no_container_is_root_or_may_become_it(definition: ClusterDefinition) -> None:
    for manifest in every(definition):
        if manifest["kind"] not in ("RayCluster", "RayService"):
            continue
        spec = spec_of([manifest])
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
            assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
            assert group["template"]["spec"]["securityContext"]["runAsUser"] > 0
        for secured in [*containers(spec), spec["autoscalerOptions"]]:
            assert secured["securityContext"]["allowPrivilegeEscalation"] is False
            assert secured["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_only_http_is_let_in_from_outside(definition: ClusterDefinition) -> None:
    _, policy, cluster = rendered_cluster(definition, target())
    rules = policy["spec"]["ingress"]
    anybody = [rule for rule in rules if "from" not in rule]
    assert anybody == [{"ports": [{"protocol": "TCP", "port": 8000}]}]
    pods = policy["spec"]["podSelector"]["matchLabels"]
    for group in [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]:
        assert pods.items() <= group["template"]["metadata"]["labels"].items()
    assert [rule for rule in rules if "from" in rule and "ports" not in rule] == [
        {"from": [{"podSelector": {"matchLabels": pods}}]}
    ]
    assert cluster["spec"]["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_pods_ask_for_what_fits_on_their_machine(definition: ClusterDefinition) -> None:
    spec = spec_of(rendered_cluster(definition, target(by_instance_type=True)))
    for kind, group in zip(definition.workers, spec["workerGroupSpecs"], strict=True):
        (container,) = group["template"]["spec"]["containers"]
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert 0 < int(requests["cpu"].removesuffix("m")) < 1000 * kind.cpus
        assert limits["cpu"] == f"{kind.cpus:g}"
        assert requests["memory"] == limits["memory"]
        assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu") == ("1" if kind.gpus else None)
        assert group["template"]["spec"]["nodeSelector"] == {"node.kubernetes.io/instance-type": kind.instance_type}


def test_what_kuberay_checks_beyond_the_fields(definition: ClusterDefinition) -> None:
    longest = target(name="v" * MAX_NAME)
    for command in ENTRYPOINTS:
        (job,) = rendered_job(longest, command, "python")
        assert len(job["metadata"]["generateName"]) + 5 <= MOST_JOB
        assert job["spec"]["clusterSelector"] == {"ray.io/cluster": longest.name}
        assert job["spec"]["backoffLimit"] == 0
        assert "ttlSecondsAfterFinished" not in job["spec"]
    spec = spec_of(rendered_cluster(definition, target()))
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        assert not group["rayStartParams"].keys() & {"num-cpus", "num-gpus", "memory", "resources", "labels"}


def test_a_worker_of_a_service_is_ready_when_it_answers_http(definition: ClusterDefinition) -> None:
    ports = {"service": rendered_service, "cluster": rendered_cluster}
    ready = {
        name: {
            group["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"]
            for group in spec_of(rendered(definition, target()))["workerGroupSpecs"]
        }
        for name, rendered in ports.items()
    }
    assert ready == {"service": {8000}, "cluster": {52365}}


def test_a_claim_is_mounted_where_the_store_is(definition: ClusterDefinition) -> None:
    given = target(store=None, store_claim="shared", journal="postgresql://visnet@db/visnet")
    assert kubernetes_settings(definition, given)["store"] == "/srv/visnet"
    for container in containers(spec_of(rendered_cluster(definition, given))):
        assert {"name": "store", "mountPath": "/srv/visnet"} in container["volumeMounts"]


def test_no_manifest_holds_a_password(definition: ClusterDefinition) -> None:
    given = target(journal="postgresql://visnet:hunter2@db/visnet")
    with pytest.raises(SettingsError, match="--journal-secret") as raised:
        rendered_cluster(definition, given)
    assert "hunter2" not in str(raised.value)
    given = target(journal="postgresql://visnet@db/visnet", journal_secret="journal")
    for container in containers(spec_of(rendered_cluster(definition, given))):
        (password,) = [each for each in container["env"] if each["name"] == "PGPASSWORD"]
        assert password["valueFrom"] == {"secretKeyRef": {"name": "journal", "key": "password"}}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"store": None}, "pass --store s3://"),
        ({"store": "/srv/visnet"}, "--store-claim"),
        ({"store": "s3://bucket", "store_claim": "shared"}, "absolute folder"),
        ({"store": None, "store_claim": "shared"}, "--journal postgresql://"),
        ({"journal": "/srv/journal.sqlite"}, "expected postgresql://"),
        ({"pool": "work"}, "serve.pool: no node type has the label pool: serve"),
        ({"pool": "prod"}, "expected one of serve, work"),
    ],
)
def test_what_can_not_work_is_refused(definition: ClusterDefinition, options: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        rendered_service(definition, target(**options))


@pytest.mark.parametrize("name", ["Visnet", "1visnet", "visnet-", "", "v" * (MAX_NAME + 1), "my_shop"])
def test_a_name_that_kubernetes_would_not_take(name: str) -> None:
    with pytest.raises(ValueError, match="pass --name"):
        target(name=name)


def test_a_type_whose_name_is_none_for_a_group(definition: ClusterDefinition) -> None:
    types = {**definition.content["available_node_types"], "ray.worker_gpu": {"max_workers": 0}}
    with pytest.raises(SettingsError, match=r"ray\.worker_gpu: expected lowercase"):
        rendered_cluster(changed(definition, "available_node_types", to=types), target())


def test_the_text_reads_back_as_the_manifests(definition: ClusterDefinition) -> None:
    for manifest in every(definition):
        text = as_yaml(manifest)
        assert yaml.safe_load(text) == manifest
        assert "&id" not in text
        assert text == as_yaml(copy.deepcopy(manifest))
