"""`cluster.yaml` as manifests for KubeRay: the same machines, settings and start environment on Kubernetes.

    ConfigMap        the file's machines and settings, which every pod reads
    NetworkPolicy    who reaches the pods: each other, KubeRay, and anybody the HTTP
    RayCluster       the machines, for jobs, and for a service that a job starts
    RayService       the machines with the service on them, which KubeRay upgrades by a cluster beside the old one
    RayJob           one command of visnet on a RayCluster

The names of the fields are those of KubeRay's API reference, ray.io/v1. No manifest holds a secret; they name those
that have to be there. See docs/operations.md for the order of things, and for what was not tried.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition, NodeType
from visnet.platform.fleet.kuberay_cluster import cluster_spec
from visnet.platform.fleet.kuberay_pods import CLUSTER_LABEL, DASHBOARD_PORT, HTTP_PORT, METRICS_PORT, PodOptions
from visnet.platform.fleet.kuberay_target import Target, kubernetes_settings
from visnet.platform.fleet.start_commands import HEAD, start_environment, start_option
from visnet.platform.pools import pool_of

API = "ray.io/v1"
OPERATOR = {"app.kubernetes.io/name": "kuberay-operator"}
"""Label of KubeRay's pods, as its Helm chart has it."""
APPLICATION, STANDING = "visnet", "visnet-standing"

_KEPT = ("cluster_name", "max_workers", "upscaling_speed", "idle_timeout_minutes", "head_node_type")

Manifest = dict[str, Any]


def rendered_cluster(definition: ClusterDefinition, target: Target) -> list[Manifest]:
    """The cluster with its settings and its network policy.

    Raises:
        SettingsError: the file or the target holds something that can't work on Kubernetes.
    """
    settings = kubernetes_settings(definition, target)
    spec = _spec(definition, target, settings, served_by_workers=False)
    return [_settings_map(definition, target, settings), _network_policy(target), _object(target, "RayCluster", spec)]


def rendered_service(definition: ClusterDefinition, target: Target) -> list[Manifest]:
    """The cluster with the service on it.

    Raises:
        SettingsError: as for the cluster.
    """
    settings = kubernetes_settings(definition, target)
    there = dataclasses.replace(definition, workers=_chosen(definition, target))
    pool_of(there, settings["serve"].get("pool"), setting="serve.pool")  # or its parts would wait forever
    spec = {
        "upgradeStrategy": {"type": "NewCluster"},
        "serveConfigV2": as_yaml(serve_config(settings)),
        "rayClusterConfig": _spec(definition, target, settings, served_by_workers=True),
    }
    return [_settings_map(definition, target, settings), _network_policy(target), _object(target, "RayService", spec)]


def rendered_job(target: Target, command: str, entrypoint: str) -> list[Manifest]:
    """A command of visnet as a job on the RayCluster of that name.

    Args:
        command: such as train; part of the job's name.
        entrypoint: the shell command; it runs on the head, in the image.
    """
    job = _object(
        target,
        "RayJob",
        {
            "clusterSelector": {"ray.io/cluster": target.name},
            "entrypoint": entrypoint,
            # KubeRay asks the cluster itself: no further pod, and the network policy has nobody else to let in
            "submissionMode": "HTTPMode",
            # The only value with clusterSelector; visnet's jobs go on where they were when they are started again
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": False,  # the cluster stays; so there is no ttlSecondsAfterFinished
        },
    )
    del job["metadata"]["name"]
    job["metadata"]["generateName"] = f"{target.name}-{command}-"  # every run is a job of its own
    return [job]


