"""The day itself, drawn beforehand from the seed: how many photos come at each moment, and what dies when.

A death names a slot, not a node: the node with that number among those that run, and nobody if there are fewer. So a
day is the same whatever policy is tried on it, and more nodes see more deaths.
"""

from __future__ import annotations

import dataclasses
from enum import Enum

import numpy as np

from visnet.platform.fleet.simulation_scenario import DAY_S, HOUR_S, Scenario

SLOTS = 4_096
"""Nodes at most that deaths are drawn for."""
NIGHT = 0.2
"""Of the evening's peak, in the small hours."""
SALE_S, RAMP_S = 1_800.0, 60.0
WANDER_S = 600.0
"""How long noise lasts."""


class Cause(Enum):
    """Why nodes die."""

    NODE = "node"
    RACK = "rack"
    ZONE = "zone"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Something that dies."""

    at_s: float
    cause: Cause
    slot: int
    """Of a node, or its rack's node, or the zone's number."""


def photos(scenario: Scenario) -> np.ndarray:
    """Photos per second at each tick, float64."""
    traffic, times = scenario.traffic, scenario.times
    at_T = np.arange(scenario.ticks) * times.tick_s
    hour_T = (at_T / HOUR_S) % 24
    day = np.exp(-0.5 * ((hour_T - 13.0) / 3.5) ** 2) * 0.65
    evening = np.exp(-0.5 * (((hour_T - 20.5 + 12) % 24 - 12) / 2.0) ** 2)
    curve_T = NIGHT + (1 - NIGHT) * np.clip(day + evening, 0, None) / 1.07
    since = at_T - traffic.sale_at_s
    sale_T = np.clip(np.minimum(since / RAMP_S, (SALE_S - since) / RAMP_S), 0, 1)
    wander_T = 1 + traffic.noise * _wander(scenario, len(at_T))
    made: np.ndarray = traffic.peak_photos_per_s * curve_T * (1 + (traffic.sale_factor - 1) * sale_T) * wander_T
    return np.clip(made, 0, None)


def failures(scenario: Scenario) -> list[Failure]:
    """All that dies, by time."""
    random = np.random.default_rng([scenario.seed, 1])
    troubles, ends_s = scenario.troubles, scenario.hours * HOUR_S
    found = []
    if troubles.mtbf_hours:
        deaths = random.poisson(SLOTS * scenario.hours / troubles.mtbf_hours)
        at_D, slot_D = random.uniform(0, ends_s, deaths), random.integers(SLOTS, size=deaths)
        pairs = zip(at_D.tolist(), slot_D.tolist(), strict=True)
        found = [Failure(at_s=at_s, cause=Cause.NODE, slot=slot) for at_s, slot in pairs]
    if troubles.rack_at_s is not None:
        found.append(Failure(at_s=troubles.rack_at_s, cause=Cause.RACK, slot=int(random.integers(SLOTS))))
    if troubles.zone_at_s is not None:
        zone = int(random.integers(troubles.zones))
        found.append(Failure(at_s=troubles.zone_at_s, cause=Cause.ZONE, slot=zone))
    return sorted((one for one in found if one.at_s < min(ends_s, 7 * DAY_S)), key=lambda one: one.at_s)


def _wander(scenario: Scenario, ticks: int) -> np.ndarray:
    """Noise of standard deviation 1 that stays for a while, so that a policy can follow it."""
    random = np.random.default_rng([scenario.seed, 0])
    kept = np.exp(-scenario.times.tick_s / WANDER_S)
    pushed_T = random.standard_normal(ticks) * np.sqrt(1 - kept**2)
    value, wandered = 0.0, np.empty(ticks)
    for tick, push in enumerate(pushed_T):
        value = kept * value + push
        wandered[tick] = value
    return wandered
