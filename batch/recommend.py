"""The recommendation pass: every product's most similar others, by searching the shards in large batches.

The shards' products are cut into units, which are computed independently and leave a file each. What is written
depends on the index, the rules and the size of a unit, and on nothing else: not on how many processes there were, nor
on how often the pass was killed and started again.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pyarrow as pa

from visnet.batch.recommend_runner import OnRay, Runner
from visnet.batch.recommend_unit import Unit, even_runs, probe_fetch, wanted_candidates
from visnet.platform.admission_desk import admitted
from visnet.platform.errors import SettingsError, StoreError
from visnet.platform.index import IndexManifest, read_index
from visnet.platform.index_gather import ROWS, shard_directory
from visnet.platform.manifest import digest_of, has_manifest, read_manifest, write_manifest
from visnet.platform.progress import progress
from visnet.platform.recommendations import (
    RecommendationsManifest,
    part_counts,
    part_name,
    recommendations_directory,
)
from visnet.platform.rules import check_columns
from visnet.platform.settings import RecommendSettings
from visnet.platform.store import Store

RULES = ("same_category", "in_stock", "price_band", "price_column", "diversity", "candidates")
LAYOUT = ("k", "unit_products")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """How a pass went."""

    seconds: float = 0.0
    """0 if it stood already."""
    start_s: float = 0.0
    """Of these, until the shards were loaded."""
    computed: int = 0
    """Products, without those that an earlier pass left."""
    products_per_s: float = 0.0


def check(store: Store, index: IndexManifest, settings: RecommendSettings) -> None:
    """What can be found wrong before anything is computed.

    Raises:
        SettingsError: a rule that can't be applied to this index.
    """
    if settings.candidates is not None and settings.candidates < settings.k:
        raise SettingsError(f"candidates: expected at least k ({settings.k}), got {settings.candidates}")
    priced = settings.price_column if settings.price_band is not None else None
    if settings.in_stock is None and priced is None:
        return
    rows = store.path(f"{shard_directory(index.index, 0)}/{ROWS}")
    with store.filesystem.open_input_file(rows) as file:
        check_columns(pa.ipc.open_file(file).schema, in_stock=settings.in_stock, price=priced)


def recommend(store: Store, index: str, settings: RecommendSettings) -> tuple[RecommendationsManifest, Figures]:
    """Compute the recommendations of all products, on a connected Ray cluster.

    Raises:
        SettingsError: as `check`.
        StoreError: the index is not what its manifest says.
    """
    built = read_index(store, index)
    check(store, built, settings)
    if (manifest := finished_pass(store, built, settings)) is not None:
        return manifest, Figures()
    started = time.monotonic()
    cpus, gpus = settings.cpus_per_shard, settings.gpus_per_shard
    with (
        admitted(kind="recommend", least=built.shards, most=built.shards, cpus=cpus, gpus=gpus),
        OnRay(store, built, settings) as runner,
    ):
        return run_pass(store, built, settings, runner, started=started)


def finished_pass(store: Store, index: IndexManifest, settings: RecommendSettings) -> RecommendationsManifest | None:
    """What an earlier pass over the same by the same rules made; None if there is none, or it did not end."""
    directory = recommendations_directory(recommendations_id(index, settings))
    return read_manifest(store, directory, RecommendationsManifest) if has_manifest(store, directory) else None


def run_pass(
    store: Store, index: IndexManifest, settings: RecommendSettings, runner: Runner, *, started: float
) -> tuple[RecommendationsManifest, Figures]:
    """Compute the units that have no part yet, and publish.

    Args:
        started: when the pass began, by `time.monotonic`.
    """
    recommendations = recommendations_id(index, settings)
    shards = runner.shards
    sizes = shards.get([shards.call(shard, "sizes") for shard in range(index.shards)])
    units = plan_units([products for products, _, _ in sizes], settings.unit_products)
    if sum(products for products, _, _ in sizes) != index.products:
        raise StoreError(f"index {index.index} has not the {index.products} products that its manifest says")
    missing = _missing(store, recommendations, units)
    loaded = time.monotonic()
    done = 0
    if missing:
        fetch = probe_fetch(units[len(units) // 2], shards, settings, _first_fetch(sizes, settings))
        with progress("recommending", total=index.products, unit="products") as bar:
            bar.update(index.products - sum(unit.last - unit.first for unit in missing))
            for unit, _ in runner.write(missing, fetch, recommendations):
                done += unit.last - unit.first
                bar.update(unit.last - unit.first)
    manifest = _publish(store, index, settings, units)
    seconds = time.monotonic() - started
    return manifest, Figures(
        seconds=round(seconds, 2),
        start_s=round(loaded - started, 2),
        computed=done,
        products_per_s=round(done / seconds, 1),
    )


def recommendations_id(index: IndexManifest, settings: RecommendSettings) -> str:
    """The same for the same index, rules and layout."""
    return f"{index.index}-{digest_of(chosen(settings, LAYOUT + RULES))}"


def chosen(settings: RecommendSettings, names: tuple[str, ...]) -> dict[str, Any]:
    """Some of the settings; what has no effect is as if it were not set."""
    unused = {"price_column": settings.price_band is None, "candidates": not settings.diversity}
    given = {**dataclasses.asdict(settings), "candidates": wanted_candidates(settings)}
    return {name: None if unused.get(name) else given[name] for name in names}


def plan_units(products: list[int], unit_products: int) -> list[Unit]:
    """The runs of products of every shard, in order."""
    return [
        Unit(shard, part, first, last)
        for shard, count in enumerate(products)
        for part, (first, last) in enumerate(even_runs(count, unit_products))
    ]


def _missing(store: Store, recommendations: str, units: list[Unit]) -> list[Unit]:
    """The units without a part."""
    directories = {part_name(recommendations, unit.shard, 0).rpartition("/")[0] for unit in units}
    there = {f"{directory}/{name}" for directory in directories for name in store.names(directory)}
    return [unit for unit in units if part_name(recommendations, unit.shard, unit.part) not in there]


def _first_fetch(sizes: list[tuple[int, int, int]], settings: RecommendSettings) -> int:
    """Rows to look at for a query: what is wanted and the product itself, with all their images."""
    images = max(rows / max(1, products) for _, rows, products in sizes)
    return int((wanted_candidates(settings) + 1) * max(1.0, images)) + 1


def _publish(
    store: Store, index: IndexManifest, settings: RecommendSettings, units: list[Unit]
) -> RecommendationsManifest:
    """Count what the parts say they hold, and write the manifest."""
    recommendations = recommendations_id(index, settings)
    counts = [part_counts(store, part_name(recommendations, unit.shard, unit.part)) for unit in units]
    for unit, (products, _) in zip(units, counts, strict=True):
        if products != unit.last - unit.first:
            raise StoreError(
                f"{part_name(recommendations, unit.shard, unit.part)} has {products} products instead of "
                f"{unit.last - unit.first}: delete {recommendations_directory(recommendations)} and run again"
            )
    manifest = RecommendationsManifest(
        recommendations=recommendations,
        index=index.index,
        encoder_digest=index.encoder_digest,
        products=sum(products for products, _ in counts),
        k=settings.k,
        neighbours=sum(neighbours for _, neighbours in counts),
        parts=[sum(unit.shard == shard for unit in units) for shard in range(index.shards)],
        rules=chosen(settings, RULES),
        settings={name: value for name, value in dataclasses.asdict(settings).items() if name not in RULES},
    )
    _sweep(store, recommendations, index.shards)
    write_manifest(store, recommendations_directory(recommendations), manifest)
    return manifest


def _sweep(store: Store, recommendations: str, shards: int) -> None:
    """Delete what a killed writer left beside the parts."""
    for shard in range(shards):
        directory = part_name(recommendations, shard, 0).rpartition("/")[0]
        for name in store.names(directory):
            if name.endswith(".tmp"):
                store.filesystem.delete_file(store.path(f"{directory}/{name}"))
