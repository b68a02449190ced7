"""How a cluster stands, in a table: from what Ray's autoscaler says of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler.v2 import sdk
from ray.autoscaler.v2.schema import (
    ClusterStatus,
    LaunchRequest,
    NodeInfo,
    NodeUsage,
    PlacementGroupResourceDemand,
    RayTaskActorDemand,
    ResourceDemandSummary,
    ResourceRequestByCount,
    ResourceUsage,
)

from visnet.platform.errors import ClusterError
from visnet.platform.fleet import local_status
from visnet.platform.fleet.local_nodes import LocalNodes
from visnet.platform.fleet.local_status import NodeStatus, Status, read_status, table


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[LocalNodes]:
    made = LocalNodes(tmp_path)
    yield made
    made.end_all()


def info(kind: str, instance: str = "", **usage: tuple[float, float]) -> NodeInfo:
    """A node with what it uses of what it has."""
    used = [ResourceUsage(resource_name=name, used=some, total=every) for name, (some, every) in usage.items()]
    return NodeInfo(
        instance_type_name=kind,
        ray_node_type_name=kind,
        instance_id=instance,
        ip_address="127.0.0.1",
        resource_usage=NodeUsage(usage=used, idle_time_ms=0) if usage else None,
    )


def launch(kind: str, count: int) -> LaunchRequest:
    return LaunchRequest(
        instance_type_name=kind,
        ray_node_type_name=kind,
        count=count,
        state=LaunchRequest.Status.PENDING,
        request_ts_s=0,
    )


def demand(**bundle: float) -> ResourceRequestByCount:
    return ResourceRequestByCount(bundle=bundle, count=int(bundle.pop("count", 1)))


@pytest.fixture
def stands(monkeypatch: pytest.MonkeyPatch) -> list[ClusterStatus]:
    """What the autoscaler says next; the addresses it was asked at are patched away."""
    said = [ClusterStatus()]
    monkeypatch.setattr(local_status, "ensure_token", lambda: None)
    monkeypatch.setattr(local_status, "probe", lambda _address, **_options: None)
    monkeypatch.setattr(sdk, "get_cluster_status", lambda _address: said[-1])
    return said


def read(nodes: LocalNodes) -> Status:
    return read_status("127.0.0.1:6379", nodes)


def test_a_cluster_that_does_not_answer_is_told_why(nodes: LocalNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(local_status, "ensure_token", lambda: None)
    monkeypatch.setattr(local_status, "probe", lambda address, **_: asked.append(address) or "nothing answers there")
    with pytest.raises(ClusterError, match=r"can't reach the cluster at 127\.0\.0\.1:6379: nothing answers there"):
        read(nodes)
    assert asked == ["[::ffff:127.0.0.1]:6379"]


def test_nodes_come_with_their_state_and_what_they_use(nodes: LocalNodes, stands: list[ClusterStatus]) -> None:
    name = nodes.start(["sleep", "60"], {"ray-user-node-type": "gpu"}, dict(os.environ)).id
    stands.append(
        ClusterStatus(
            active_nodes=[info("gpu", name, CPU=(4.0000001, 8), GPU=(0.5, 1), memory=(1, 9))],
            idle_nodes=[info("cpu", "elsewhere", CPU=(0, 16), GPU=(0, 0))],
            pending_nodes=[info("serve", "serve-1")],
            pending_launches=[launch("cpu", 2)],
        )
    )
    gpu, cpu, serve, first, second = read(nodes).nodes
    assert gpu == NodeStatus(
        type="gpu", node=name, state="active", used={"CPU": 4, "GPU": 0.5}, total={"CPU": 8, "GPU": 1}, processes=1
    )
    assert cpu == NodeStatus(type="cpu", node="", state="idle", used={"CPU": 0}, total={"CPU": 16}, processes=0)
    assert serve == NodeStatus(type="serve", node="", state="starting", used={}, total={}, processes=0)
    assert first == second == NodeStatus(type="cpu", node="", state="starting", used={}, total={}, processes=0)


def test_what_waits_is_said_in_words(nodes: LocalNodes, stands: list[ClusterStatus]) -> None:
    tasks = RayTaskActorDemand(bundles_by_count=[demand(GPU=1, CPU=4, count=3), demand(CPU=0.5)])
    group = PlacementGroupResourceDemand(bundles_by_count=[demand(GPU=1, count=2), demand(CPU=1)], details="")
    demands = ResourceDemandSummary(ray_task_actor_demand=[tasks], placement_group_demand=[group])
    stands.append(ClusterStatus(resource_demands=demands))
    assert read(nodes).waiting == ["3 x 4 CPU and 1 GPU", "1 x 0.5 CPU", "together: 2 x 1 GPU, 1 x 1 CPU"]


def test_an_empty_cluster_is_a_heading(nodes: LocalNodes, stands: list[ClusterStatus]) -> None:
    assert table(read(nodes)) == "type  node  state  used  processes"


def test_the_table_is_a_line_for_each_node_and_for_each_that_waits() -> None:
    used, total = {"CPU": 4.0, "GPU": 0.5}, {"CPU": 8.0, "GPU": 1.0}
    rows = [
        NodeStatus(type="head", node="head", state="idle", used={}, total={}, processes=9),
        NodeStatus(type="gpu", node="gpu-12", state="active", used=used, total=total, processes=4),
        NodeStatus(type="gpu", node="", state="starting", used={}, total={}, processes=0),
    ]
    assert table(Status(nodes=rows, waiting=["2 x 1 GPU"])).splitlines() == [
        "type  node    state     used                processes",
        "head  head    idle                          9",
        "gpu   gpu-12  active    4/8 CPU, 0.5/1 GPU  4",
        "gpu           starting",
        "waiting: 2 x 1 GPU",
    ]
