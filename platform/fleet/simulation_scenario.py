"""A day to be simulated: the shards, the traffic, what fails, and how long things take."""

from __future__ import annotations

import dataclasses

from visnet.platform.errors import SettingsError

DAY_S = 86_400.0
HOUR_S = 3_600.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What runs, and how it is set up; the policies differ here."""

    shards: int = 1_000
    replicas: int = 2
    """Of each shard."""
    apart: bool = True
    """No node holds two copies of a shard."""
    zones_apart: bool = False
    """Nor does a zone, as long as another has room. Not built: it is here to see what it would be worth."""
    shard_cpus: float = 0.5
    shard_gpus: float = 0.125
    """Of a card: eight copies on one."""
    shard_bytes: int = 650_000_000
    """To be loaded: a million rows of 256 dimensions in float16, ids and attributes."""
    spare_nodes: int = 0
    """Nodes of the pool that are kept above what the copies need (`min_workers`)."""
    photos_per_replica_s: float = 225.0
    """Of an embedder's replica, the share of a card that it has."""
    embedder_cpus: float = 1.0
    embedder_gpus: float = 0.25
    min_embedders: int = 2
    max_embedders: int = 64
    target_ongoing_requests: float = 32.0
    upscale_delay_s: float = 10.0
    downscale_delay_s: float = 300.0
    upscaling_factor: float = 1.0
    """How much of what it lacks Serve adds at once."""
    downscaling_factor: float = 1.0
    """How much of what is too many it ends at once."""

    def __post_init__(self) -> None:
        for name in ("shards", "replicas", "min_embedders", "photos_per_replica_s", "target_ongoing_requests"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: expected above 0, got {getattr(self, name)}")
        if self.min_embedders > self.max_embedders:
            raise SettingsError(f"max_embedders: expected at least {self.min_embedders}, got {self.max_embedders}")
        if self.spare_nodes < 0:
            raise SettingsError(f"spare_nodes: expected at least 0, got {self.spare_nodes}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Photos to be embedded, over the day."""

    peak_photos_per_s: float = 2_000.0
    """In the evening; at night a fifth of it."""
    noise: float = 0.05
    """Standard deviation of what wanders around the curve, relative."""
    sale_at_s: float = 15 * HOUR_S
    """When a flash sale begins; it lasts half an hour."""
    sale_factor: float = 2.5
    """Of the traffic meanwhile; 1: no sale."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Troubles:
    """What dies, and when."""

    mtbf_hours: float = 1_000.0
    """Between two deaths of one node, on average; 0: none dies by itself."""
    rack_at_s: float | None = 9 * HOUR_S
    """When a rack's nodes die all at once; None: never."""
    rack_nodes: int = 8
    zone_at_s: float | None = 18 * HOUR_S
    """When a zone is lost; None: never."""
    zone_for_s: float = HOUR_S
    """How long no node can be started there."""
    zones: int = 3
    release_at_s: float | None = 12 * HOUR_S
    """When another release is promoted; None: never."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """How long things take: none of these was measured on a cluster."""

    boot_s: float = 150.0
    """From the request for a node to Ray running on it."""
    detect_s: float = 20.0
    """From a node's death until Serve and Ray's autoscaler know."""
    start_s: float = 20.0
    """Of a replica's process: imports, the card, the network."""
    load_bytes_per_s: float = 250e6
    """From the store to a node, all of its copies together."""
    tick_s: float = 5.0
    """Of the simulation, and of Ray's autoscaler, which looks every 5 s; in between nothing is decided."""
    batch_overhead_s: float = 0.02
    """Of the embedder, whatever the batch."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A day."""

    seed: int = 0
    """Of noise and failures. Failures do not depend on the sizes: the same seed kills the same slots of nodes."""
    hours: float = 24.0
    sizes: Sizes = Sizes()
    traffic: Traffic = Traffic()
    troubles: Troubles = Troubles()
    times: Times = Times()

    @property
    def ticks(self) -> int:
        return round(self.hours * HOUR_S / self.times.tick_s)


def calm(scenario: Scenario) -> Scenario:
    """The same day on which nothing fails."""
    return dataclasses.replace(
        scenario, troubles=dataclasses.replace(scenario.troubles, mtbf_hours=0.0, rack_at_s=None, zone_at_s=None)
    )
