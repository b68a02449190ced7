"""What a node type's machine has: memory and cards, which a cluster file leaves to the cloud's name of the machine.

Cards are as their data sheets say: bandwidth of the memory, and dense float16 arithmetic of the tensor cores.
"""

from __future__ import annotations

import dataclasses

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import NodeType

GIB = 2**30
GB = 10**9
OF_RAY = 0.7
"""Share of a machine's memory that Ray gives to processes; the rest is its object store."""
ACCELERATOR = "ray.io/accelerator-type"
"""Ray's label of a node type that names its card."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A GPU."""

    name: str
    memory_bytes: int
    bytes_per_s: float
    """Of its memory."""
    flops_per_s: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """One node of a type, as far as plans care."""

    type_name: str
    cpus: int
    memory_bytes: float
    """That processes may take."""
    cards: int
    card: Card | None
    """None where there are none."""


def _card(name: str, memory_gb: int, gb_per_s: float, tflops: float) -> Card:
    return Card(name=name, memory_bytes=memory_gb * GB, bytes_per_s=gb_per_s * GB, flops_per_s=tflops * 10**12)


CARDS = {
    card.name: card
    for card in (
        _card("T4", 16, 320, 65),
        _card("L4", 24, 300, 121),
        _card("A10G", 24, 600, 70),
        _card("L40S", 48, 864, 362),
        _card("A100-80G", 80, 2_039, 312),
        _card("H100", 80, 3_350, 989),
        _card("H200", 141, 4_800, 989),
    )
}
"""By Ray's name of the accelerator."""

INSTANCES: dict[str, tuple[int, str | None]] = {
    **{
        f"m6i.{size}": (gib, None) for size, gib in (("xlarge", 16), ("2xlarge", 32), ("4xlarge", 64), ("8xlarge", 128))
    },
    **{f"r6i.{size}": (gib, None) for size, gib in (("2xlarge", 64), ("4xlarge", 128), ("8xlarge", 256))},
    **{f"g4dn.{size}": (gib, "T4") for size, gib in (("xlarge", 16), ("2xlarge", 32), ("4xlarge", 64))},
    **{f"g5.{size}": (gib, "A10G") for size, gib in (("xlarge", 16), ("2xlarge", 32), ("4xlarge", 64))},
    **{
        f"g6.{size}": (gib, "L4") for size, gib in (("xlarge", 16), ("2xlarge", 32), ("4xlarge", 64), ("12xlarge", 192))
    },
    **{f"g6e.{size}": (gib, "L40S") for size, gib in (("xlarge", 32), ("2xlarge", 64), ("4xlarge", 128))},
    "p4de.24xlarge": (1_152, "A100-80G"),
    "p5.48xlarge": (2_048, "H100"),
}
"""Memory in GiB and card of the machines that we know by the cloud's name."""


def machine_of(kind: NodeType) -> Machine:
    """What a node of a type has.

    Raises:
        SettingsError: the file does not say enough; the text says what to write.
    """
    memory_gib, name = INSTANCES.get(kind.instance_type or "", (None, None))
    where = f"available_node_types.{kind.name}"
    if kind.cpus < 1:
        raise SettingsError(f"{where}.resources.CPU: expected at least 1 to plan with, got {kind.cpus:g}")
    memory = kind.resources.get("memory", OF_RAY * memory_gib * GIB if memory_gib else 0)
    if not memory:
        raise SettingsError(
            f"{where}: {kind.instance_type!r} is no machine that plans know the memory of; write "
            "resources.memory (bytes for processes, about 0.7 of the machine's)"
        )
    name = kind.labels.get(ACCELERATOR, name)
    if kind.gpus and name not in CARDS:
        raise SettingsError(
            f"{where}: plans don't know the card of {kind.instance_type!r}; write labels: {{{ACCELERATOR}: NAME}}, "
            f"with one of {', '.join(CARDS)}"
        )
    cards = int(kind.gpus)
    return Machine(
        type_name=kind.name,
        cpus=int(kind.cpus),
        memory_bytes=float(memory),
        cards=cards,
        card=CARDS[name] if cards and name is not None else None,
    )