def serve_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What Serve is told to run, as its REST API takes it.

    The second application stands as soon as a release is served: KubeRay sends requests to a new cluster when all of
    its applications stand, and the first one does before there are shards.
    """
    module = "visnet.serve.declared"
    return {
        "proxy_location": "EveryNode",  # every node with a part of the service takes requests, whichever pod dies
        "http_options": {"host": settings["serve"]["host"], "port": settings["serve"]["port"]},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": f"{module}:application",
                "args": {"settings": dict(settings)},
            },
            {"name": STANDING, "route_prefix": None, "import_path": f"{module}:standing", "args": {}},
        ],
    }


def _spec(
    definition: ClusterDefinition, target: Target, settings: Mapping[str, Any], *, served_by_workers: bool
) -> dict[str, Any]:
    environment = start_environment(definition.content)
    if environment.get("RAY_AUTH_MODE") != "token":
        raise SettingsError(f"{HEAD}: expected RAY_AUTH_MODE=token, got {environment.get('RAY_AUTH_MODE')!r}")
    options = PodOptions(
        image=target.image,
        cluster=target.name,
        environment=environment,
        settings_map=_map_name(target),
        store_claim=target.store_claim,
        store_folder=str(PurePosixPath(settings["store"])) if target.store_claim else "",
        journal_secret=target.journal_secret,
        service_account=target.service_account,
        by_instance_type=target.by_instance_type,
        served_by_workers=served_by_workers,
        metrics_port=int(start_option(definition.content, HEAD, "metrics-export-port") or METRICS_PORT),
    )
    return cluster_spec(definition, _chosen(definition, target), options, token_secret=target.token_secret)


def _chosen(definition: ClusterDefinition, target: Target) -> tuple[NodeType, ...]:
    kinds = tuple(kind for kind in definition.workers if target.pool is None or kind.pool == target.pool)
    if not kinds:
        pools = sorted({kind.pool for kind in definition.workers if kind.pool})
        raise SettingsError(f"pool: expected one of {', '.join(pools) or 'none'}, got {target.pool!r}")
    for kind in kinds:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", kind.name):
            raise SettingsError(
                f"available_node_types.{kind.name}: expected lowercase letters, digits and dashes for a group's name"
            )
    return kinds


def _map_name(target: Target) -> str:
    return f"{target.name}-settings"


def _settings_map(definition: ClusterDefinition, target: Target, settings: Mapping[str, Any]) -> Manifest:
    """The file without what only Ray's cluster launcher reads, and without the types that are not there."""
    types = definition.content["available_node_types"]
    there = {definition.head.name, *(kind.name for kind in _chosen(definition, target))}
    content = {
        **{key: definition.content[key] for key in _KEPT if key in definition.content},
        "available_node_types": {
            name: {key: value for key, value in (kind or {}).items() if key != "node_config"}
            for name, kind in types.items()
            if name in there
        },
        "metadata": {"visnet": dict(settings)},
    }
    data = {"cluster.yaml": as_yaml(content)}
    return {**_head("v1", "ConfigMap", target, _map_name(target)), "data": data}


def _network_policy(target: Target) -> Manifest:
    """Only what is named here reaches a pod: Serve's ports, HAProxy's and the metrics know no token."""
    pods = {"matchLabels": {CLUSTER_LABEL: target.name}}
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": OPERATOR}}
    spec = {
        "podSelector": pods,
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": pods}]},
            {"from": [operator], "ports": [_tcp(DASHBOARD_PORT), _tcp(HTTP_PORT)]},
            {"ports": [_tcp(HTTP_PORT)]},
        ],
    }
    return {**_head("networking.k8s.io/v1", "NetworkPolicy", target, target.name), "spec": spec}


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _object(target: Target, kind: str, spec: dict[str, Any]) -> Manifest:
    return {**_head(API, kind, target, target.name), "spec": spec}


def _head(api: str, kind: str, target: Target, name: str) -> Manifest:
    labels = {"app.kubernetes.io/part-of": "visnet"}
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": target.namespace, "labels": labels},
    }


class ForPeople(yaml.SafeDumper):
    """Writes what occurs twice twice, and a text of several lines as lines."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


ForPeople.add_representer(str, _text)


def as_yaml(content: Any) -> str:
    """YAML that people read, in the order of the content."""
    text: str = yaml.dump(content, Dumper=ForPeople, sort_keys=False, width=120, allow_unicode=True)
    return text
