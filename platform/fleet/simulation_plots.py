"""Pictures of simulated days. They need matplotlib, which comes with `pip install visnet[plots]`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.simulation_compare import Compared
from visnet.platform.fleet.simulation_result import Moment
from visnet.platform.fleet.simulation_scenario import HOUR_S, Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAME, COULD, BAD, QUIET = "#1f5fa8", "#6b9e3c", "#c8102e", "#8a8a8a"
"""Colours: what is asked for, what is there, what is missing, the rest."""
WIDTH_IN = 9.0
DPI = 110
COLOURS = 256


def plot_day(minutes: Sequence[Moment], scenario: Scenario, path: Path) -> None:
    """One day: photos and the embedder, nodes, shards with too few copies."""
    figure, axes = _figure(3, height_in=7.2)
    _photos(axes[0], minutes)
    hours = _hours(minutes)
    axes[1].plot(hours, [one.nodes for one in minutes], color=COULD, label="running")
    axes[1].plot(hours, [one.nodes + one.nodes_coming for one in minutes], color=CAME, lw=0.9, label="and coming")
    axes[1].set_ylim(bottom=0)
    axes[1].set_ylabel("nodes")
    axes[2].fill_between(hours, [one.single for one in minutes], step="post", color=QUIET, lw=0, label="one copy left")
    axes[2].fill_between(hours, [one.dark for one in minutes], step="post", color=BAD, lw=0, label="no copy: dark")
    axes[2].set_yscale("symlog", linthresh=1)
    axes[2].set_ylim(0, max(10.0, 3.0 * max(one.single + one.dark for one in minutes)))
    axes[2].set_ylabel("shards")
    for axis in axes[1:]:
        axis.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)
    _events(axes, scenario)
    _save(figure, axes, path)


def plot_embedders(days: Sequence[Compared], path: Path) -> None:
    """Several policies of the embedder on one day, one above the other."""
    figure, axes = _figure(len(days), height_in=2.3 * len(days))
    most = max(one.capacity_per_s for day in days for one in day.minutes)
    for axis, day in zip(axes, days, strict=True):
        _photos(axis, day.minutes)
        missed = f"{day.summary.under_minutes:.0f} minutes of too few, {day.summary.refused_share:.2%} refused"
        axis.set_ylim(0, 1.25 * most)
        axis.set_title(f"{day.name}: {missed}", fontsize=9, loc="left")
    _save(figure, axes, path)


def plot_shards(days: Sequence[Compared], path: Path) -> None:
    """What the shards' policies cost and what they are worth."""
    figure, axes = _figure(1, height_in=0.42 * len(days) + 1.0, columns=2)
    names = [day.name for day in days]
    dark, spent = axes
    bars = dark.barh(names, [day.summary.dark_minutes for day in days], color=BAD)
    dark.set_xlabel("shard minutes without any copy")
    dark.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=3)
    dark.margins(x=0.16)
    bars = spent.barh(names, [day.summary.node_hours for day in days], color=CAME)
    spent.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=3)
    spent.margins(x=0.2)
    spent.set_xlabel("node hours")
    spent.set_yticks([])
    for axis in axes:
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    _write(figure, path)


def _photos(axis: Axes, minutes: Sequence[Moment]) -> None:
    hours = _hours(minutes)
    came = [one.photos_per_s for one in minutes]
    could = [one.capacity_per_s for one in minutes]
    axis.plot(hours, could, color=COULD, lw=0.9, label="the embedder can")
    axis.plot(hours, came, color=CAME, lw=1.2, label="photos come")
    axis.fill_between(
        hours, came, could, where=[c > k for c, k in zip(came, could, strict=True)], color=BAD, alpha=0.75, lw=0,
        label="too few",
    )  # fmt: skip
    axis.set_ylim(0, 1.25 * max(max(came), max(could)))
    axis.set_ylabel("photos a second")
    axis.legend(loc="upper left", fontsize=8, frameon=False, ncols=3)


def _events(axes: Sequence[Axes], scenario: Scenario) -> None:
    troubles, traffic = scenario.troubles, scenario.traffic
    events = {
        "rack dies": troubles.rack_at_s,
        "release": troubles.release_at_s,
        "sale": traffic.sale_at_s if traffic.sale_factor > 1 else None,
        "zone dies": troubles.zone_at_s,
    }
    for name, at_s in events.items():
        if at_s is None or at_s > scenario.hours * HOUR_S:
            continue
        for axis in axes:
            axis.axvline(at_s / HOUR_S, color=QUIET, lw=0.8, ls=":")
        axes[0].annotate(name, (at_s / HOUR_S, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
                         textcoords="offset points", fontsize=8, ha="center", color="#444444")  # fmt: skip


def _hours(minutes: Sequence[Moment]) -> list[float]:
    return [one.at_s / HOUR_S for one in minutes]


def _figure(rows: int, *, height_in: float, columns: int = 1) -> tuple[Figure, Any]:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise SettingsError("pictures need matplotlib: pip install 'visnet[plots]'") from None
    pyplot.switch_backend("agg")
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(WIDTH_IN, height_in), sharex=columns == 1, layout="constrained", squeeze=False
    )
    return figure, list(axes.flat)


def _save(figure: Figure, axes: Sequence[Axes], path: Path) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", lw=0.4, color="#dddddd")
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.005)
    axes[-1].set_xlabel("hour of the day")
    axes[-1].set_xticks(range(0, 25, 3))
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    """A small file: such pictures have few colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(path, optimize=True)
