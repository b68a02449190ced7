"""Who may use how much of a pool of nodes, decided from plain data: by priority, and whole or not at all.

A job claims copies of something (workers, actors), at least so many and at most so many. It starts when the least fits
beside what others hold; a job that can shrink gives room back to one that waits. The order is priority, then arrival;
nobody passes one that waits in front of him, so a large job is not starved by many small ones. `decide` is the policy;
`admission_desk.py` keeps the claims of a cluster.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
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
    """For each copy, on any node: what it does beside them, such as decoding."""
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
    beside_cpus: float = 0.0
    """What it may use beside each copy."""


def affordable(claim: Claim, nodes: Sequence[Node]) -> Claim:
    """The claim with no more beside each copy than a pool has for as many copies as fit: on a small one a job's data is
    made more slowly, not never."""
    bare = dataclasses.replace(claim, beside_cpus=0.0)
    fitting = [count for count in range(claim.least, claim.most + 1) if _fit([(bare, count)], nodes)]
    if not fitting:
        return claim
    left = sum(node.cpus for node in nodes) - fitting[-1] * claim.cpus
    return dataclasses.replace(claim, beside_cpus=min(claim.beside_cpus, max(0.0, left / fitting[-1])))


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
            answers[claim.id] = Answer(copies=0, reason=f"{_wants(claim)}; {_held([*running, *admitted], nodes)}")
    _grow(running, admitted, copies, nodes)
    now = [(claim, claim.holds) for claim in running]
    for claim in admitted:
        now.append((claim, copies[claim.id]))
        if _fit(now, nodes):
            answers[claim.id] = Answer(copies=copies[claim.id])
        else:  # it is its turn, once the others have shrunk
            answers[claim.id] = Answer(
                copies=0, reason=f"{_wants(claim)}; {_held(running, nodes)}; they are asked for it"
            )
    shrunk = _fit([(claim, max(claim.holds, copies[claim.id])) for claim in (*running, *admitted)], nodes)
    for claim in running:  # nobody grows into what another has still to give back
        answers[claim.id] = Answer(copies=copies[claim.id] if shrunk else min(copies[claim.id], claim.holds))
    return answers


def _grow(running: Sequence[Claim], admitted: Sequence[Claim], copies: dict[str, int], nodes: Sequence[Node]) -> None:
    """Give what is left, by priority: to who starts, and to those who run and can take it."""
    growing = [claim for claim in (*running, *admitted) if claim.shrinks or not claim.holds]
    everybody = [*running, *admitted]

    def too_many(claim: Claim, count: int) -> bool:
        return not _fit(_with(everybody, {**copies, claim.id: count}), nodes)

    for claim in sorted(growing, key=lambda claim: -claim.priority):
        more = range(copies[claim.id] + 1, claim.most + 1)
        copies[claim.id] += bisect.bisect_left(more, True, key=functools.partial(too_many, claim))


def _with(claims: Sequence[Claim], copies: Mapping[str, int]) -> list[tuple[Claim, int]]:
    return [(claim, copies[claim.id]) for claim in claims]


def _fit(wanted: Sequence[tuple[Claim, int]], nodes: Sequence[Node]) -> bool:
    """Whether all find room at once: the largest copies first, each on the fullest node that has room."""
    free = [[node.gpus, node.cpus] for node in nodes]
    for claim, count in sorted(wanted, key=lambda entry: (-entry[0].gpus, -entry[0].cpus)):
        left = count
        for have in sorted(free):  # with a copy more a node is still the fullest, so each is filled before the next
            here = min(left, _room(claim, have, left))
            have[0] -= here * claim.gpus
            have[1] -= here * claim.cpus
            left -= here
            if not left:
                break
        if left:
            return False
    return sum(have[1] for have in free) + 1e-9 >= sum(claim.beside_cpus * count for claim, count in wanted)


def _room(claim: Claim, have: Sequence[float], most: int) -> int:
    """How many copies a node with so many free GPUs and CPUs takes."""
    needs = ((claim.gpus, have[0]), (claim.cpus, have[1]))
    return min((int((free + 1e-9) / need) for need, free in needs if need), default=most)


def _wants(claim: Claim) -> str:
    beside = f", and {claim.least * claim.beside_cpus:g} CPUs beside them" if claim.beside_cpus else ""
    return f"it waits for {claim.least} x {claim.each}{beside}"


def _who(claim: Claim) -> str:
    return f"{claim.kind} {claim.id}"


def _held(others: Sequence[Claim], nodes: Sequence[Node]) -> str:
    named = (
        f"{_who(claim)} has {claim.holds} x {claim.each}" if claim.holds else f"{_who(claim)} starts"
        for claim in others
    )
    return f"of {_all(nodes)}, {', '.join(named) or 'nobody holds any'}"


def _never(claim: Claim, nodes: Sequence[Node]) -> str:
    most = max(nodes, key=lambda node: (node.gpus, node.cpus), default=Node(cpus=0, gpus=0, memory_bytes=0))
    beside = f" and {claim.least * claim.beside_cpus:g} CPUs beside them" if claim.beside_cpus else ""
    return (
        f"{claim.least} x {claim.each}{beside} never fit: there are {_all(nodes)} at most, {most.gpus:g} GPUs and "
        f"{most.cpus:g} CPUs on a node"
    )


def _all(nodes: Sequence[Node]) -> str:
    return f"{sum(node.gpus for node in nodes):g} GPUs and {sum(node.cpus for node in nodes):g} CPUs"
