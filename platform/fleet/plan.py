"""From what a shop asks for to machines: how many nodes of which type serve it and embed it, and what bounds them.

Plain arithmetic over `rates.py`; nodes are counted by placing the parts as the controller does (`placement.misfit`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition, NodeType
from visnet.platform.fleet.demand import HOUR_S, Demand
from visnet.platform.fleet.machines import GB, Machine, machine_of
from visnet.platform.fleet.plan_replicas import ReplicaPlan, of_card, plan_embedder, plan_ingress
from visnet.platform.fleet.plan_shards import FLOAT16_BYTES, ShardPlan, Switch, plan_shards
from visnet.platform.fleet.rates import Rate, Rates
from visnet.platform.placement import Node, Part, misfit
from visnet.platform.settings import Settings

HOURS_PER_MONTH = 730.0
HEAD, STORAGE = "head", "storage"
"""Names that prices go by, beside those of the node types; storage is a GB and month."""
RECOMMENDED_BYTES = 500
"""Of a product's twenty recommendations with ids of 16 bytes."""
MOST_NODES = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServePlan:
    """The machines that answer."""

    machine: Machine
    switch: Switch
    shards: ShardPlan
    embedder: ReplicaPlan
    ingress: ReplicaPlan
    nodes: int
    """While it serves."""
    most_nodes: int
    """While a release is switched."""
    alone: Mapping[str, int]
    """Nodes that each kind of part would need by itself, by its name."""

    @property
    def bound(self) -> str:
        """What most of the nodes are for, and by what it is bounded."""
        part = max(self.alone, key=lambda name: self.alone[name])
        if part != "shards":
            return f"the {part}: {getattr(self, part).bound}"
        copied, asked = self.shards.copies_bound, self.shards.copies_bound == "copies asked for"
        return f"the shards: {f'{self.shards.shards_bound}, {copied}' if asked else copied}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WorkPlan:
    """The machines that embed the catalogue and build from it."""

    machine: Machine
    photos_per_node_s: float
    bound: str
    nodes: int
    """To embed everything within the hours asked for."""
    embed_hours: float
    """On so many nodes."""
    index_core_hours: float
    recommend_core_hours: float
    driver_bytes: int

    @property
    def node_hours(self) -> float:
        """Of one refresh, recommendations on these machines' cores."""
        return self.nodes * self.embed_hours + (self.index_core_hours + self.recommend_core_hours) / self.machine.cpus


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Dollars a month."""

    serve: float
    head: float
    work: float
    storage: float

    @property
    def total(self) -> float:
        return self.serve + self.head + self.work + self.storage


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The answer."""

    demand: Demand
    serve: ServePlan
    work: WorkPlan
    storage_bytes: int
    """Embeddings, index and recommendations of one version."""
    cost: Cost | None
    """None where not every price was given."""
    rates: tuple[Rate, ...]
    """That it rests on."""


def make_plan(
    demand: Demand,
    definition: ClusterDefinition,
    settings: Settings,
    rates: Rates,
    *,
    serve_on: str | None = None,
    work_on: str | None = None,
    switch: Switch | None = None,
    prices: Mapping[str, float] | None = None,
) -> Plan:
    """Plan for a demand.

    Args:
        serve_on: type of node to serve on; None for the first of pool `serve`.
        work_on: likewise, of pool `work`.
        switch: None: beside on GPUs, and on more nodes where CPUs search, which are to be used whole.
        prices: dollars an hour by node type, `head`, and `storage` a GB and month.

    Raises:
        SettingsError: it can't be done with such machines; the text says what to change.
    """
    serving = machine_of(_type(definition, serve_on, "serve", "--serve-on"))
    working = machine_of(_type(definition, work_on, "work", "--work-on"))
    serve = _serve_plan(demand, serving, settings, rates, switch or ("beside" if serving.cards else "more-nodes"))
    work = _work_plan(demand, working, rates)
    storage = _storage_bytes(demand, rates)
    return Plan(
        demand=demand,
        serve=serve,
        work=work,
        storage_bytes=storage,
        cost=_cost(demand, serve, work, storage, prices or {}),
        rates=rates.used,
    )


def nodes_for(parts: Sequence[Part], machine: Machine) -> int:
    """The fewest nodes of a type on which the controller finds room for these parts.

    Raises:
        SettingsError: none are enough.
    """
    node = Node(cpus=machine.cpus, gpus=machine.cards, memory_bytes=machine.memory_bytes)
    too_few, more = _least(parts, machine) - 1, 1
    while (reason := misfit(parts, [node] * (too_few + more))) is not None:
        if too_few > MOST_NODES:
            raise SettingsError(f"nodes of type {machine.type_name} are too small, or it takes too many: {reason}")
        too_few, more = too_few + more, 2 * more
    enough = too_few + more
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        too_few, enough = (too_few, middle) if misfit(parts, [node] * middle) is None else (middle, enough)
    return enough


