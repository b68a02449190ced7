"""How many copies of the embedder and of the ingress a traffic takes, and what each of them is bounded by."""

from __future__ import annotations

import dataclasses
import math

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.demand import Demand
from visnet.platform.fleet.machines import CARDS, Machine
from visnet.platform.fleet.plan_shards import PROCESS_BYTES
from visnet.platform.fleet.rates import Rates
from visnet.platform.placement import Part
from visnet.platform.settings import Settings

REPLICA_BYTES = 2 * PROCESS_BYTES
"""Memory of a copy: the process, and a network or the bodies of requests."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaPlan:
    """Copies of the embedder or of the ingress."""

    replicas: int
    cpus: float
    gpus: float
    per_s: float
    """Requests that one of them answers, of the mix that is asked for."""
    bound: str
    apart: bool = False
    """No node holds two."""

    def part(self, name: str) -> Part:
        """As Serve places them."""
        return Part(
            name=name,
            replicas=self.replicas,
            cpus=self.cpus,
            gpus=self.gpus,
            memory_bytes=REPLICA_BYTES,
            spread=self.apart,
            resizable=False,
        )


def plan_embedder(demand: Demand, machine: Machine, settings: Settings, rates: Rates) -> ReplicaPlan:
    """The embedder's copies: the photos of queries and of written products.

    Raises:
        SettingsError: the settings give it no share of the machine's cards.
    """
    chosen = settings.serve.embedder
    gpus = chosen.gpus if machine.card is not None else 0.0
    cpus = max(1.0, chosen.cpus)
    photos = demand.photos_per_s + demand.upserts_per_s
    if machine.card is not None and not gpus:
        raise SettingsError("serve.embedder.gpus: expected a share above 0 where the service runs on GPUs, got 0")
    if machine.card is not None:
        unit, plain, detected = of_card(gpus, machine), "photos_per_l4", "detected_photos_per_l4"
    else:
        unit, plain, detected = cpus, "photos_per_core", "detected_photos_per_core"
    detecting = demand.detector_share * demand.photos_per_s / photos if photos else 0.0
    network = unit / ((1 - detecting) / rates(plain) + (detecting / rates(detected) if detecting else 0.0))
    decode = rates("decoded_per_core") * cpus if machine.card is not None else math.inf  # on CPUs it is part of it
    per_s = min(network, decode)
    return ReplicaPlan(
        replicas=max(demand.replicas, _enough(photos, per_s, demand)),
        cpus=cpus,
        gpus=gpus,
        per_s=per_s,
        bound="decoding photos" if decode < network else "the network",
    )


def plan_ingress(demand: Demand, settings: Settings, rates: Rates, shards: int) -> ReplicaPlan:
    """The ingress's copies: seconds of one copy's core, summed over all that is asked in a second."""
    asked = {
        "ingress_photos": demand.photos_per_s,
        "ingress_products": demand.products_per_s,
        "ingress_recommends": demand.recommends_per_s,
        "ingress_writes": demand.upserts_per_s,
    }
    answering = sum(per_s / rates(name) for name, per_s in asked.items() if per_s)
    calls = demand.searches_per_s / settings.serve.search_batch_size * shards
    calling = calls * rates("ingress_hop")
    busy = answering + calling
    return ReplicaPlan(
        replicas=max(demand.replicas, _enough(busy, 1.0, demand)),
        cpus=1.0,  # what a busy one takes; Serve is told less
        gpus=0.0,
        per_s=demand.queries_per_s / busy,
        bound="calls to the shards" if calling > answering else "HTTP",
        apart=settings.serve.ingress_apart,
    )


def _enough(asked: float, each: float, demand: Demand) -> int:
    """Copies that are busy to the share asked for, and enough when one is gone."""
    busy = math.ceil(asked / (each * demand.utilisation) - 1e-9)
    return max(busy, math.ceil(asked / each - 1e-9) + 1 if demand.replicas > 1 else 1)


def of_card(per_l4: float, machine: Machine) -> float:
    """Of this machine's card, by its arithmetic."""
    assert machine.card is not None
    return per_l4 * machine.card.flops_per_s / CARDS["L4"].flops_per_s
