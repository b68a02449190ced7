"""`visnet recommend`: every product's most similar others, by the rules of the shop."""

from __future__ import annotations

import dataclasses

import click

from visnet.platform.command import Invocation, cluster_options, shared_options
from visnet.platform.settings import RecommendSettings
from visnet.platform.settings_file import revised


@click.command()
@click.option("--index", "index_name", metavar="ID", help="Default: the newest.")
@click.option("--k", type=int, help="Neighbours kept for every product.")
@click.option("--same-category/--any-category", default=None, help="Only neighbours of the product's category.")
@click.option("--in-stock", metavar="COLUMN", help="Recommend only what is in stock: true, or above 0.")
@click.option("--price-band", type=float, metavar="SHARE", help="Prices within this share of the product's own.")
@click.option("--price-column", metavar="COLUMN", help="Default: price.")
@click.option("--diversity", type=float, metavar="SHARE", help="0 the most similar, 1 the most different candidates.")
@click.option("--candidates", type=int, help="What --diversity chooses from. Default: 5 times k.")
@click.option("--batch-size", type=int, help="Products searched at once.")
@cluster_options
@shared_options
def recommend(
    invocation: Invocation, index_name: str | None, address: str | None, fit: bool, **options: int | float | str | None
) -> None:
    """Compute every product's most similar others, for an index.

    A product, its own images and pictures that are the same as one of them are not recommended to it, and no picture
    is recommended twice. A pass that was killed goes on where it was; one that finished is not repeated. Other rules
    make other recommendations, beside those there are.
    """
    from visnet.batch.recommend import Figures, check, finished_pass
    from visnet.batch.recommend import recommend as run
    from visnet.platform.index import newest_index, read_index

    store = invocation.store
    index = read_index(store, index_name) if index_name else newest_index(store)
    given = {name: value for name, value in options.items() if value is not None}
    settings = revised(invocation.settings.recommend, given, source="options", section="recommend")
    check(store, index, settings)
    manifest, figures = finished_pass(store, index, settings), Figures()
    if manifest is None:
        with invocation.cluster(address):
            manifest, figures = run(store, index.index, fitted(settings, index.shards, invocation) if fit else settings)
    invocation.report(
        {
            "recommendations": manifest.recommendations,
            "products": manifest.products,
            "k": manifest.k,
            "neighbours": manifest.neighbours,
            "rules": manifest.rules,
            "reused": figures.seconds == 0,
            **dataclasses.asdict(figures),
        },
        f"recommendations {manifest.recommendations}: {manifest.products:,} products, up to {manifest.k} each",
    )


def fitted(settings: RecommendSettings, shards: int, invocation: Invocation) -> RecommendSettings:
    """The settings with a shard's process as large as the connected cluster has room for beside the others."""
    cpus, gpus = invocation.cluster_size()
    return resized(settings, shards, cpus=cpus, gpus=gpus)


def resized(settings: RecommendSettings, shards: int, *, cpus: int, gpus: int) -> RecommendSettings:
    """The settings for so many shards on so many CPU cores and GPUs; what Ray takes of a CPU above one is whole."""
    each = cpus / shards if shards >= cpus else float(cpus // shards)
    if not gpus:
        return dataclasses.replace(settings, gpus_per_shard=0.0, cpus_per_shard=each)
    share = min(settings.gpus_per_shard, gpus / shards)
    return dataclasses.replace(settings, gpus_per_shard=share, cpus_per_shard=min(settings.cpus_per_shard, each))
