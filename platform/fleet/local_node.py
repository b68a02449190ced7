"""One node of a cluster on this machine, as a program: it is a Ray node until it is ended or one of its daemons dies.

    python -m visnet.platform.fleet.local_node '{"gcs_address": "127.0.0.1:6379", "temp_dir": …}'

`ray start --address` does the same, but not on loopback: there it refuses a second node.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from ray._private.node import Node
from ray._private.parameter import RayParams

LOOPBACK = "127.0.0.1"
LOOK_S = 1.0


def start(gcs_address: str, temp_dir: str, resources: Mapping[str, float], labels: Mapping[str, str]) -> Node:
    """Start the node's daemons, which end with this process.

    Args:
        gcs_address: the head's, `host:port`.
        temp_dir: the node's own, with a short path. Nodes that shared one would unpack a job's files over each other.
        resources: as a node type of cluster.yaml has them, with `object_store_memory`.
    """
    custom = dict(resources)
    parameters = RayParams(
        gcs_address=gcs_address,
        node_ip_address=LOOPBACK,
        num_cpus=int(custom.pop("CPU", 0)),
        num_gpus=int(custom.pop("GPU", 0)),
        memory=int(custom.pop("memory")) if "memory" in custom else None,
        object_store_memory=int(custom.pop("object_store_memory")),
        resources=custom,
        labels=dict(labels),
        temp_dir=temp_dir,
        min_worker_port=0,
        max_worker_port=0,
        dashboard_agent_listen_port=0,
    )
    return Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=True, connect_only=False)


def main() -> None:
    """Run a node as its first argument says, until it is ended."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    node = start(**given)
    print("the node is up", flush=True)
    while not node.dead_processes():
        time.sleep(LOOK_S)
    names = ", ".join(name for name, _ in node.dead_processes())
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    sys.exit(f"ended: {names}")


if __name__ == "__main__":
    main()
