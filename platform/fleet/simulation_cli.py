"""`visnet cluster simulate`: a day of the cluster file's serving pool, with failures, by the policies that run it."""

from __future__ import annotations

import csv
import dataclasses
import logging
from pathlib import Path
from typing import Any

import click

from visnet.platform.command import Invocation, shared_options
from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import read_definition
from visnet.platform.fleet.simulation_result import Day, Moment
from visnet.platform.fleet.simulation_scenario import HOUR_S, Scenario, Sizes, Times, Traffic, Troubles
from visnet.platform.settings import ServeSettings


@click.command()
@click.option("--shards", type=click.IntRange(1), default=1_000, show_default=True, help="Of the index.")
@click.option("--replicas", type=click.IntRange(1), help="Of each shard.  [default: the file's]")
@click.option("--apart/--anywhere", default=None, help="Copies on nodes of their own.  [default: the file's]")
@click.option("--copies-per-card", type=click.IntRange(1), default=8, show_default=True, help="Of all shards.")
@click.option("--shard-gb", type=float, default=0.65, show_default=True, help="A copy loads.")
@click.option("--spare-nodes", type=click.IntRange(0), default=0, show_default=True, help="min_workers above the need.")
@click.option("--photos-per-s", type=float, default=2_000.0, show_default=True, help="At the evening's peak.")
@click.option("--embedders", type=click.IntRange(1), default=64, show_default=True, help="The embedder's max_replicas.")
@click.option("--target", type=float, help="Requests in flight per embedder.  [default: the file's]")
@click.option("--upscale-delay-s", type=float, help="Of the embedder.  [default: the file's]")
@click.option("--downscaling-factor", type=float, help="Of the embedder.  [default: the file's]")
@click.option("--mtbf-hours", type=float, default=1_000.0, show_default=True, help="Of a node; 0: none dies by itself.")
@click.option("--rack-at-hour", type=float, default=9.0, show_default=True, help="A rack dies; below 0: never.")
@click.option("--zone-at-hour", type=float, default=18.0, show_default=True, help="A zone dies; below 0: never.")
@click.option("--release-at-hour", type=float, default=12.0, show_default=True, help="A switch; below 0: never.")
@click.option("--boot-s", type=float, default=150.0, show_default=True, help="Until a new node runs.")
@click.option("--load-mb-per-s", type=float, default=250.0, show_default=True, help="From the store to a node.")
@click.option("--hours", type=click.FloatRange(0.1), default=24.0, show_default=True, help="Of the day.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of noise and failures.")
@click.option("--price", type=float, help="Dollars an hour of a node; without it no cost is shown.")
@click.option("--minutes", type=click.Path(dir_okay=False, path_type=Path), help="Write a CSV, a line a minute.")
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Draw pictures into this folder.")
@click.option("--compare", is_flag=True, help="Try other policies on the same day too, and print tables (15 minutes).")
@shared_options
def simulate(
    invocation: Invocation,
    price: float | None,
    minutes: Path | None,
    plots: Path | None,
    compare: bool,
    **options: Any,
) -> None:
    """A day of a large service: traffic, a sale, deaths of nodes, a rack and a zone, and a new release.

    The policies are those that run in production: the controller's placement, Serve's autoscaling and Ray's node
    autoscaler, called with a simulated clock. What they act on is a model; its times are assumptions, and are options.

    \b
    A day of a thousand shards (a minute or two), as pictures:
      visnet cluster simulate --plots docs/images
    The same day with a copy more of each shard, and what it costs:
      visnet cluster simulate --replicas 3 --price 0.98
    What happens if a rack dies while a release is being switched:
      visnet cluster simulate --rack-at-hour 12.05
    """
    from visnet.platform.fleet.simulation import Simulation  # Ray's modules take seconds to import

    if invocation.cluster_file is None:
        raise SettingsError("there is no cluster file here; name one with --cluster-file")
    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)  # it tells every decision of the day
    definition = read_definition(invocation.cluster_file)
    scenario = _scenario(invocation.settings.serve, **options)
    day = Simulation(scenario, definition).run()
    result: dict[str, Any] = {"scenario": dataclasses.asdict(scenario), "summary": dataclasses.asdict(day.summary)}
    text = _text(day, price)
    if minutes is not None:
        _write(minutes, day.minutes())
    if compare:
        from visnet.platform.fleet import simulation_compare as comparing

        embedder, shards = comparing.compare(scenario, definition, lambda name: click.echo(f"- {name}", err=True))
        text += f"\n\n{comparing.embedder_table(embedder)}\n\n{comparing.shards_table(shards)}"
        for what, days in (("embedder", embedder), ("shards", shards)):
            result[what] = {one.name: dataclasses.asdict(one.summary) for one in days}
    if plots is not None:
        from visnet.platform.fleet.simulation_plots import plot_day, plot_embedders, plot_shards

        plots.mkdir(parents=True, exist_ok=True)
        plot_day(day.minutes(), scenario, plots / "simulation-day.png")
        if compare:
            shown = ("target 32", "target 4", "target 4, a quarter ended at once")
            plot_embedders([one for one in embedder if one.name in shown], plots / "simulation-embedder.png")
            plot_shards(shards, plots / "simulation-shards.png")
    invocation.report(result, text)


