"""The embedder's replicas over the day: Serve's own autoscaling policy, fed with the requests of a simulated queue.

Serve's functions decide (how many are wanted, delays, which replicas end); they are private, and take the time as an
argument. How many requests are in flight is modelled: a replica takes a batch as soon as it is free, and a batch takes
a fixed time and its photos' time; what comes beyond all capacity queues, and beyond the service's bounds is refused.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Any

from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.deployment_scheduler import (
    DeploymentDownscaleRequest,
    DeploymentScheduler,
    SpreadDeploymentSchedulingPolicy,
)
from ray.serve.autoscaling_policy import _apply_delay_logic, _apply_scaling_factors, _core_replica_queue_length_policy
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from visnet.platform.fleet.simulation_copies import Copies, Copy
from visnet.platform.fleet.simulation_scenario import Sizes, Times

EMBEDDER = "embedder"
_ID = DeploymentID(name=EMBEDDER, app_name=EMBEDDER)
BUSIEST = 0.99
"""Above it the queue is counted, not the batches."""
BATCH = 32.0
"""Photos of a batch, at most."""
QUEUE_S = 1.0
"""Photos that may wait, in seconds of the replicas' work: the ingress refuses what is beyond."""


@dataclasses.dataclass(kw_only=True, slots=True)
class Load:
    """How a tick went."""

    capacity_per_s: float
    in_flight: float
    refused: float
    """Photos."""


class SimulatedEmbedder:
    """Scales the embedder's replicas as Serve does."""

    def __init__(self, copies: Copies, sizes: Sizes, times: Times) -> None:
        self._copies = copies
        self._sizes = sizes
        self._times = times
        self._queued = 0.0
        self._state: dict[str, Any] = {}
        self._config = AutoscalingConfig(
            min_replicas=sizes.min_embedders,
            max_replicas=sizes.max_embedders,
            target_ongoing_requests=sizes.target_ongoing_requests,
            upscale_delay_s=sizes.upscale_delay_s,
            downscale_delay_s=sizes.downscale_delay_s,
            upscaling_factor=sizes.upscaling_factor,
            downscaling_factor=sizes.downscaling_factor,
        )
        look_back_s = max(times.tick_s, min(30.0, sizes.upscale_delay_s))  # as serve/parts.py has it
        self._seen: collections.deque[float] = collections.deque(maxlen=max(1, round(look_back_s / times.tick_s)))

    def tick(self, photos_per_s: float, now_s: float) -> Load:
        """A tick's photos, and what Serve makes of them."""
        replicas = len(self._copies.up(EMBEDDER))
        load = self._serve(photos_per_s, replicas)
        self._seen.append(load.in_flight)
        self._scale(replicas, now_s)
        return load

    def _serve(self, photos_per_s: float, replicas: int) -> Load:
        capacity = replicas * self._sizes.photos_per_replica_s
        self._queued = max(0.0, self._queued + (photos_per_s - capacity) * self._times.tick_s)
        most = capacity * QUEUE_S
        refused = max(0.0, self._queued - most)
        self._queued -= refused
        each = photos_per_s / replicas if replicas else 0.0
        return Load(capacity_per_s=capacity, in_flight=replicas * self._under_way(each) + self._queued, refused=refused)

    def _under_way(self, photos_per_s: float) -> float:
        """Photos in a replica's batch and in the next one, which gathers meanwhile: more the busier it is."""
        overhead_s, alone_s = self._times.batch_overhead_s, 1 / self._sizes.photos_per_replica_s
        busy = min(BUSIEST, photos_per_s * alone_s)
        batch_s = min(overhead_s + BATCH * alone_s, max(overhead_s + alone_s, overhead_s / (1 - busy)))
        return photos_per_s * batch_s * (1 + busy / 2)

    def _scale(self, replicas: int, now_s: float) -> None:
        target = len(self._copies.deployed[EMBEDDER].copies)
        context = AutoscalingContext(
            deployment_id=_ID,
            deployment_name=EMBEDDER,
            app_name=EMBEDDER,
            current_num_replicas=replicas,
            target_num_replicas=target,
            running_replicas=[],
            total_num_requests=sum(self._seen) / len(self._seen),
            total_queued_requests=None,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=self._sizes.min_embedders,
            capacity_adjusted_max_replicas=self._sizes.max_embedders,
            policy_state=self._state,
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=now_s,
            config=self._config,
        )
        desired, _ = _core_replica_queue_length_policy(context)
        scaled = _apply_scaling_factors(desired, replicas, self._config)
        wanted, self._state = _apply_delay_logic(max(0, scaled), target, self._config, self._state, _now=now_s)
        wanted = min(self._sizes.max_embedders, max(self._sizes.min_embedders, math.ceil(wanted)))
        if wanted > target:
            self._copies.scale(EMBEDDER, wanted, now_s)
        elif wanted < target:
            self._copies.end_copies(surplus(self._copies, target - wanted), now_s)


def surplus(copies: Copies, count: int) -> list[Copy]:
    """Which of the embedder's copies Serve ends: those that do not run yet, then those on the emptiest nodes."""
    scheduler = DeploymentScheduler(_NoLabels(), "head", lambda _: None)
    known: dict[ReplicaID, Copy] = {}
    for deployed in copies.deployed.values():
        name = deployed.part.name
        deployment = DeploymentID(name=name, app_name=name)
        scheduler.on_deployment_created(deployment, SpreadDeploymentSchedulingPolicy())
        for copy in deployed.copies:
            replica = ReplicaID(unique_id=str(copy.number), deployment_id=deployment)
            known[replica] = copy
            if copy.up and copy.node is not None:
                scheduler.on_replica_running(replica, str(copy.node.number))
            else:
                scheduler.on_replica_recovering(replica)  # not running, wherever it is
    ended = scheduler.schedule({}, {_ID: DeploymentDownscaleRequest(deployment_id=_ID, num_to_stop=count)})
    return [known[replica] for replica in sorted(ended[_ID], key=lambda replica: int(replica.unique_id))]


class _NoLabels:
    """What the scheduler asks of the cluster's nodes, of which none has labels that matter here."""

    def get_node_labels(self, _node: str) -> dict[str, str]:
        return {}
