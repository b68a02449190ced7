"""What of a plan the cluster file lacks: settings and bounds, as it has them and as the plan needs them."""

from __future__ import annotations

import dataclasses
from typing import Any

import yaml

from visnet.platform.fleet.definition import ClusterDefinition, NodeType
from visnet.platform.fleet.plan import Plan
from visnet.platform.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """A key of the cluster file that does not allow what is planned."""

    key: str
    now: Any
    needed: Any


def gaps(plan: Plan, definition: ClusterDefinition, settings: Settings) -> list[Gap]:
    """What must be changed; nothing if the plan fits the file as it stands."""
    serve, shards = plan.serve, plan.serve.shards
    service, shard = settings.serve, settings.serve.shard
    exact = [  # as planned, neither more nor less
        ("metadata.visnet.serve.shard.gpus", shard.gpus, shards.gpus),
        ("metadata.visnet.serve.shard.cpus", shard.cpus, float(shards.cpus)),
    ]
    least = [
        ("metadata.visnet.index.shards", settings.index.shards, shards.shards),
        ("metadata.visnet.serve.shard.replicas", shard.replicas, shards.copies),
        ("metadata.visnet.serve.embedder.max_replicas", service.embedder.max_replicas, serve.embedder.replicas),
        ("metadata.visnet.serve.ingress_replicas", service.ingress_replicas, serve.ingress.replicas),
    ]
    least += [(f"available_node_types.{name}.max_workers", *counts) for name, counts in _counts(plan, definition)]
    least.append(("max_workers", definition.max_workers, _workers(plan, definition)))
    found = [Gap(key=key, now=now, needed=needed) for key, now, needed in exact if now != needed]
    if not serve.machine.cards and service.embedder.gpus:
        found.append(Gap(key="metadata.visnet.serve.embedder.gpus", now=service.embedder.gpus, needed=0.0))
    found += [Gap(key=key, now=now, needed=needed) for key, now, needed in least if now < needed]
    return found


def snippet(plan: Plan, definition: ClusterDefinition) -> str:
    """The keys of the cluster file that the plan is about, as YAML."""
    serve, shards = plan.serve, plan.serve.shards
    embedder: dict[str, Any] = {"max_replicas": serve.embedder.replicas}
    if not serve.machine.cards:
        embedder["gpus"] = 0.0
    content = {
        "max_workers": _workers(plan, definition),
        "available_node_types": _types(plan, definition),
        "metadata": {
            "visnet": {
                "index": {"shards": shards.shards},
                "serve": {
                    "ingress_replicas": serve.ingress.replicas,
                    "embedder": embedder,
                    "shard": {"replicas": shards.copies, "gpus": shards.gpus, "cpus": float(shards.cpus)},
                },
            }
        },
    }
    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)
    return text


def _types(plan: Plan, definition: ClusterDefinition) -> dict[str, dict[str, Any]]:
    types: dict[str, dict[str, Any]] = {
        name: {"max_workers": needed} for name, (_, needed) in _counts(plan, definition)
    }
    kind = _kind(definition, plan.serve.machine.type_name)
    types[_serving(kind)]["min_workers"] = plan.serve.nodes
    if kind.pool != "serve":
        machine = {"InstanceType": kind.instance_type}
        types[_serving(kind)] |= {
            "resources": dict(kind.resources),
            "labels": {"pool": "serve"},
            "node_config": machine,
        }
    return types


def _counts(plan: Plan, definition: ClusterDefinition) -> list[tuple[str, tuple[int, int]]]:
    """The types of the plan: most nodes as the file has it, and as needed."""
    serving = _kind(definition, plan.serve.machine.type_name)
    working = _kind(definition, plan.work.machine.type_name)
    there = serving.max_workers if serving.pool == "serve" else 0
    counts = {_serving(serving): (there, plan.serve.most_nodes)}
    _, taken = counts.get(working.name, (0, 0))
    counts[working.name] = (working.max_workers, taken + plan.work.nodes)
    return list(counts.items())


def _workers(plan: Plan, definition: ClusterDefinition) -> int:
    """Of all types together: those of the plan as needed, the others as the file has them."""
    counts = {kind.name: kind.max_workers for kind in definition.workers}
    for name, (now, needed) in _counts(plan, definition):
        counts[name] = max(now, needed)
    return sum(counts.values())


def _serving(kind: NodeType) -> str:
    """The type that serves: the one that is named, or one like it that no job may take."""
    return kind.name if kind.pool == "serve" else f"serve-{kind.name}"


def _kind(definition: ClusterDefinition, name: str) -> NodeType:
    return next(kind for kind in definition.workers if kind.name == name)
