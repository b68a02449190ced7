"""Into how many shards an index is cut for one kind of machine, what a copy takes, and how many copies there are.

A copy answers a batch of queries by one pass over its vectors. The number of shards follows from memory and from how
long a pass may take; the number of copies from how many batches a second are asked for.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.demand import Demand
from visnet.platform.fleet.machines import GIB, Machine
from visnet.platform.fleet.rates import Rates
from visnet.platform.placement import Part

PROCESS_BYTES = 400 * 2**20
"""Memory of a replica before it holds anything, as serve/parts.py has it."""
GROWN = 2
"""The written rows' block doubles when it is full, and is up to twice as large as what it holds."""
GPU_FILLED = 0.9
"""Share of a card's memory that is counted on."""
FLOAT16_BYTES, FLOAT32_BYTES = 2, 4

Switch = Literal["beside", "more-nodes"]
"""Where a release is loaded while another one serves: beside it, or on nodes of its own meanwhile."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One batch of queries over the vectors of one copy."""

    seconds: float
    bound: str
    """What it takes so long by."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """The shards of an index on machines of one kind."""

    shards: int
    shards_bound: str
    """Why there are not fewer."""
    copies: int
    """Of each shard."""
    copies_bound: str
    rows: int
    """Of one shard, the written ones among them."""
    vector_bytes: int
    """Of a copy, on its card or in its memory."""
    memory_bytes: int
    """Of a copy's process on its machine."""
    cpus: int
    """Of a copy."""
    gpus: float
    """Of a copy, 0 to 1."""
    one_pass: Pass
    queries_per_s: float
    """That all copies together can answer."""

    def parts(self, release: str = "") -> list[Part]:
        """As the controller starts them."""
        return [
            Part(
                name=f"shard-{number}{release}",
                replicas=self.copies,
                cpus=self.cpus,
                gpus=self.gpus,
                memory_bytes=self.memory_bytes,
                spread=self.copies > 1,
            )
            for number in range(self.shards)
        ]


def plan_shards(demand: Demand, machine: Machine, rates: Rates, *, batch: int, switch: Switch) -> ShardPlan:
    """The shards that need the fewest machines, and of those the fewest shards.

    Args:
        batch: queries of a pass, at most.

    Raises:
        SettingsError: no shard finds room on such a machine, or none is fast enough; the text says what to change.
    """
    share = 0.5 if switch == "beside" else 1.0
    if machine.card is not None:
        return _sized(demand, machine, rates, batch, share, cpus=1)
    most = max(1, math.floor((machine.cpus - 1) * share))  # one is the node's own: HTTP, Ray
    choices = [_sized(demand, machine, rates, batch, share, cpus=cpus) for cpus in range(1, most + 1)]
    return min(choices, key=lambda plan: (_machines(plan, machine, share), plan.shards, plan.cpus))


def _sized(demand: Demand, machine: Machine, rates: Rates, batch: int, share: float, *, cpus: int) -> ShardPlan:
    bytes_per_row = _bytes_per_row(demand, machine)
    room, where = _room(machine, rates, share)
    by_memory = math.floor(room / bytes_per_row)
    second_per_row = _pass(1.0, demand, machine, rates, batch, cpus).seconds
    by_latency = math.floor(demand.latency_s / 2 / second_per_row)
    most = min(by_memory, by_latency)
    if most < 1:
        raise SettingsError(_hopeless(machine, room, by_memory, demand))
    shards = math.ceil(demand.images / most)
    rows = math.ceil(demand.images / shards)
    one_pass = _pass(rows, demand, machine, rates, batch, cpus)
    rate = batch / one_pass.seconds
    busy = math.ceil(demand.searches_per_s / (rate * demand.utilisation) - 1e-9)
    one_dead = math.ceil(demand.searches_per_s / rate - 1e-9) + 1
    copies = max(demand.replicas, busy, one_dead if demand.replicas > 1 else 1)
    vectors = rows * bytes_per_row
    on_card = machine.card is not None
    return ShardPlan(
        shards=shards,
        shards_bound="one holds all" if shards == 1 else where if by_memory <= by_latency else "time of a pass",
        copies=copies,
        copies_bound="copies asked for" if copies == demand.replicas else one_pass.bound,
        rows=rows,
        vector_bytes=math.ceil(vectors),
        memory_bytes=math.ceil(PROCESS_BYTES + (0 if on_card else vectors)),
        cpus=cpus,
        gpus=share if on_card else 0.0,
        one_pass=one_pass,
        queries_per_s=copies * rate,
    )


def _bytes_per_row(demand: Demand, machine: Machine) -> float:
    """Of the index, with its part of what is written beside it."""
    component = FLOAT16_BYTES if machine.card is not None else FLOAT32_BYTES
    return component * demand.dimension * (1 + GROWN * demand.written_rows / demand.images)


def _room(machine: Machine, rates: Rates, share: float) -> tuple[float, str]:
    """Bytes for a copy's vectors, and what they lie in."""
    if machine.card is not None:
        return (GPU_FILLED * machine.card.memory_bytes - rates("gpu_scratch")) * share, "memory of a card"
    return machine.memory_bytes * share - PROCESS_BYTES, "memory of a machine"


def _pass(rows: float, demand: Demand, machine: Machine, rates: Rates, batch: int, cpus: int) -> Pass:
    written = GROWN * demand.written_rows / demand.images  # the block is passed over whole
    scanned = rows * (demand.searched_share + written)
    if machine.card is None:
        work = scanned * demand.dimension * batch
        return Pass(seconds=work / (rates("search_per_core") * cpus), bound="search arithmetic")
    reached = rates("gpu_share_reached")
    moved = scanned * (FLOAT16_BYTES * demand.dimension + rates("gpu_score_bytes") * batch)
    by_bandwidth = moved / (machine.card.bytes_per_s * reached)
    by_arithmetic = scanned * 2 * demand.dimension * batch / (machine.card.flops_per_s * reached)
    if by_bandwidth >= by_arithmetic:
        return Pass(seconds=by_bandwidth, bound="memory bandwidth of the cards")
    return Pass(seconds=by_arithmetic, bound="search arithmetic")


def _machines(plan: ShardPlan, machine: Machine, share: float) -> int:
    """About how many machines the copies take; `plan.py` places them to count exactly."""
    by_cpus = math.floor((machine.cpus - 1) * share) // plan.cpus
    by_memory = math.floor(machine.memory_bytes * share / plan.memory_bytes)
    return max(plan.copies, math.ceil(plan.shards * plan.copies / max(1, min(by_cpus, by_memory))))


def _hopeless(machine: Machine, room: float, by_memory: int, demand: Demand) -> str:
    if by_memory < 1:
        return (
            f"no shard fits on a node of type {machine.type_name}: {max(0.0, room) / GIB:.2f} GiB are free for "
            "vectors; name a larger type with --serve-on, or switch releases on nodes of their own: --switch more-nodes"
        )
    return (
        f"no shard is fast enough on a node of type {machine.type_name} to answer within --latency-s "
        f"{demand.latency_s:g}; allow more, or name a faster type with --serve-on"
    )
