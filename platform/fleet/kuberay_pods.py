"""The pods of a cluster on Kubernetes: one Ray node each, with what `cluster.yaml` says of its type.

A pod asks for a little less than its type has, because a machine keeps some of it for itself; to Ray it still offers
what the file says.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from visnet.platform.fleet.definition import NodeType

USER = 10001
"""Of the image, see platform/fleet/Dockerfile; no root."""
CLUSTER_LABEL = "visnet-cluster"
"""On every pod: what the network policy goes by. (`ray.io/cluster` is made up anew with each upgrade of a RayService.)
"""
SETTINGS_FOLDER = "/etc/visnet"
GPU = "nvidia.com/gpu"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"

HEALTH_PORT = 52365
"""Of the node's Ray agent, which also sees to the GCS on the head; it answers there without a token."""
HTTP_PORT = 8000
GCS_PORT, DASHBOARD_PORT, METRICS_PORT = 6379, 8265, 8080

HEAD_CPUS = 4
"""What the head's pod asks for; to Ray it offers none."""
GIB_PER_CPU = 3
"""Memory of a pod for each CPU of its type, where the file doesn't say it: machines have 4 GiB for each, mostly."""
REQUESTED_SHARE = 7 / 8
"""Of a type's CPUs, so that a pod fits beside what runs on every machine."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions:
    """What the pods of all groups have in common."""

    image: str
    cluster: str
    environment: Mapping[str, str]
    """Of Ray's processes."""
    settings_map: str
    """The ConfigMap with `cluster.yaml`."""
    store_claim: str | None = None
    """PersistentVolumeClaim that is mounted at `store_folder`; None for a store with a URL."""
    store_folder: str = ""
    journal_secret: str | None = None
    """Secret whose key `password` is the journal database's."""
    service_account: str | None = None
    by_instance_type: bool = False
    """Whether pods go to machines of the instance types that the file names."""
    served_by_workers: bool = False
    """Whether a worker is ready only if it answers HTTP, as KubeRay's service wants it."""
    metrics_port: int = METRICS_PORT


def head_template(kind: NodeType, options: PodOptions) -> dict[str, Any]:
    """The head's pod."""
    cpus = max(kind.cpus, HEAD_CPUS)
    ports = {"gcs-server": GCS_PORT, "dashboard": DASHBOARD_PORT, "serve": HTTP_PORT, "metrics": options.metrics_port}
    return _template("ray-head", kind, options, cpus=cpus, ports=ports, probes=_probes(ready_at=HEALTH_PORT))


def worker_template(kind: NodeType, options: PodOptions) -> dict[str, Any]:
    """A worker's pod."""
    ports = {"metrics": options.metrics_port}
    probes = _probes(ready_at=HEALTH_PORT)
    if options.served_by_workers:
        ports["serve"] = HTTP_PORT
        probes = _probes(ready_at=HTTP_PORT)
    return _template("ray-worker", kind, options, cpus=kind.cpus, ports=ports, probes=probes)


def memory_gib(kind: NodeType, cpus: float) -> int:
    """Memory of a pod of a type, in GiB."""
    if "memory" in kind.resources:
        return math.ceil(kind.resources["memory"] / 2**30)
    return math.ceil(GIB_PER_CPU * cpus)


def container_security() -> dict[str, Any]:
    """What no container of ours needs is taken from all of them."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _template(
    name: str, kind: NodeType, options: PodOptions, *, cpus: float, ports: Mapping[str, int], probes: dict[str, Any]
) -> dict[str, Any]:
    volumes, mounts = _volumes(options)
    container = {
        "name": name,
        "image": options.image,
        "env": _environment(options),
        "ports": [{"name": each, "containerPort": port} for each, port in ports.items()],
        "resources": _resources(kind, cpus),
        **probes,
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }
    spec: dict[str, Any] = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if options.service_account is not None:
        spec["serviceAccountName"] = options.service_account
    if options.by_instance_type and kind.instance_type is not None:
        spec["nodeSelector"] = {INSTANCE_TYPE: kind.instance_type}
    if kind.gpus:  # clouds taint such machines
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return {"metadata": {"labels": {CLUSTER_LABEL: options.cluster}}, "spec": spec}


def _environment(options: PodOptions) -> list[dict[str, Any]]:
    given = {**options.environment, "VISNET_CLUSTER_FILE": f"{SETTINGS_FOLDER}/cluster.yaml"}
    found: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in given.items()]
    if options.journal_secret is not None:  # PostgreSQL's own client reads it
        secret = {"secretKeyRef": {"name": options.journal_secret, "key": "password"}}
        found.append({"name": "PGPASSWORD", "valueFrom": secret})
    return found


def _resources(kind: NodeType, cpus: float) -> dict[str, Any]:
    memory = f"{memory_gib(kind, cpus)}Gi"
    gpus = {GPU: f"{kind.gpus:g}"} if kind.gpus else {}
    return {
        "requests": {"cpu": f"{round(1000 * cpus * REQUESTED_SHARE)}m", "memory": memory, **gpus},
        "limits": {"cpu": f"{cpus:g}", "memory": memory, **gpus},
    }


def _probes(*, ready_at: int) -> dict[str, Any]:
    """A node lives while its Ray agent says so, and is ready when `ready_at` answers."""
    paths = {HEALTH_PORT: "/api/healthz", HTTP_PORT: "/-/healthz"}
    return {
        "readinessProbe": {
            "httpGet": {"path": paths[ready_at], "port": ready_at},
            "initialDelaySeconds": 10,
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            "httpGet": {"path": paths[HEALTH_PORT], "port": HEALTH_PORT},
            "initialDelaySeconds": 60,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 12,  # two minutes: a node under full load answers late
        },
    }


def _volumes(options: PodOptions) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and where they are mounted; /dev/shm is KubeRay's, as large as the memory limit."""
    volumes: list[dict[str, Any]] = [{"name": "settings", "configMap": {"name": options.settings_map}}]
    mounts: list[dict[str, Any]] = [{"name": "settings", "mountPath": SETTINGS_FOLDER, "readOnly": True}]
    if options.store_claim is not None:
        volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": options.store_claim}})
        mounts.append({"name": "store", "mountPath": options.store_folder})
    return volumes, mounts
