"""The copies of the service's parts on simulated nodes: waiting for room, loading, up, lost.

Serve places a copy by Ray's SPREAD (its default): on the next node in turn that has room. That choice is made in Ray's
C++ core and is modelled here; how many copies there should be, and which of the embedder's end, is Serve's own code.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from visnet.platform.fleet.simulation_nodes import Nodes, SimulatedNode
from visnet.platform.fleet.simulation_scenario import Times
from visnet.platform.placement import Part, Running, State


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class Copy:
    """One replica of a part."""

    number: int
    """Unique; newer ones have higher numbers."""
    part: Part
    node: SimulatedNode | None = None
    """None while it waits for room."""
    up_s: float = math.inf
    """When it has loaded."""
    up: bool = False
    waits_from_s: float = 0.0
    """When Serve puts it in the queue: a dead one's successor when the death is known."""


@dataclasses.dataclass(kw_only=True, slots=True)
class Deployed:
    """A part that is to run, and its copies."""

    part: Part
    bytes_each: int
    """That a copy loads."""
    copies: list[Copy] = dataclasses.field(default_factory=list)
    stood: bool = False
    """Whether all copies have been up at once."""
    lost: bool = False
    """A running copy has died, and not all are up again; Serve calls such a deployment unhealthy."""

    @property
    def ups(self) -> int:
        return sum(copy.up for copy in self.copies)


class Copies:
    """All copies of all parts."""

    def __init__(self, nodes: Nodes, times: Times, *, zones_apart: bool = False) -> None:
        self._nodes = nodes
        self._times = times
        self._zones_apart = zones_apart
        self.deployed: dict[str, Deployed] = {}
        self._waiting: list[Copy] = []
        self._loading: list[Copy] = []
        self._made = 0
        self._room_changed = True
        self.loaded_bytes = 0
        self.changes = 0
        """Grows with every copy that comes up, dies or ends."""

    def waiting(self, now_s: float) -> list[Part]:
        """The parts of the copies that found no room; those of a node whose death nobody knows of do not wait yet."""
        return [copy.part for copy in self._waiting if copy.waits_from_s <= now_s]

    @property
    def loading(self) -> int:
        return len(self._loading)

    def start(self, part: Part, bytes_each: int, now_s: float) -> None:
        """Deploy a part."""
        self.deployed[part.name] = Deployed(part=part, bytes_each=bytes_each)
        self.scale(part.name, part.replicas, now_s)

    def scale(self, name: str, replicas: int, now_s: float) -> None:
        """More copies of a part; to end some, `end_copies`."""
        deployed = self.deployed[name]
        while len(deployed.copies) < replicas:
            self._made += 1
            copy = Copy(number=self._made, part=deployed.part, waits_from_s=now_s)
            deployed.copies.append(copy)
            self._waiting.append(copy)
        self._room_changed = True

    def end(self, name: str, now_s: float) -> None:
        """A part is no longer wanted."""
        self.end_copies(self.deployed.pop(name).copies, now_s)

    def end_copies(self, copies: Iterable[Copy], now_s: float) -> None:
        """These end; what they took is free."""
        self.changes += 1
        for copy in list(copies):
            if copy.part.name in self.deployed:
                self.deployed[copy.part.name].copies.remove(copy)
            self._leave(copy, now_s)
            self._waiting = [one for one in self._waiting if one is not copy]
        self._room_changed = True

    def lost(self, node: SimulatedNode, now_s: float) -> None:
        """A node dies with all that ran on it; successors wait from when it is known."""
        known_s = now_s + self._times.detect_s
        self.changes += 1
        for deployed in self.deployed.values():
            for place, copy in enumerate(deployed.copies):
                if copy.node is not node:
                    continue
                deployed.lost |= copy.up
                self._loading = [one for one in self._loading if one is not copy]
                self._made += 1
                successor = Copy(number=self._made, part=copy.part, waits_from_s=known_s)
                deployed.copies[place] = successor
                self._waiting.append(successor)

    def tick(self, now_s: float) -> None:
        """Place what waits and take up what has loaded."""
        for copy in [one for one in self._loading if one.up_s <= now_s]:
            copy.up = True
            self.changes += 1
            self._loading.remove(copy)
            self._settle(self.deployed[copy.part.name])
        due = any(copy.waits_from_s > now_s - self._times.tick_s for copy in self._waiting)
        if self._waiting and (self._nodes.came or self._room_changed or due):
            self._room_changed = self._nodes.came = False
            self._place(now_s)

    def stand_at_once(self) -> None:
        """All that was started is up: the day begins with a service that runs."""
        self._place(0.0)
        for copy in self._loading:
            copy.up, copy.up_s = True, 0.0
        self._loading = []
        self.loaded_bytes = 0
        for deployed in self.deployed.values():
            self._settle(deployed)
        for node in self._nodes.running:
            node.link_free_s = 0.0

    def running(self) -> dict[str, Running]:
        """As the controller sees the parts."""
        return {name: Running(state=_state(one), replicas=len(one.copies)) for name, one in self.deployed.items()}

    def up(self, name: str) -> list[Copy]:
        """The copies of a part that answer."""
        return [copy for copy in self.deployed[name].copies if copy.up]

    def _place(self, now_s: float) -> None:
        left, full = [], set()
        for copy in self._waiting:
            part = copy.part
            shape = (part.gpus, part.cpus, part.memory_bytes)
            node = None
            if copy.waits_from_s <= now_s and shape not in full:
                if self._nodes.has_room(part):
                    node = self._nodes.place(part, *self._taken(part))
                else:
                    full.add(shape)
            if node is None:
                left.append(copy)
            else:
                self._load(copy, node, now_s)
        self._waiting = left

    def _taken(self, part: Part) -> tuple[list[int], set[int]]:
        """Nodes that may hold no further copy, and zones that had better not."""
        if not part.spread:
            return [], set()
        there = [copy.node for copy in self.deployed[part.name].copies if copy.node is not None]
        return [node.number for node in there], {node.zone for node in there} if self._zones_apart else set()

    def _load(self, copy: Copy, node: SimulatedNode, now_s: float) -> None:
        """The copies of a node load one after the other: what they share is its link."""
        size = self.deployed[copy.part.name].bytes_each
        node.link_free_s = max(now_s, node.link_free_s) + size / self._times.load_bytes_per_s
        copy.node, copy.up_s = node, node.link_free_s + self._times.start_s
        self._loading.append(copy)
        self.loaded_bytes += size

    def _leave(self, copy: Copy, now_s: float) -> None:
        if copy.node is not None:
            self._nodes.free(copy.node, copy.part, now_s)
            copy.node = None
        self._loading = [one for one in self._loading if one is not copy]
        copy.up = False

    def _settle(self, deployed: Deployed) -> None:
        if deployed.ups == len(deployed.copies):
            deployed.stood, deployed.lost = True, False


def _state(deployed: Deployed) -> State:
    """As `serve/cluster_view.py` has it: what stood and lost a copy is starting again, not failed."""
    return State.READY if deployed.stood and not deployed.lost else State.STARTING
