"""What the service should do next, decided from plain data: which parts to start, switch to, resize and end.

A release is served by parts: an embedder, and one for each shard of its index. A switch starts the new release's parts
beside the old ones, waits until all of them stand, lets every ingress move over, and ends what nobody uses any more.
A second release can be kept beside the one that is served, to be looked at: it is started when that one stands.
`decide` looks at how things stand and says what to do; `serve/controller.py` does it and looks again.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# N nodes, M of them with room, R resources: GPUs, CPUs, bytes of memory

GIB = 2**30
SPARE = 1e-9
"""Shares of GPUs and CPUs are sums of fractions."""


class State(enum.Enum):
    """How a part stands."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that runs in so many copies."""

    name: str
    """Unique: equal names are the same part, and are not started twice."""
    replicas: int
    cpus: float
    gpus: float
    memory_bytes: int
    """Of each copy."""
    spread: bool = False
    """No node may hold two copies."""
    resizable: bool = True
    """Whether the copies follow `replicas`; others follow their load."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The parts that serve one release."""

    name: str
    release: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A part that runs."""

    state: State
    replicas: int
    """Copies that are wanted of it at present."""
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What is free on a machine of the cluster, or on one that the cluster may get."""

    cpus: float
    gpus: float
    memory_bytes: float


@dataclass(frozen=True, kw_only=True)
class Ingress:
    """What an ingress said last."""

    plan: str | None
    """Which it answers by."""
    busy: Mapping[str, int]
    """Requests under way, by plan, of every plan that it may be asked for."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """How things stand."""

    wanted: Plan | None
    serving: Plan | None
    running: Mapping[str, Running]
    """By the part's name."""
    nodes: Sequence[Node]
    ingresses: Sequence[Ingress]
    beside: Plan | None = None
    """A release that is to be there too, without being served to who does not ask for it."""


@dataclass(frozen=True, kw_only=True)
class Start:
    plan: Plan
    """Whose parts they are."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Activate:
    plan: Plan


@dataclass(frozen=True, kw_only=True)
class Resize:
    part: str
    replicas: int


@dataclass(frozen=True, kw_only=True)
class End:
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """A plan can't be switched to, or can't be there beside the one that is served."""

    plan: Plan
    reason: str


Action = Start | Activate | Resize | End | Refuse


def decide(seen: Seen) -> list[Action]:
    """What to do now; looked at again afterwards, it leads to the wanted plan or to a refusal."""
    if seen.wanted is None:
        return []
    if missing := tuple(part for part in seen.wanted.parts if part.name not in seen.running):
        return _start(seen, seen.wanted, missing)
    states = [seen.running[part.name] for part in seen.wanted.parts]
    if failed := [one.reason for one in states if one.state is State.FAILED]:
        return _failed(seen, seen.wanted, failed[0])
    if seen.serving is None or seen.serving.name != seen.wanted.name:
        ready = all(one.state is State.READY for one in states)
        return [Activate(plan=seen.wanted)] if ready else []
    return [*_resized(seen, seen.wanted), *_beside(seen), *_ended(seen, seen.wanted)]


def misfit(parts: Sequence[Part], nodes: Sequence[Node]) -> str | None:
    """Why these parts do not all find room on the nodes; None if they do. The largest choose first."""
    free_NR = np.array([(node.gpus, node.cpus, node.memory_bytes) for node in nodes], float).reshape(-1, 3)
    for part in sorted(parts, key=lambda part: (part.gpus, part.memory_bytes, part.cpus), reverse=True):
        need_R = np.array((part.gpus, part.cpus, part.memory_bytes), float)
        placed = 0
        while placed < part.replicas:
            at_once = part.replicas if part.spread else 1
            place_M = _fullest(free_NR, need_R)[:at_once]
            free_NR[place_M] -= need_R
            placed += len(place_M)
            if len(place_M) < at_once:
                return (
                    f"no node has room for copy {placed + 1} of {part.replicas} of {part.name}: {_room(part, free_NR)}"
                )
    return None


def _start(seen: Seen, plan: Plan, missing: tuple[Part, ...]) -> list[Action]:
    reason = misfit(missing, seen.nodes)
    if reason is not None and seen.serving is not None:
        return [Refuse(plan=plan, reason=f"both releases do not fit at once: {reason}")]
    return [Start(plan=plan, parts=missing)]


def _failed(seen: Seen, plan: Plan, reason: str) -> list[Action]:
    """Give up a plan that did not come up; one that serves already is left to Serve, which starts it again."""
    if seen.serving is not None and seen.serving.name == plan.name:
        return []
    kept = {part.name for part in seen.serving.parts} if seen.serving is not None else set()
    mine = tuple(part.name for part in plan.parts if part.name not in kept)
    return [Refuse(plan=plan, reason=reason), End(parts=mine)]


def _resized(seen: Seen, plan: Plan) -> list[Action]:
    return [
        Resize(part=part.name, replicas=part.replicas)
        for part in plan.parts
        if part.resizable and seen.running[part.name].replicas != part.replicas
    ]


def _beside(seen: Seen) -> list[Action]:
    """Start what is to be there too; given up if it does not come up."""
    plan = seen.beside
    if plan is None:
        return []
    if missing := tuple(part for part in plan.parts if part.name not in seen.running):
        return _start(seen, plan, missing)
    failed = [seen.running[part.name].reason for part in plan.parts if seen.running[part.name].state is State.FAILED]
    return _failed(seen, plan, failed[0]) if failed else []


def _ended(seen: Seen, plan: Plan) -> list[Action]:
    """What no request uses any more: all ingresses have moved, and have answered what they had begun."""
    kept = [plan] if seen.beside is None else [plan, seen.beside]
    names = {one.name for one in kept}
    moved = all(ingress.plan == plan.name for ingress in seen.ingresses)
    busy = any(name not in names for ingress in seen.ingresses for name in ingress.busy)
    old = tuple(sorted(set(seen.running) - {part.name for one in kept for part in one.parts}))
    return [End(parts=old)] if old and seen.ingresses and moved and not busy else []


def _fullest(free_NR: np.ndarray, need_R: np.ndarray) -> np.ndarray:
    """The nodes that have room, the fullest first: what is left elsewhere stays together for larger parts."""
    (fitting_M,) = np.nonzero((free_NR + SPARE >= need_R).all(axis=1))
    ordered_M: np.ndarray = fitting_M[np.lexsort((free_NR[fitting_M, 1], free_NR[fitting_M, 0]))]
    return ordered_M


def _room(part: Part, free_NR: np.ndarray) -> str:
    gpus, cpus, memory = free_NR.max(axis=0) if len(free_NR) else (0.0, 0.0, 0.0)
    apart = ", each copy on a node of its own" if part.spread else ""
    return (
        f"it takes {part.cpus:g} CPUs, {part.gpus:g} GPUs and {part.memory_bytes / GIB:.2f} GiB{apart}; the most that "
        f"is free on a node is {cpus:g} CPUs, {gpus:g} GPUs and {memory / GIB:.2f} GiB"
    )
