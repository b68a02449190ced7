"""`visnet embed | index | recommend | fold` and `python -m visnet.batch`: from a catalogue to what is served."""

from __future__ import annotations

import click

from visnet.batch.fold_cli import fold
from visnet.batch.index_cli import index
from visnet.batch.options import encoder_option
from visnet.batch.recommend_cli import recommend
from visnet.platform.catalog import open_catalog
from visnet.platform.command import Invocation, cluster_options, overridden, shared_options
from visnet.platform.encoder_manifest import newest_encoder


@click.command()
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue to embed.")
@encoder_option
@click.option("--actors", type=int, help="Processes that run the network.")
@click.option("--gpus-per-actor", type=float, help="0 runs on CPUs.")
@click.option("--batch-size", type=int, help="Images per forward pass.")
@click.option("--retry-quarantined", is_flag=True, help="Try again what a finished pass left in quarantine.")
@click.option("--trust-uris/--read-uris", default=None, help="A uri that was read before is the same picture.")
@cluster_options
@shared_options
def embed(
    invocation: Invocation,
    catalog_name: str,
    encoder: str | None,
    actors: int | None,
    gpus_per_actor: float | None,
    batch_size: int | None,
    retry_quarantined: bool,
    trust_uris: bool | None,
    address: str | None,
    fit: bool,
) -> None:
    """Embed a catalogue with Ray Data.

    Only pictures whose bytes this encoder has not seen yet are computed, in whatever catalogue that was. Those that
    can't be used go to the quarantine with the reason (quarantine.parquet beside the vectors); all are accounted for.
    A pass that was killed goes on where it was; one that finished is not repeated.
    """
    from visnet.batch.embed import embed as run

    store = invocation.store
    catalog = open_catalog(store, catalog_name)
    encoder = encoder or newest_encoder(store).encoder
    with invocation.cluster(address):
        settings = invocation.fitted(fit).embed
        chosen = overridden(settings, actors=actors, gpus_per_actor=gpus_per_actor, batch_size=batch_size)
        chosen = overridden(chosen, trust_uris=trust_uris)
        manifest, figures = run(store, catalog, encoder, chosen, retry=retry_quarantined)
    invocation.report(
        {
            "encoder": encoder,
            "catalog": catalog.reference,
            "images": manifest.images,
            "embedded": manifest.embedded,
            "vectors_reused": manifest.reused,
            "quarantined": manifest.quarantined,
            "reused": figures["seconds"] == 0,
            **figures,
        },
        f"{manifest.images:,} images: {manifest.embedded:,} embedded, {manifest.reused:,} reused, "
        f"{manifest.quarantined:,} in quarantine",
    )


@click.group()
def batch() -> None:
    """The catalogue pass, the index build, the recommendation pass, and all of them with what was written live."""


batch.add_command(embed)
batch.add_command(index)
batch.add_command(recommend)
batch.add_command(fold)
