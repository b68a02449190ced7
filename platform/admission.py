"""Who may use how much of a pool of nodes, decided from plain data: by priority, and whole or not at all.

A job claims copies of something (workers, actors), at least so many and at most so many. It starts when the least fits
beside what others hold; a job that can shrink gives room back to one that waits. The order is priority, then arrival;
nobody passes one that waits in front of him, so a large job is not starved by many small ones. `decide` is the policy;
`admission_desk.py` keeps the claims of a cluster.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from visnet.platform.placement import Node

PRIORITY = {"serve": 40, "train": 20, "detector": 20, "recommend": 15, "index": 15, "triplets": 10, "embed": 10}
"""By kind of work, the higher first: what is short and blocks others goes before the long passes, which can shrink."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a job wants of a pool."""

    id: str
    """Unique, and what people know the job by."""
    kind: str
    """train, embed, …; decides the priority."""
    pool: str | None
    least: int
    """Copies it can't start without."""
    most: int
    """Copies it can use."""
    cpus: float
    gpus: float
    """Of each copy."""
    beside_cpus: float = 0.0
    """For what it does beside them, such as decoding."""
    shrinks: bool = False
    """Whether it gives copies back when it is asked to, down to the least."""
    holds: int = 0
    """Copies it has at present; 0 while it waits."""

    @property
    def priority(self) -> int:
        return PRIORITY.get(self.kind, 0)

    @property
    def each(self) -> str:
        """A copy in words."""
        named = ((self.gpus, "GPU"), (self.cpus, "CPU"))
        return " and ".join(f"{amount:g} {name}{'s' * (amount != 1)}" for amount, name in named if amount) or "nothing"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a claim gets."""

    copies: int
    """How many it may hold; 0: it has to wait."""
    reason: str = ""
    """Why it waits, or why it never fits."""
    never: bool = False
    """It could not even have the pool to itself."""


def decide(claims: Sequence[Claim], nodes: Sequence[Node]) -> dict[str, Answer]:
    """What each claim gets.

    Args:
        claims: of one pool, in the order of their arrival.
        nodes: what the pool's nodes have in all, with those that may come.

    Returns:
        An answer by the claim's id. Who holds copies keeps at least its least.
    """
    ranked = sorted(claims, key=lambda claim: -claim.priority)  # stable: arrival decides between equals
    running = [claim for claim in ranked if claim.holds]
    copies = {claim.id: claim.least if claim.shrinks else claim.holds for claim in running}
    answers: dict[str, Answer] = {}
    admitted: list[Claim] = []
    blocked: Claim | None = None
    for claim in (claim for claim in ranked if not claim.holds):
        if not _fit([(claim, claim.least)], nodes):
            answers[claim.id] = Answer(copies=0, reason=_never(claim, nodes), never=True)
        elif blocked is not None:
            answers[claim.id] = Answer(copies=0, reason=f"{_wants(claim)}; before it waits {_who(blocked)}")
        elif _fit([*_with(running, copies), *_with(admitted, copies), (claim, claim.least)], nodes):
            copies[claim.id] = claim.least
            admitted.append(claim)
        else:
            blocked = claim
            answers[claim.id] = Answer(copies=0, reason=f"{_wants(claim)}; {_held(running, nodes)}")
    _grow(running, admitted, copies, nodes)
    for claim in admitted:
        now = [(other, max(other.holds, copies[other.id])) for other in running] + _with(admitted, copies)
        if _fit(now, nodes):
            answers[claim.id] = Answer(copies=copies[claim.id])
        else:  # it is its turn, once the others have shrunk
            answers[claim.id] = Answer(
                copies=0, reason=f"{_wants(claim)}; {_held(running, nodes)}; they are asked for it"
            )
    return answers | {claim.id: Answer(copies=copies[claim.id]) for claim in running}


def _grow(running: Sequence[Claim], admitted: Sequence[Claim], copies: dict[str, int], nodes: Sequence[Node]) -> None:
    """Give what is left, by priority: to who starts, and to those who run and can take it."""
    growing = [claim for claim in (*running, *admitted) if claim.shrinks or not claim.holds]
    everybody = [*running, *admitted]
    for claim in sorted(growing, key=lambda claim: -claim.priority):
        while copies[claim.id] < claim.most:
            copies[claim.id] += 1
            if not _fit(_with(everybody, copies), nodes):
                copies[claim.id] -= 1
                break


def _with(claims: Sequence[Claim], copies: Mapping[str, int]) -> list[tuple[Claim, int]]:
    return [(claim, copies[claim.id]) for claim in claims]


def _fit(wanted: Sequence[tuple[Claim, int]], nodes: Sequence[Node]) -> bool:
    """Whether all find room at once: the largest copies first, each on the fullest node that has room."""
    free = [[node.gpus, node.cpus] for node in nodes]
    for claim, count in sorted(wanted, key=lambda entry: (-entry[0].gpus, -entry[0].cpus)):
        for _ in range(count):
            places = [have for have in free if have[0] + 1e-9 >= claim.gpus and have[1] + 1e-9 >= claim.cpus]
            if not places:
                return False
            chosen = min(places)
            chosen[0] -= claim.gpus
            chosen[1] -= claim.cpus
    return sum(have[1] for have in free) + 1e-9 >= sum(claim.beside_cpus for claim, count in wanted if count)


def _wants(claim: Claim) -> str:
    beside = f", and {claim.beside_cpus:g} CPUs beside them" if claim.beside_cpus else ""
    return f"it waits for {claim.least} x {claim.each}{beside}"


def _who(claim: Claim) -> str:
    return f"{claim.kind} {claim.id}"


def _held(running: Sequence[Claim], nodes: Sequence[Node]) -> str:
    held = ", ".join(f"{_who(claim)} has {claim.holds} x {claim.each}" for claim in running) or "nobody holds any"
    return f"of {_all(nodes)}, {held}"


def _never(claim: Claim, nodes: Sequence[Node]) -> str:
    most = max(nodes, key=lambda node: (node.gpus, node.cpus), default=Node(cpus=0, gpus=0, memory_bytes=0))
    beside = f" and {claim.beside_cpus:g} CPUs beside them" if claim.beside_cpus else ""
    return (
        f"{claim.least} x {claim.each}{beside} never fit: there are {_all(nodes)} at most, {most.gpus:g} GPUs and "
        f"{most.cpus:g} CPUs on a node"
    )


def _all(nodes: Sequence[Node]) -> str:
    return f"{sum(node.gpus for node in nodes):g} GPUs and {sum(node.cpus for node in nodes):g} CPUs"
