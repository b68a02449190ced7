"""A day of a large service, simulated: the policies are the real ones, the clock and the machines are not.

What decides is what decides in production: `placement.decide` and `misfit` switch releases, Serve's autoscaling
functions size the embedder, Ray's scheduler launches nodes and gives them back. What is modelled: SPREAD (Ray's C++
core), the embedder's queue, and how long nodes boot and copies load (`simulation_scenario.py`).

Time goes by in ticks, by default of five seconds, as often as Ray's autoscaler looks: what the controller and Serve do
within a second or less happens at the next tick. Jobs do not appear: they have a pool of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition
from visnet.platform.fleet.machines import Machine, machine_of
from visnet.platform.fleet.plan import nodes_for
from visnet.platform.fleet.simulation_autoscaler import SimulatedAutoscaler
from visnet.platform.fleet.simulation_copies import Copies
from visnet.platform.fleet.simulation_day import Cause, Failure, failures, photos
from visnet.platform.fleet.simulation_embedder import EMBEDDER, Load, SimulatedEmbedder
from visnet.platform.fleet.simulation_nodes import Nodes, NodeState, SimulatedNode
from visnet.platform.fleet.simulation_result import Day, Moment, summarize
from visnet.platform.fleet.simulation_scenario import Scenario, Sizes
from visnet.platform.placement import Activate, End, Ingress, Part, Plan, Refuse, Resize, Seen, Start, decide

MIB = 2**20
SHARD_MEMORY = 400 * MIB
"""Of a copy's process on its machine: the vectors are on the card."""
EMBEDDER_BYTES = 60 * MIB
"""That an embedder's replica loads."""
TRY_AGAIN_S = 30.0
"""After a plan was refused, as serve/controller.py has it."""
AT_FIRST = 0.4
"""How busy the embedder is when the day begins."""
SETTLED_S = 60.0
"""How often the controller is asked when there is nothing to switch."""


