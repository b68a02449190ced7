"""Ray's own autoscaler, driven by a simulated clock: its scheduler says which nodes to launch and to give back.

`ResourceDemandScheduler` and the reconciler's limit on launches are Ray's code, called with the simulated cluster's
state as they are with a real one's. Both are private to Ray: the versions in constraints.txt have them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ray._raylet import IMPLICIT_RESOURCE_PREFIX  # type: ignore[attr-defined]
from ray.autoscaler._private.constants import AUTOSCALER_MAX_CONCURRENT_LAUNCHES
from ray.autoscaler.v2.instance_manager.common import InstanceUtil
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.instance_manager.reconciler import Reconciler
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.core.generated.autoscaler_pb2 import NodeState as RayNode
from ray.core.generated.autoscaler_pb2 import ResourceRequest, ResourceRequestByCount
from ray.core.generated.instance_manager_pb2 import Instance

from visnet.platform.fleet.simulation_nodes import Nodes, NodeState, SimulatedNode
from visnet.platform.placement import Part

AGAIN_S = 30.0
_STATUS = {
    NodeState.QUEUED: Instance.QUEUED,
    NodeState.REQUESTED: Instance.REQUESTED,
    NodeState.BOOTING: Instance.ALLOCATED,
    NodeState.RUNNING: Instance.RAY_RUNNING,
    NodeState.LOST: Instance.RAY_RUNNING,
}


class SimulatedAutoscaler:
    """Sees to the nodes of one type.

    Args:
        min_workers, max_workers: of the type.
        idle_timeout_s: after which an idle node is given back.
        upscaling_speed: as in the cluster file.
    """

    def __init__(
        self, nodes: Nodes, *, min_workers: int, max_workers: int, idle_timeout_s: float, upscaling_speed: float
    ) -> None:
        self._nodes = nodes
        self._max_workers = max_workers
        self._idle_timeout_s = idle_timeout_s
        self._speed = upscaling_speed
        self._scheduler = ResourceDemandScheduler()
        self._type = NodeTypeConfig(
            name=nodes.kind.name,
            min_worker_nodes=min_workers,
            max_worker_nodes=max_workers,
            idle_timeout_s=idle_timeout_s,
            resources=nodes.size,
            labels=dict(nodes.kind.labels),
        )
        self._waited: Counter[Part] = Counter()
        self._asked_s = 0.0

    def step(self, now_s: float, waiting: Sequence[Part]) -> None:
        """What the autoscaler does every five seconds, for copies that found no room.

        Its scheduler, which takes seconds for a thousand shards, is asked only if its answer may differ: something new
        waits, a node has died, there are too few nodes, or one is idle for too long; and while anything waits, every
        half a minute.
        """
        wanted = Counter(waiting)
        anew = wanted and (self._nodes.died or wanted - self._waited or now_s - self._asked_s >= AGAIN_S)
        there = len(self._nodes.there(*_STATUS))
        if anew or there < self._type.min_worker_nodes or (there > self._type.min_worker_nodes and self._idle(now_s)):
            self._asked_s, self._nodes.died = now_s, 0
            self._schedule(now_s, wanted)
        self._waited = wanted
        self._ask_the_cloud(now_s)

    def _idle(self, now_s: float) -> bool:
        """Whether a node may be given back."""
        idle = (now_s - node.idle_since_s for node in self._nodes.running if not node.copies)
        return any(since_s > self._idle_timeout_s for since_s in idle)

    def _schedule(self, now_s: float, wanted: Counter[Part]) -> None:
        reply = self._scheduler.schedule(
            SchedulingRequest(
                disable_launch_config_check=True,
                node_type_configs={self._type.name: self._type},
                max_num_nodes=self._max_workers,
                idle_timeout_s=self._idle_timeout_s,
                current_instances=[self._instance(node, now_s) for node in self._nodes.there(*_STATUS)],
                resource_requests=[
                    ResourceRequestByCount(request=_request(part), count=count) for part, count in wanted.items()
                ],
            )
        )
        for launch in reply.to_launch:
            self._nodes.want(launch.count, now_s)
        for ended in reply.to_terminate:
            self._nodes.give_back(self._nodes.node(int(ended.instance_id)), now_s)

    def _ask_the_cloud(self, now_s: float) -> None:
        """As many of the queued nodes as Ray launches at once."""
        queued = self._nodes.there(NodeState.QUEUED)
        if not queued:
            return
        states = (NodeState.REQUESTED, NodeState.RUNNING)
        requested, running = ([self._bare(node) for node in self._nodes.there(state)] for state in states)
        asked = Reconciler._compute_to_launch(
            [self._bare(node) for node in queued], requested, running, self._speed, AUTOSCALER_MAX_CONCURRENT_LAUNCHES
        )
        self._nodes.ask([int(one.instance_id) for many in asked.values() for one in many], now_s)

    def _bare(self, node: SimulatedNode) -> Instance:
        return InstanceUtil.new_instance(str(node.number), self._type.name, _STATUS[node.state])

    def _instance(self, node: SimulatedNode, now_s: float) -> AutoscalerInstance:
        there = _STATUS[node.state]
        instance = Instance(instance_id=str(node.number), instance_type=self._type.name, status=there)
        if there != Instance.RAY_RUNNING:
            return AutoscalerInstance(im_instance=instance)
        instance.node_id = str(node.number)
        lost = node.state is NodeState.LOST
        idle_s = 0.0 if node.copies or lost else now_s - node.idle_since_s
        ray_node = RayNode(
            node_id=str(node.number).encode(),
            ray_node_type_name=self._type.name,
            total_resources=self._nodes.size,
            available_resources={} if lost else self._nodes.room(node),
            idle_duration_ms=int(1_000 * idle_s),
            labels=dict(self._nodes.kind.labels),
        )
        return AutoscalerInstance(im_instance=instance, ray_node=ray_node)


def _request(part: Part) -> ResourceRequest:
    """As Serve asks for a copy; the implicit resource is its `max_replicas_per_node=1`."""
    bundle = {"CPU": part.cpus, "memory": float(part.memory_bytes)}
    if part.gpus:
        bundle["GPU"] = part.gpus
    if part.spread:
        bundle[f"{IMPLICIT_RESOURCE_PREFIX}{part.name}:shard"] = 1.0
    return ResourceRequest(resources_bundle=bundle)