def _least(parts: Sequence[Part], machine: Machine) -> int:
    """No fewer nodes can do, at least 1."""
    have = {"cpus": machine.cpus, "gpus": machine.cards, "memory_bytes": machine.memory_bytes}
    together = [
        sum(part.replicas * getattr(part, what) for part in parts) / most for what, most in have.items() if most
    ]
    apart = [part.replicas for part in parts if part.spread]
    return max(1, *(math.ceil(share - 1e-9) for share in together), *apart)


def _type(definition: ClusterDefinition, named: str | None, pool: str, option: str) -> NodeType:
    names = [kind.name for kind in definition.workers]
    if named is not None and named not in names:
        raise SettingsError(f"{option}: expected one of {', '.join(names)}, got {named!r}")
    for kind in definition.workers:
        if kind.name == named or (named is None and kind.pool == pool):
            return kind
    raise SettingsError(
        f"the cluster file has no node type with labels: {{pool: {pool}}}; add one, or name a type with {option}"
    )


def _serve_plan(demand: Demand, machine: Machine, settings: Settings, rates: Rates, switch: Switch) -> ServePlan:
    shards = plan_shards(demand, machine, rates, batch=settings.serve.search_batch_size, switch=switch)
    embedder = plan_embedder(demand, machine, settings, rates)
    ingress = plan_ingress(demand, settings, rates, shards.shards)
    others = [embedder.part("embedder"), ingress.part("ingress")]
    both = [*shards.parts(), *shards.parts("-next"), *others]
    most = nodes_for(both, machine)
    return ServePlan(
        machine=machine,
        switch=switch,
        shards=shards,
        embedder=embedder,
        ingress=ingress,
        nodes=most if switch == "beside" else nodes_for([*shards.parts(), *others], machine),
        most_nodes=most,
        alone={
            "shards": nodes_for(both[: -len(others)] if switch == "beside" else shards.parts(), machine),
            "embedder": nodes_for(others[:1], machine),
            "ingress": nodes_for(others[1:], machine),
        },
    )


def _work_plan(demand: Demand, machine: Machine, rates: Rates) -> WorkPlan:
    if machine.card is not None:
        network = of_card(rates("photos_per_l4"), machine) * machine.cards
        decode = rates("decoded_per_core") * machine.cpus
        per_s, bound = min((network, "the network"), (decode, "decoding photos"))
    else:
        per_s, bound = rates("embedded_per_core") * machine.cpus, "decoding and the network"
    nodes = max(1, math.ceil(demand.images / (per_s * demand.refresh_hours * HOUR_S) - 1e-9))
    pairs = demand.images * demand.images * demand.recommend_category_share
    compared = pairs * demand.dimension / rates("recommended_per_core") / HOUR_S if pairs else 0.0
    return WorkPlan(
        machine=machine,
        photos_per_node_s=per_s,
        bound=bound,
        nodes=nodes,
        embed_hours=demand.images / (per_s * nodes * HOUR_S),
        index_core_hours=demand.images * demand.dimension / rates("indexed_per_core") / HOUR_S,
        recommend_core_hours=compared,
        driver_bytes=math.ceil(demand.images * rates("plan_bytes")),
    )


def _storage_bytes(demand: Demand, rates: Rates) -> int:
    vector = FLOAT16_BYTES * demand.dimension
    recommended = RECOMMENDED_BYTES if demand.recommend_category_share else 0
    return math.ceil(
        demand.images * (2 * vector + rates("embedding_on_disk") + rates("row_on_disk") + recommended),
    )


def _cost(
    demand: Demand, serve: ServePlan, work: WorkPlan, storage_bytes: int, prices: Mapping[str, float]
) -> Cost | None:
    needed = {serve.machine.type_name, work.machine.type_name, HEAD, STORAGE}
    if not needed <= set(prices):
        return None
    return Cost(
        serve=serve.nodes * HOURS_PER_MONTH * prices[serve.machine.type_name],
        head=HOURS_PER_MONTH * prices[HEAD],
        work=work.node_hours * demand.refreshes_per_month * prices[work.machine.type_name],
        storage=storage_bytes / GB * prices[STORAGE],
    )
