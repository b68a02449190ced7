"""What a simulated day came to: a line for each minute, and the sums that policies are compared by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from visnet.platform.fleet.simulation_scenario import HOUR_S

MINUTE_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """How things stood at a tick."""

    at_s: float
    photos_per_s: float
    capacity_per_s: float
    """Photos that the embedder's running replicas can take."""
    refused: float
    """Photos of this tick."""
    embedders: int
    """Replicas that run."""
    embedders_wanted: int
    nodes: int
    """That run."""
    nodes_coming: int
    """Queued, asked for or booting."""
    dark: int
    """Shards of the serving release with no copy up."""
    single: int
    """With exactly one, where there should be more."""
    waiting: int
    """Copies without room."""
    loading: int
    loaded_bytes: int
    """So far."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A day in figures."""

    under_minutes: float
    """While more photos came than the embedder could take."""
    refused_share: float
    """Of the photos."""
    dark_minutes: float
    """Shard minutes: a shard without any copy for a minute, or sixty for a second."""
    dark_clock_minutes: float
    """While any shard was without a copy: answers were partial."""
    worst_dark: int
    """Shards without a copy at once, at most."""
    single_minutes: float
    """Shard minutes with a single copy left."""
    deaths: int
    """Of nodes."""
    loaded_bytes: int
    node_hours: float
    most_nodes: int
    switch_minutes: float | None
    """From the promotion of a release until it serves; None if it never did, or none was promoted."""
    refusals: int
    """Of that switch by the controller; it is tried again half a minute later."""

    def dollars(self, per_hour: float) -> float:
        """For the nodes, by a price."""
        return self.node_hours * per_hour


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """A simulated day."""

    moments: tuple[Moment, ...]
    """One a tick."""
    summary: Summary

    def minutes(self) -> list[Moment]:
        """One a minute: the worst of its ticks for what is bad, the last for the rest."""
        made = []
        by_minute: dict[int, list[Moment]] = {}
        for moment in self.moments:
            by_minute.setdefault(int(moment.at_s // MINUTE_S), []).append(moment)
        for minute, ticks in by_minute.items():
            last = ticks[-1]
            made.append(
                dataclasses.replace(
                    last,
                    at_s=minute * MINUTE_S,
                    photos_per_s=max(tick.photos_per_s for tick in ticks),
                    capacity_per_s=min(tick.capacity_per_s for tick in ticks),
                    refused=sum(tick.refused for tick in ticks),
                    dark=max(tick.dark for tick in ticks),
                    single=max(tick.single for tick in ticks),
                    waiting=max(tick.waiting for tick in ticks),
                )
            )
        return made


def summarize(
    moments: Sequence[Moment],
    *,
    tick_s: float,
    deaths: int,
    node_s: float,
    switch_s: float | None,
    refusals: int,
) -> Summary:
    """The sums of a day."""
    minutes = tick_s / MINUTE_S
    came = sum(moment.photos_per_s for moment in moments) * tick_s
    return Summary(
        under_minutes=minutes * sum(moment.photos_per_s > moment.capacity_per_s for moment in moments),
        refused_share=sum(moment.refused for moment in moments) / came if came else 0.0,
        dark_minutes=minutes * sum(moment.dark for moment in moments),
        dark_clock_minutes=minutes * sum(moment.dark > 0 for moment in moments),
        worst_dark=max(moment.dark for moment in moments),
        single_minutes=minutes * sum(moment.single for moment in moments),
        deaths=deaths,
        loaded_bytes=moments[-1].loaded_bytes,
        node_hours=node_s / HOUR_S,
        most_nodes=max(moment.nodes for moment in moments),
        switch_minutes=None if switch_s is None else switch_s / MINUTE_S,
        refusals=refusals,
    )
