"""The machines of a simulated pool: asked for, booting, running, dead; what is free on each, since when it is idle."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from enum import Enum

import numpy as np

from visnet.platform.fleet.definition import NodeType
from visnet.platform.fleet.simulation_scenario import Times, Troubles
from visnet.platform.placement import Node, Part

# N places of nodes, R resources: GPUs, CPUs, bytes of memory

MOST = 16_384
"""Nodes that a day may ever ask for."""
SPARE = 1e-9


class NodeState(Enum):
    """Where a node is in its life."""

    QUEUED = "queued"
    """Wanted; Ray asks the cloud for so many at a time."""
    REQUESTED = "requested"
    BOOTING = "booting"
    RUNNING = "running"
    LOST = "lost"
    """Dead, and nobody knows yet."""
    GONE = "gone"


@dataclasses.dataclass(kw_only=True, slots=True)
class SimulatedNode:
    """One machine."""

    number: int
    state: NodeState
    since_s: float
    """When it came into this state."""
    asked_s: float = 0.0
    """When the cloud was asked for it; from then on it costs."""
    zone: int = 0
    rack: int = 0
    idle_since_s: float = 0.0
    link_free_s: float = 0.0
    """Until when it loads what it was given."""
    copies: int = 0


class Nodes:
    """The nodes of one type.

    Args:
        kind: the type, with its resources.
        memory_bytes: of a node, for processes.
        seed: of the order that SPREAD goes round in: Ray's, by hashes of random names.
    """

    def __init__(self, kind: NodeType, memory_bytes: float, times: Times, troubles: Troubles, *, seed: int) -> None:
        self.kind = kind
        self._times = times
        self._troubles = troubles
        self._size_R = np.array([kind.gpus, kind.cpus, memory_bytes])
        self._free_NR = np.zeros((MOST, 3))
        self._runs_N = np.zeros(MOST, bool)
        self._place_of = np.random.default_rng([seed, 2]).permutation(MOST)
        self._at = np.argsort(self._place_of)
        self._all: dict[int, SimulatedNode] = {}
        self._asked_for = 0
        self._closed: dict[int, float] = {}
        self._next_zone = 0
        self._in_zone = [0] * troubles.zones
        self._ring = 0
        self.spent_s = 0.0
        """Node seconds of those that are gone."""
        self.came = False
        """Whether a node has come since the copies looked last."""
        self.died = 0
        """Nodes whose death was noticed since the autoscaler looked last."""

    def there(self, *states: NodeState) -> list[SimulatedNode]:
        """The nodes in one of these states, in the order they were wanted in."""
        return [node for node in self._all.values() if node.state in states]

    @property
    def running(self) -> list[SimulatedNode]:
        """Those that run, in order."""
        return self.there(NodeState.RUNNING)

    def want(self, count: int, now_s: float) -> None:
        """Queue new nodes."""
        for number in range(self._asked_for, self._asked_for + count):
            self._all[number] = SimulatedNode(number=number, state=NodeState.QUEUED, since_s=now_s)
        self._asked_for += count

    def ask(self, numbers: Iterable[int], now_s: float) -> None:
        """Ask the cloud for queued nodes; they go to the zones in turn, those that are lost left out."""
        for number in numbers:
            node = self.node(number)
            node.zone = self._zone(now_s)
            node.rack = self._in_zone[node.zone] // self._troubles.rack_nodes
            self._in_zone[node.zone] += 1
            node.asked_s = now_s
            self._move(node, NodeState.REQUESTED, now_s)

    def start_at_once(self, count: int) -> None:
        """Nodes that run when the day begins."""
        self.want(count, 0.0)
        self.ask([node.number for node in self.there(NodeState.QUEUED)], 0.0)
        for node in self.there(NodeState.REQUESTED):
            self._run(node, 0.0)

    def tick(self, now_s: float) -> None:
        """What was asked for a tick ago is given, and boots."""
        for node in self.there(NodeState.REQUESTED, NodeState.BOOTING):
            if now_s - node.asked_s >= self._times.boot_s:
                self._run(node, now_s)
            elif node.state is NodeState.REQUESTED and now_s - node.asked_s >= self._times.tick_s:
                self._move(node, NodeState.BOOTING, now_s)

    def lose(self, node: SimulatedNode, now_s: float) -> None:
        """It dies; nobody knows for a while."""
        self._runs_N[self._place_of[node.number]] = False
        self._pay(node, now_s)
        self._move(node, NodeState.LOST, now_s)

    def notice(self, node: SimulatedNode, now_s: float) -> None:
        """Its death is known."""
        self._move(node, NodeState.GONE, now_s)
        del self._all[node.number]
        self.died += 1

    def give_back(self, node: SimulatedNode, now_s: float) -> None:
        """It is no longer wanted."""
        self._runs_N[self._place_of[node.number]] = False
        if node.state is not NodeState.QUEUED:
            self._pay(node, now_s)
        self._move(node, NodeState.GONE, now_s)
        del self._all[node.number]

    def close(self, zone: int, until_s: float) -> None:
        """No node starts in a zone for some time."""
        self._closed[zone] = until_s

    def node(self, number: int) -> SimulatedNode:
        """The node of that number, unless it is gone."""
        return self._all[number]

    def place(self, part: Part, taken: Iterable[int], zones: Collection[int] = ()) -> SimulatedNode | None:
        """The next node in turn that has room and is not taken, as Ray's SPREAD does; None if there is none.

        Args:
            zones: that are left alone as long as there is room elsewhere.
        """
        need_R = _need(part)
        fits_N = self._runs_N & (self._free_NR + SPARE >= need_R).all(axis=1)
        for number in taken:
            fits_N[self._place_of[number]] = False
        (places,) = np.nonzero(fits_N)
        if zones:
            elsewhere = [place for place in places.tolist() if self.node(int(self._at[place])).zone not in zones]
            places = np.array(elsewhere, np.int64) if elsewhere else places
        if not len(places):
            return None
        place = int(places[np.searchsorted(places, self._ring) % len(places)])
        self._ring = place + 1
        self._free_NR[place] -= need_R
        node = self.node(int(self._at[place]))
        node.copies += 1
        return node

    def has_room(self, part: Part) -> bool:
        """Whether any running node could take a copy, taken or not."""
        return bool((self._runs_N & (self._free_NR + SPARE >= _need(part)).all(axis=1)).any())

    def free(self, node: SimulatedNode, part: Part, now_s: float) -> None:
        """A copy has left."""
        self._free_NR[self._place_of[node.number]] += _need(part)
        node.copies -= 1
        if not node.copies:
            node.idle_since_s = now_s

    def room(self, node: SimulatedNode) -> dict[str, float]:
        """What is free on a node, by Ray's names."""
        return dict(
            zip(
                ("GPU", "CPU", "memory"),
                np.maximum(self._free_NR[self._place_of[node.number]], 0).tolist(),
                strict=True,
            )
        )

    @property
    def size(self) -> dict[str, float]:
        """What a node has, by Ray's names."""
        return dict(zip(("GPU", "CPU", "memory"), self._size_R.tolist(), strict=True))

    def seen(self, most: int) -> list[Node]:
        """As the controller sees them: what is free on those that run, and those that may come."""
        free = self._free_NR[self._runs_N].tolist()
        gpus, cpus, memory = self._size_R.tolist()
        possible = [Node(cpus=cpus, gpus=gpus, memory_bytes=memory)] * max(0, most - len(free))
        return [Node(cpus=one[1], gpus=one[0], memory_bytes=one[2]) for one in free] + possible

    def paid_s(self, now_s: float) -> float:
        """Node seconds so far."""
        there = self.there(NodeState.REQUESTED, NodeState.BOOTING, NodeState.RUNNING)
        return self.spent_s + sum(now_s - node.asked_s for node in there)

    def _run(self, node: SimulatedNode, now_s: float) -> None:
        node.idle_since_s = node.link_free_s = now_s
        self._free_NR[self._place_of[node.number]] = self._size_R
        self._runs_N[self._place_of[node.number]] = self.came = True
        self._move(node, NodeState.RUNNING, now_s)

    def _move(self, node: SimulatedNode, state: NodeState, now_s: float) -> None:
        node.state, node.since_s = state, now_s

    def _pay(self, node: SimulatedNode, now_s: float) -> None:
        self.spent_s += now_s - node.asked_s

    def _zone(self, now_s: float) -> int:
        for _ in range(self._troubles.zones):
            zone = self._next_zone
            self._next_zone = (zone + 1) % self._troubles.zones
            if self._closed.get(zone, 0.0) <= now_s:
                return zone
        return self._next_zone


def _need(part: Part) -> np.ndarray:
    return np.array((part.gpus, part.cpus, part.memory_bytes), float)
