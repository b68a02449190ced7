"""The nodes of the connected cluster, and those that its autoscaler may add, as plain data for our policies."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping
from typing import Any

from visnet.platform.fleet.definition import POOL
from visnet.platform.fleet.local_config import PRETENDED
from visnet.platform.placement import Node
from visnet.platform.pools import Pool

NODE_GROUP = "ray.io/node-group"
"""Label with the node's type of the cluster file; the head has it too where there is an autoscaler."""


def capacity(pool: Pool) -> list[Node]:
    """What every node of a pool has, in use or not, and what those would have that may come. The head is none."""
    return [_node(node["Resources"]) for node in _workers(pool)] + _possible(pool)


def free(pool: Pool) -> list[Node]:
    """What is free on every node of a pool, and the nodes that may come."""
    from ray._private.state import available_resources_per_node  # no public call says it by node

    available = available_resources_per_node()
    return [_node(available.get(node["NodeID"], {})) for node in _workers(pool)] + _possible(pool)


def known_pools() -> set[str]:
    """The values of the label `pool` on the live nodes."""
    return {node["Labels"][POOL] for node in _alive() if POOL in node["Labels"]}


def autoscaled() -> bool:
    """Whether Ray's launcher or Kubernetes started the cluster, so that nodes of the file's types may come."""
    return any(_is_head(node) and NODE_GROUP in node["Labels"] for node in _alive())


def gpus_are_pretended() -> bool:
    """Whether the GPUs of the connected cluster are numbers only: `visnet cluster up --local` without any."""
    return any(node["Labels"].get(PRETENDED) == "pretended" for node in _alive())


def total(nodes: list[Node]) -> tuple[float, float]:
    """CPUs and GPUs of nodes together."""
    return sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)


def _possible(pool: Pool) -> list[Node]:
    if not autoscaled():
        return []
    there = collections.Counter(node["Labels"].get(NODE_GROUP) for node in _alive())
    return [
        _node({"memory": math.inf, **kind.resources})  # a cluster file seldom says it
        for kind in pool.types
        for _ in range(kind.max_workers - there[kind.name])
    ]


def _workers(pool: Pool) -> list[dict[str, Any]]:
    """The live nodes of a pool; with an autoscaler the head does no work, elsewhere it may be all there is."""
    skipping = autoscaled()
    return [
        node
        for node in _alive()
        if (pool.name is None or node["Labels"].get(POOL) == pool.name) and not (skipping and _is_head(node))
    ]


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _is_head(node: Mapping[str, Any]) -> bool:
    return "node:__internal_head__" in node["Resources"]


def _node(resources: Mapping[str, float]) -> Node:
    return Node(
        cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0), memory_bytes=resources.get("memory", 0.0)
    )
