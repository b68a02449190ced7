"""How a cluster stands, as its autoscaler knows it: nodes by type, what is used, what waits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from visnet.platform.errors import ClusterError
from visnet.platform.fleet.local_nodes import LocalNodes
from visnet.platform.ray_auth import ensure_token
from visnet.platform.ray_probe import mapped_loopback, probe

TIMEOUT_S = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NodeStatus:
    """A node."""

    type: str
    node: str
    """Its id on this machine; empty while it is being started."""
    state: str
    """active, idle, starting or failed."""
    used: dict[str, float]
    total: dict[str, float]
    """CPU and GPU, and what else the file names."""
    processes: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A cluster."""

    nodes: list[NodeStatus]
    waiting: list[str]
    """What tasks, actors and placement groups wait for, in words."""


def read_status(address: str, nodes: LocalNodes) -> Status:
    """Ask a cluster's autoscaler.

    Raises:
        ClusterError: it does not answer; the text says why.
    """
    ensure_token()
    mapped = mapped_loopback(address)
    if (reason := probe(mapped, timeout_s=TIMEOUT_S)) is not None:
        raise ClusterError(f"can't reach the cluster at {address}: {reason}")
    from ray.autoscaler.v2.sdk import get_cluster_status

    found = get_cluster_status(mapped)
    kinds = (("active", found.active_nodes), ("idle", found.idle_nodes), ("starting", found.pending_nodes))
    rows = [_node(state, node, nodes) for state, group in kinds for node in group]
    for launch in found.pending_launches:
        starting = NodeStatus(type=launch.ray_node_type_name, node="", state="starting", used={}, total={}, processes=0)
        rows += [starting] * launch.count
    return Status(nodes=rows, waiting=_waiting(found.resource_demands))


def table(status: Status) -> str:
    """For people: a line for each node, and below them what waits."""
    head = ("type", "node", "state", "used", "processes")
    rows = [(one.type, one.node, one.state, _used(one), str(one.processes or "")) for one in status.nodes]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
    return "\n".join([*lines, *(f"waiting: {demand}" for demand in status.waiting)])


def _node(state: str, node: Any, nodes: LocalNodes) -> NodeStatus:
    usage = {} if node.resource_usage is None else {use.resource_name: use for use in node.resource_usage.usage}
    shown = [name for name in usage if name in ("CPU", "GPU") and usage[name].total]
    known = nodes.get(node.instance_id) if node.instance_id else None
    return NodeStatus(
        type=node.ray_node_type_name,
        node=node.instance_id if known is not None else "",
        state=state,
        used={name: round(usage[name].used, 3) for name in shown},
        total={name: usage[name].total for name in shown},
        processes=len(nodes.processes(known)) if known is not None else 0,
    )


def _waiting(demands: Any) -> list[str]:
    alone = [
        f"{count} x {_resources(bundle)}"
        for demand in demands.ray_task_actor_demand
        for bundle, count in ((one.bundle, one.count) for one in demand.bundles_by_count)
    ]
    together = [
        f"together: {', '.join(f'{one.count} x {_resources(one.bundle)}' for one in demand.bundles_by_count)}"
        for demand in demands.placement_group_demand
    ]
    return [*alone, *together]


def _resources(bundle: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in sorted(bundle.items()))


def _used(node: NodeStatus) -> str:
    return ", ".join(f"{node.used.get(name, 0):g}/{total:g} {name}" for name, total in node.total.items())
