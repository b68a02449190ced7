"""The cluster file for one machine: the same node types, as processes with logical CPUs and GPUs.

What Ray's launcher and autoscaler read is made of cluster.yaml: the provider and the commands are replaced, the types
with their resources, labels and bounds stay.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visnet.platform.fleet.definition import ClusterDefinition, NodeType
from visnet.platform.fleet.local_nodes import HEAD

PRETENDED = "visnet-gpus"
"""Label of the head whose value is `pretended` where the GPUs are numbers only."""
LOOKS = {"AUTOSCALER_UPDATE_INTERVAL_S": "1"}
"""Environment that makes the autoscaler look every second: a process starts in seconds, not minutes."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine's part of a rendered file."""

    directory: Path
    """The cluster's: node files, logs, the configuration that Ray puts there."""
    ray_directory: Path
    """Ray's sessions; its path must be short."""
    gcs_port: int
    dashboard_port: int
    ray_client_port: int
    environment: Mapping[str, str]
    """Of every process of the cluster."""
    gpus: int
    """Real ones; 0: the nodes' GPUs are pretended."""
    object_store_bytes: int
    """Of each node; of shared memory."""
    memory_bytes: int
    """What a node offers where its type does not say; the autoscaler starts none for work that asks for memory else."""
    idle_timeout_s: float | None
    """Instead of the file's; None for the file's."""


def rendered(definition: ClusterDefinition, machine: Machine) -> dict[str, Any]:
    """What `ray up` takes, of a cluster on one machine."""
    types = {kind.name: _type(kind, machine) for kind in definition.workers}
    idle = definition.idle_timeout_minutes if machine.idle_timeout_s is None else machine.idle_timeout_s / 60
    nothing: list[str] = []
    return {
        "cluster_name": definition.cluster_name,
        "max_workers": definition.max_workers,
        "upscaling_speed": definition.upscaling_speed,
        "idle_timeout_minutes": idle,
        "provider": {
            "type": "external",
            "module": "visnet.platform.fleet.local_provider.LocalProvider",
            "state_dir": str(machine.directory),
            "ray_dir": str(machine.ray_directory),
            "gcs_port": machine.gcs_port,
            "gpus": machine.gpus,
            "environment": {**machine.environment, **LOOKS},
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {"ssh_user": "nobody"},  # Ray wants a name; nothing here uses ssh
        "head_node_type": definition.head.name,
        "available_node_types": {definition.head.name: _head_type(definition.head, machine), **types},
        "head_start_ray_commands": [head_command(definition.head, machine)],
        "worker_start_ray_commands": nothing,
        "file_mounts": {},
        "cluster_synced_files": nothing,
        "initialization_commands": nothing,
        "setup_commands": nothing,
        "head_setup_commands": nothing,
        "worker_setup_commands": nothing,
        "metadata": dict(definition.content.get("metadata") or {}),
    }


def head_command(head: NodeType, machine: Machine) -> str:
    """The shell command that starts the head's daemons."""
    options = {
        "node-ip-address": "127.0.0.1",
        "port": machine.gcs_port,
        "num-cpus": int(head.cpus),
        "num-gpus": int(head.gpus),
        "object-store-memory": machine.object_store_bytes,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": machine.dashboard_port,
        "dashboard-agent-listen-port": 0,
        "ray-client-server-port": machine.ray_client_port,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "temp-dir": machine.ray_directory,
        "autoscaling-config": machine.directory / "ray_bootstrap_config.yaml",
        "labels": f"{PRETENDED}={'real' if machine.gpus else 'pretended'}",
        "log-color": "false",
    }
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats"]
    return shlex.join([*ray, *(f"--{name}={value}" for name, value in options.items())])


def _head_type(head: NodeType, machine: Machine) -> dict[str, Any]:
    return {**_type(head, machine), "min_workers": 0, "max_workers": 0, "labels": {}, "node_config": {"id": HEAD}}


def _type(kind: NodeType, machine: Machine) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resources": {
            "CPU": 0,
            "memory": machine.memory_bytes,
            **{name: int(amount) for name, amount in kind.resources.items()},
            "object_store_memory": machine.object_store_bytes,
        },
        "labels": dict(kind.labels),
        "min_workers": kind.min_workers,
        "max_workers": kind.max_workers,
        "node_config": {},
    }
    if kind.idle_timeout_s is not None and machine.idle_timeout_s is None:
        made["idle_timeout_s"] = kind.idle_timeout_s
    return made