def _scenario(settings: ServeSettings, **options: Any) -> Scenario:
    chosen, share = settings.embedder, 1.0 / options["copies_per_card"]
    return Scenario(
        seed=options["seed"],
        hours=options["hours"],
        sizes=Sizes(
            shards=options["shards"],
            replicas=options["replicas"] or settings.shard.replicas,
            apart=settings.shard.apart if options["apart"] is None else options["apart"],
            shard_gpus=share,
            shard_cpus=min(1.0, 4.0 * share),
            shard_bytes=round(1e9 * options["shard_gb"]),
            spare_nodes=options["spare_nodes"],
            min_embedders=min(max(2, chosen.min_replicas), options["embedders"]),
            max_embedders=options["embedders"],
            embedder_gpus=chosen.gpus,
            embedder_cpus=chosen.cpus,
            target_ongoing_requests=options["target"] or chosen.target_ongoing_requests,
            upscale_delay_s=chosen.upscale_delay_s
            if options["upscale_delay_s"] is None
            else options["upscale_delay_s"],
            downscale_delay_s=chosen.downscale_delay_s,
            downscaling_factor=options["downscaling_factor"] or chosen.downscaling_factor,
        ),
        traffic=Traffic(peak_photos_per_s=options["photos_per_s"]),
        troubles=Troubles(
            mtbf_hours=options["mtbf_hours"],
            rack_at_s=_at(options["rack_at_hour"]),
            zone_at_s=_at(options["zone_at_hour"]),
            release_at_s=_at(options["release_at_hour"]),
        ),
        times=Times(boot_s=options["boot_s"], load_bytes_per_s=1e6 * options["load_mb_per_s"]),
    )


def _at(hour: float) -> float | None:
    return hour * HOUR_S if hour >= 0 else None


def _text(day: Day, price: float | None) -> str:
    made = day.summary
    switch = "never" if made.switch_minutes is None else f"after {made.switch_minutes:.1f} minutes"
    lines = [
        f"embedder: too few replicas for {made.under_minutes:.1f} minutes, {made.refused_share:.2%} of photos refused",
        f"shards: {made.dark_clock_minutes:.1f} minutes with one or more dark, {made.worst_dark:,} at once at most; "
        f"{made.dark_minutes:,.0f} shard minutes",
        f"one copy left: {made.single_minutes:,.0f} shard minutes",
        f"release: serves {switch}, refused {made.refusals} times",
        f"nodes: {made.deaths} died, {made.most_nodes:,} at most, {made.node_hours:,.0f} hours; "
        f"{made.loaded_bytes / 1e9:,.0f} GB loaded",
    ]
    if price is not None:
        lines.append(f"cost: {made.dollars(price):,.0f} $ at {price:g} $ an hour")
    return "\n".join(lines)


def _write(path: Path, minutes: list[Moment]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Moment)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(minute) for minute in minutes)
