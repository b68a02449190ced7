"""The machines of `cluster.yaml` as a RayCluster of KubeRay: its node types become groups of pods.

Ray's own autoscaler reads such a RayCluster back as node types; a test holds that these are the file's.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from visnet.platform.fleet.definition import ClusterDefinition, NodeType
from visnet.platform.fleet.kuberay_pods import (
    DASHBOARD_PORT,
    PodOptions,
    container_security,
    head_template,
    worker_template,
)

AUTOSCALER_RESOURCES = {
    "requests": {"cpu": "500m", "memory": "512Mi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}
_NOT_RAYS = ("memory", "object_store_memory")
"""Resources of a type that the pod's limits and `ray start` say instead."""


def cluster_spec(
    definition: ClusterDefinition, kinds: tuple[NodeType, ...], options: PodOptions, *, token_secret: str | None = None
) -> dict[str, Any]:
    """The `spec` of a RayCluster.

    Args:
        kinds: the types of its workers, some or all of the definition's.
        token_secret: Secret with Ray's token under the key `auth_token`; None for one that KubeRay makes.
    """
    authentication: dict[str, Any] = {"mode": "token"}
    if token_secret is not None:
        authentication["secretName"] = token_secret
    return {
        "rayVersion": version("ray"),
        "authOptions": authentication,
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": round(60 * definition.idle_timeout_minutes),
            # In Ray's words a speed of 1 or less: as many nodes at once as there are
            "upscalingMode": "Conservative" if definition.upscaling_speed <= 1 else "Default",
            "resources": AUTOSCALER_RESOURCES,
            "securityContext": container_security(),
        },
        "headGroupSpec": {
            "serviceType": "ClusterIP",  # the dashboard runs code: nobody outside reaches it
            "resources": {"CPU": f"{definition.head.cpus:g}"},
            **_labels(definition.head),
            "rayStartParams": {
                # KubeRay reaches it over the pod's address; the network policy keeps others off
                "dashboard-host": "0.0.0.0",
                "dashboard-port": str(DASHBOARD_PORT),
                "metrics-export-port": str(options.metrics_port),
            },
            "template": head_template(definition.head, options),
        },
        "workerGroupSpecs": [_group(definition, kind, options) for kind in kinds],
    }


def _group(definition: ClusterDefinition, kind: NodeType, options: PodOptions) -> dict[str, Any]:
    started_with = {"metrics-export-port": str(options.metrics_port)}
    if "object_store_memory" in kind.resources:
        started_with["object-store-memory"] = f"{kind.resources['object_store_memory']:.0f}"
    return {
        "groupName": kind.name,
        "replicas": kind.min_workers,
        "minReplicas": kind.min_workers,
        "maxReplicas": kind.max_workers,
        "idleTimeoutSeconds": round(definition.idle_timeout_s(kind)),
        "resources": {name: f"{amount:g}" for name, amount in kind.resources.items() if name not in _NOT_RAYS},
        **_labels(kind),
        "rayStartParams": started_with,
        "template": worker_template(kind, options),
    }


def _labels(kind: NodeType) -> dict[str, Any]:
    return {"labels": dict(kind.labels)} if kind.labels else {}