class Simulation:
    """One day.

    Args:
        definition: whose first type of pool `serve` is simulated, as many of them as it takes.
        watch: called with the day so far after each tick; for tests and progress.
    """

    def __init__(
        self, scenario: Scenario, definition: ClusterDefinition, watch: Callable[[Simulation], None] | None = None
    ) -> None:
        kind = next((one for one in definition.workers if one.pool == "serve"), None)
        if kind is None:
            raise SettingsError("the cluster file has no node type with labels: {pool: serve} to simulate")
        machine = machine_of(kind)
        self.scenario = scenario
        self._watch = watch
        self._plans = [release_plan(scenario.sizes, release) for release in ("old", "new")]
        needed = nodes_for(self._plans[0].parts, machine)
        embedding = nodes_for([_embedder(scenario.sizes, scenario.sizes.max_embedders)], machine)
        self.max_workers = 2 * needed + embedding + scenario.sizes.spare_nodes
        self.nodes = Nodes(kind, machine.memory_bytes, scenario.times, scenario.troubles, seed=scenario.seed)
        self.copies = Copies(self.nodes, scenario.times, zones_apart=scenario.sizes.zones_apart)
        self._autoscaler = SimulatedAutoscaler(
            self.nodes,
            min_workers=needed + scenario.sizes.spare_nodes,
            max_workers=self.max_workers,
            idle_timeout_s=definition.idle_timeout_s(kind),
            upscaling_speed=definition.upscaling_speed,
        )
        self._embedder = SimulatedEmbedder(self.copies, scenario.sizes, scenario.times)
        self._photos_T = photos(scenario)
        self._failures = failures(scenario)
        self._lost: list[SimulatedNode] = []
        self.serving = self._wanted = self._plans[0]
        self._refused_s = float("-inf")
        self._switched_s: float | None = None
        self.refusals = self.deaths = 0
        self.moments: list[Moment] = []
        self._counted: tuple[int, str] = (-1, "")
        self._ups: Counter[int] = Counter()
        self._begin(machine)

    def run(self) -> Day:
        """The whole day."""
        for tick in range(self.scenario.ticks):
            self._tick(tick * self.scenario.times.tick_s, float(self._photos_T[tick]))
            if self._watch is not None:
                self._watch(self)
        began_s = self.scenario.troubles.release_at_s
        switch_s = None if began_s is None or self._switched_s is None else self._switched_s - began_s
        tick_s = self.scenario.times.tick_s
        summary = summarize(
            self.moments,
            tick_s=tick_s,
            deaths=self.deaths,
            node_s=self.nodes.paid_s(self.scenario.ticks * tick_s),
            switch_s=switch_s,
            refusals=self.refusals,
        )
        return Day(moments=tuple(self.moments), summary=summary)

    def _begin(self, machine: Machine) -> None:
        """The service stands, on the nodes that it takes, with the embedders that the first photos take."""
        sizes = self.scenario.sizes
        enough = math.ceil(self._photos_T[0] / (AT_FIRST * sizes.photos_per_replica_s))
        embedders = min(sizes.max_embedders, max(sizes.min_embedders, enough))
        parts = [_embedder(sizes, embedders), *self.serving.parts[1:]]
        self.nodes.start_at_once(nodes_for(parts, machine) + sizes.spare_nodes)
        for part in self.serving.parts:  # the embedder first: what SPREAD leaves of the shards' nodes may be too small
            self.copies.start(part, self._bytes(part), 0.0)
            if part.name == EMBEDDER:
                self.copies.scale(EMBEDDER, embedders, 0.0)
        self.copies.stand_at_once()
        while self.copies.waiting(0.0):  # `misfit` packs; SPREAD may leave room where it is of no use
            self.nodes.start_at_once(1)
            self.copies.stand_at_once()

    def _tick(self, now_s: float, photos_per_s: float) -> None:
        self._fail(now_s)
        self.nodes.tick(now_s)
        load = self._embedder.tick(photos_per_s, now_s)
        self._control(now_s)
        self.copies.tick(now_s)  # first, so that the autoscaler hears only of what found no room
        self._autoscaler.step(now_s, self.copies.waiting(now_s))
        self.moments.append(self._moment(now_s, photos_per_s, load))

    def _fail(self, now_s: float) -> None:
        while self._failures and self._failures[0].at_s <= now_s:
            for node in self._hit(self._failures.pop(0), now_s):
                self.deaths += 1
                self.nodes.lose(node, now_s)
                self.copies.lost(node, now_s)
                self._lost.append(node)
        detect_s = self.scenario.times.detect_s
        for node in [node for node in self._lost if now_s - node.since_s >= detect_s]:
            self._lost.remove(node)
            self.nodes.notice(node, now_s)

    def _hit(self, failure: Failure, now_s: float) -> list[SimulatedNode]:
        """The nodes that die of a failure."""
        running = self.nodes.running
        if failure.cause is Cause.ZONE:
            self.nodes.close(failure.slot, now_s + self.scenario.troubles.zone_for_s)
            return [node for node in running if node.zone == failure.slot]
        if failure.cause is Cause.RACK and running:
            one = running[failure.slot % len(running)]
            return [node for node in running if (node.zone, node.rack) == (one.zone, one.rack)]
        return running[failure.slot : failure.slot + 1]

    def _control(self, now_s: float) -> None:
        """What the controller does when it looks: the real decision, on what there is."""
        release_at_s = self.scenario.troubles.release_at_s
        due = release_at_s is not None and now_s >= release_at_s
        promoted = self._plans[1] if due else self._plans[0]
        patient = now_s - self._refused_s < TRY_AGAIN_S
        self._wanted = self.serving if patient else promoted
        settled = self._wanted is self.serving and len(self.copies.deployed) == len(self.serving.parts)
        if settled and now_s % SETTLED_S:
            return
        running = self.copies.running()
        missing = any(part.name not in running for part in self._wanted.parts)
        seen = Seen(
            wanted=self._wanted,
            serving=self.serving,
            running=running,
            nodes=self.nodes.seen(self.max_workers) if missing else [],
            ingresses=[Ingress(plan=self.serving.name, busy={})],
        )
        for action in decide(seen):
            self._act(action, now_s)

    def _act(self, action: Start | Activate | Resize | End | Refuse, now_s: float) -> None:
        match action:
            case Start(parts=parts):
                for part in parts:
                    self.copies.start(part, self._bytes(part), now_s)
            case Activate(plan=plan):
                self.serving, self._switched_s = plan, now_s
            case Resize(part=part, replicas=replicas):
                self.copies.scale(part, replicas, now_s)
            case End(parts=names):
                for name in names:
                    self.copies.end(name, now_s)
            case Refuse():
                self._refused_s = now_s
                self.refusals += 1

    def _moment(self, now_s: float, photos_per_s: float, load: Load) -> Moment:
        if self._counted != (self.copies.changes, self.serving.name):
            self._counted = (self.copies.changes, self.serving.name)
            self._ups = Counter(self.copies.deployed[part.name].ups for part in self.serving.parts[1:])
        waits = self.nodes.there(NodeState.QUEUED, NodeState.REQUESTED, NodeState.BOOTING)
        return Moment(
            at_s=now_s,
            photos_per_s=photos_per_s,
            capacity_per_s=load.capacity_per_s,
            refused=load.refused,
            embedders=len(self.copies.up(EMBEDDER)),
            embedders_wanted=len(self.copies.deployed[EMBEDDER].copies),
            nodes=len(self.nodes.running),
            nodes_coming=len(waits),
            dark=self._ups[0],
            single=self._ups[1] if self.scenario.sizes.replicas > 1 else 0,
            waiting=len(self.copies.waiting(now_s)),
            loading=self.copies.loading,
            loaded_bytes=self.copies.loaded_bytes,
        )

    def _bytes(self, part: Part) -> int:
        return EMBEDDER_BYTES if part.name == EMBEDDER else self.scenario.sizes.shard_bytes


def release_plan(sizes: Sizes, release: str) -> Plan:
    """The parts of a release; all of them have one encoder."""
    shards = [
        Part(
            name=f"shard-{number}-{release}",
            replicas=sizes.replicas,
            cpus=sizes.shard_cpus,
            gpus=sizes.shard_gpus,
            memory_bytes=SHARD_MEMORY,
            spread=sizes.replicas > 1 and sizes.apart,
        )
        for number in range(sizes.shards)
    ]
    return Plan(name=release, release=release, parts=(_embedder(sizes, sizes.min_embedders), *shards))


def _embedder(sizes: Sizes, replicas: int) -> Part:
    return Part(
        name=EMBEDDER,
        replicas=replicas,
        cpus=sizes.embedder_cpus,
        gpus=sizes.embedder_gpus,
        memory_bytes=2 * SHARD_MEMORY,
        resizable=False,
    )
