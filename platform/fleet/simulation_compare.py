"""The same day under other policies, one changed at a time: what a default costs and what it is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from visnet.platform.fleet.definition import ClusterDefinition
from visnet.platform.fleet.simulation import Simulation
from visnet.platform.fleet.simulation_result import Moment, Summary
from visnet.platform.fleet.simulation_scenario import Scenario

ALL, QUARTER = {"downscaling_factor": 1.0}, {"downscaling_factor": 0.25}
STEADY: dict[str, Any] = {"target_ongoing_requests": 4.0, **QUARTER}
"""What the embedder's table ends at; the tables of the shards start from it, so that they show the shards alone."""

EMBEDDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("target 32", {"target_ongoing_requests": 32.0, **ALL}),
    ("target 8", {"target_ongoing_requests": 8.0, **ALL}),
    ("target 4", {"target_ongoing_requests": 4.0, **ALL}),
    ("target 2", {"target_ongoing_requests": 2.0, **ALL}),
    ("target 32, a quarter ended at once", {"target_ongoing_requests": 32.0, **QUARTER}),
    ("target 8, a quarter ended at once", {"target_ongoing_requests": 8.0, **QUARTER}),
    ("target 4, a quarter ended at once", STEADY),
    ("target 2, a quarter ended at once", {"target_ongoing_requests": 2.0, **QUARTER}),
    ("4, a quarter; upscale delay 0 s", {**STEADY, "upscale_delay_s": 0.0}),
    ("4, a quarter; upscale delay 30 s", {**STEADY, "upscale_delay_s": 30.0}),
    ("4, a quarter; upscale delay 60 s", {**STEADY, "upscale_delay_s": 60.0}),
    ("4, a quarter; 8 replicas at least", {**STEADY, "min_embedders": 8}),
)
"""Name and changed sizes, of the embedder's policy."""
SHARDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("1 copy", {"replicas": 1}),
    ("2 copies, anywhere", {"apart": False}),
    ("2 copies apart", {}),
    ("3 copies apart", {"replicas": 3}),
    ("2 apart, 2 spare nodes", {"spare_nodes": 2}),
    ("2 apart, 5 spare nodes", {"spare_nodes": 5}),
    ("2 apart, as many spare as needed", {"spare_nodes": 250}),
    ("2 in zones of their own (not built)", {"zones_apart": True}),
)
"""Of the shards' placement."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One policy's day."""

    name: str
    summary: Summary
    minutes: list[Moment]


def compare(
    scenario: Scenario, definition: ClusterDefinition, tell: Callable[[str], None]
) -> tuple[list[Compared], list[Compared]]:
    """The embedder's policies and the shards', each on the scenario's day."""
    shards_too = dataclasses.replace(scenario.sizes, **STEADY)
    few = dataclasses.replace(scenario.sizes, shards=min(scenario.sizes.shards, 50))  # they play no part there
    embedder = list(_days(dataclasses.replace(scenario, sizes=few), EMBEDDER, definition, tell))
    shards = list(_days(dataclasses.replace(scenario, sizes=shards_too), SHARDS, definition, tell))
    return embedder, shards


def embedder_table(days: list[Compared]) -> str:
    """Markdown."""
    lines = ["| embedder | minutes of too few | photos refused | node hours | GB loaded |", "|---|---|---|---|---|"]
    for day in days:
        made = day.summary
        lines.append(
            f"| {day.name} | {made.under_minutes:.1f} | {made.refused_share:.2%} | {made.node_hours:,.0f} | "
            f"{made.loaded_bytes / 1e9:,.0f} |"
        )
    return "\n".join(lines)


def shards_table(days: list[Compared]) -> str:
    """Markdown."""
    lines = [
        "| shards | minutes with any dark | at once, at most | shard minutes dark | with one copy | switch, minutes | "
        "node hours | TB loaded |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for day in days:
        made = day.summary
        switch = "never" if made.switch_minutes is None else f"{made.switch_minutes:.1f}"
        refused = f" ({made.refusals} refused)" if made.refusals else ""
        dark = f"{made.dark_clock_minutes:.1f} | {made.worst_dark:,} | {made.dark_minutes:,.0f}"
        spent = f"{made.node_hours:,.0f} | {made.loaded_bytes / 1e12:,.1f}"
        lines.append(f"| {day.name} | {dark} | {made.single_minutes:,.0f} | {switch}{refused} | {spent} |")
    return "\n".join(lines)


def _days(
    scenario: Scenario,
    policies: tuple[tuple[str, dict[str, Any]], ...],
    definition: ClusterDefinition,
    tell: Callable[[str], None],
) -> Iterator[Compared]:
    for name, changes in policies:
        tell(name)
        sizes = dataclasses.replace(scenario.sizes, **changes)
        day = Simulation(dataclasses.replace(scenario, sizes=sizes), definition).run()
        yield Compared(name=name, summary=day.summary, minutes=day.minutes())
