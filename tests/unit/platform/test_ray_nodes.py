"""What a cluster has and may get, from what Ray says of its nodes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import ray
from ray._private import state

from visnet.platform import ray_nodes
from visnet.platform.fleet.definition import NodeType
from visnet.platform.placement import Node
from visnet.platform.pools import ALL, Pool

GPU = NodeType(name="gpu", resources={"CPU": 8, "GPU": 1}, labels={"pool": "work"}, max_workers=3)
CPU = NodeType(name="cpu", resources={"CPU": 16, "memory": 5}, labels={"pool": "work"}, max_workers=1)
WORK, SERVE = Pool(name="work", types=(GPU, CPU)), Pool(name="serve")
COMES = Node(cpus=8, gpus=1, memory_bytes=math.inf)


def node(name: str, *, head: bool = False, alive: bool = True, **resources: float) -> dict[str, Any]:
    """One of `ray.nodes()`, of a pool and a type if its name is `pool/type/number`."""
    pool, kind, _ = name.split("/") if "/" in name else ("", "", "")
    labels = {label: value for label, value in (("pool", pool), (ray_nodes.NODE_GROUP, kind)) if value}
    own = {"node:__internal_head__": 1.0} if head else {}
    return {"NodeID": name, "Alive": alive, "Resources": {**resources, **own}, "Labels": labels}


def cluster(
    monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, Any], free: dict[str, dict[str, float]] | None = None
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: list(nodes))
    monkeypatch.setattr(state, "available_resources_per_node", lambda: free or {})


def head(**labels: str) -> dict[str, Any]:
    return {**node("head", head=True, CPU=4, memory=9), "Labels": labels}


AUTOSCALED = head(**{ray_nodes.NODE_GROUP: "head"})


def test_without_an_autoscaler_the_nodes_are_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, head(), node("work/gpu/1", CPU=8, GPU=1, memory=7))
    assert not ray_nodes.autoscaled()
    there = [Node(cpus=4, gpus=0, memory_bytes=9), Node(cpus=8, gpus=1, memory_bytes=7)]
    assert ray_nodes.capacity(Pool(types=(GPU, CPU))) == there  # the head may be all there is
    assert ray_nodes.capacity(WORK) == there[1:]
    assert ray_nodes.capacity(SERVE) == []


def test_with_one_the_head_does_no_work_and_nodes_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, AUTOSCALED)
    assert ray_nodes.autoscaled()
    assert ray_nodes.capacity(ALL) == []
    assert ray_nodes.capacity(WORK) == [COMES, COMES, COMES, Node(cpus=16, gpus=0, memory_bytes=5)]


def test_those_of_a_type_that_came_are_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [node(f"work/gpu/{number}", CPU=8, GPU=1, memory=7) for number in range(2)]
    gone = node("work/gpu/9", alive=False, CPU=8, GPU=1)
    foreign = node("serve/serve/1", CPU=8, GPU=1, memory=7)
    cluster(monkeypatch, AUTOSCALED, *there, gone, foreign)
    here = Node(cpus=8, gpus=1, memory_bytes=7)
    assert ray_nodes.capacity(WORK) == [here, here, COMES, Node(cpus=16, gpus=0, memory_bytes=5)]
    assert ray_nodes.capacity(SERVE) == [here]


def test_more_than_the_file_allows_leave_none_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [node(f"work/cpu/{number}", CPU=16) for number in range(3)]
    cluster(monkeypatch, AUTOSCALED, *there)
    assert ray_nodes.capacity(Pool(name="work", types=(CPU,))) == [Node(cpus=16, gpus=0, memory_bytes=0)] * 3


def test_free_is_what_is_not_used_and_what_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"work/gpu/1": {"CPU": 0.5, "memory": 3.0}}
    cluster(monkeypatch, AUTOSCALED, *(node(f"work/gpu/{n}", CPU=8, GPU=1, memory=7) for n in (1, 2)), free=used)
    busy, not_yet_said = Node(cpus=0.5, gpus=0, memory_bytes=3), Node(cpus=0, gpus=0, memory_bytes=0)
    assert ray_nodes.free(Pool(name="work", types=(GPU,))) == [busy, not_yet_said, COMES]


def test_the_pools_are_those_of_live_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, head(), node("work/gpu/1"), node("work/cpu/1"), node("serve/serve/1", alive=False))
    assert ray_nodes.known_pools() == {"work"}


@pytest.mark.parametrize(("label", "pretended"), [("pretended", True), ("real", False), (None, False)])
def test_pretended_gpus_are_said_by_the_head(
    monkeypatch: pytest.MonkeyPatch, label: str | None, pretended: bool
) -> None:
    cluster(monkeypatch, head(**({"visnet-gpus": label} if label else {})), node("work/gpu/1", GPU=1))
    assert ray_nodes.gpus_are_pretended() is pretended


def test_nodes_together() -> None:
    assert ray_nodes.total([COMES, Node(cpus=0.5, gpus=0, memory_bytes=0)]) == (8.5, 1)
    assert ray_nodes.total([]) == (0, 0)
