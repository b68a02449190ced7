"""`visnet train` and `python -m visnet.train`: from a catalogue to an encoder."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from visnet.platform.catalog import open_catalog
from visnet.platform.command import Invocation, cluster_options, overridden, shared_options, where_option
from visnet.platform.encoder import newest_encoder


@click.command()
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue to train on.")
@where_option
@click.option("--recipe", help="The network: visnet-tiny, visnet or visnet-vgg16.")
@click.option("--steps", type=int, help="Steps in all.")
@click.option("--batch-size", type=int, help="Products in a step, over all workers.")
@click.option("--workers", type=int, help="Data-parallel workers.")
@click.option("--gpus-per-worker", type=float, help="0 trains on CPUs.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--checkpoint-every-steps", type=int, help="At most so many steps are lost with a worker.")
@click.option("--seed", type=int, help="Of weights, order and views.")
@cluster_options
@shared_options
def train(
    invocation: Invocation,
    catalog_name: str,
    where: tuple[str, str] | None,
    address: str | None,
    fit: bool,
    **options: Any,
) -> None:
    """Train an encoder on a catalogue with Ray Train.

    Without --address or RAY_ADDRESS a Ray cluster is started on this machine for the time of the training. A run that
    was killed goes on from its last checkpoint when the same command is given again; one that finished is not repeated.

    \b
    Examples:
      visnet train --catalog fashion-mnist --where split=train --fit
      visnet train --catalog shop --recipe visnet --workers 8
    """
    from visnet.train.job import train_encoder

    catalog = open_catalog(invocation.store, catalog_name)
    with invocation.cluster(address):
        settings = invocation.fitted(fit)
        chosen = overridden(settings.train, **options)
        manifest, stood = train_encoder(invocation.store, catalog, chosen, where=where)
    metrics = invocation.read_json(f"encoders/{manifest.encoder}/metrics.json")
    did = "stood already" if stood else f"trained in {metrics['seconds']:.0f} s"
    invocation.report(
        {"encoder": manifest.encoder, "reused": stood, **metrics, "pretrained": manifest.pretrained},
        f"encoder {manifest.encoder} {did}: {metrics['steps']} steps, last loss {metrics['history'][-1]['loss']}",
    )


@click.command("eval")
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue that is the gallery.")
@where_option
@click.option("--encoder", metavar="ID", help="Default: the newest.")
@click.option("--queries", type=int, help="Synthetic photos to look up.")
@click.option("--seed", type=int, help="Of the photos.")
@shared_options
def evaluate(
    invocation: Invocation,
    catalog_name: str,
    where: tuple[str, str] | None,
    encoder: str | None,
    **options: Any,
) -> None:
    """Evaluate an encoder as search, beside raw pixels and the untrained network.

    The queries are synthetic: wild views (moved, turned, scaled, partly covered, noisy, on clutter) of gallery
    products. Use a part of the catalogue that training did not see.

    \b
    Example:
      visnet eval --catalog fashion-mnist --where split=test
    """
    from visnet.train.evaluate import evaluate as run

    store = invocation.store
    catalog = open_catalog(store, catalog_name)
    chosen = overridden(invocation.settings.evaluate, **options)
    manifest = run(store, catalog, encoder or newest_encoder(store).encoder, chosen, where=where)
    table = {"encoder": manifest.figures, **manifest.baselines}
    lines = [f"{manifest.queries:,} {manifest.queries_kind}, gallery of {manifest.gallery:,}"]
    for name, figures in table.items():
        recalls = "  ".join(f"recall@{k} {value:.3f}" for k, value in figures.recall_at_k.items())
        lines.append(f"{name:10} {recalls}  category precision@20 {figures.category_precision_at_20:.3f}")
    sheet = f"evaluations/{manifest.evaluation}/contact-sheet.png"
    invocation.report(
        {**dataclasses.asdict(manifest), "contact_sheet": invocation.store.path(sheet)},
        "\n".join([*lines, f"contact sheet: {invocation.store.path(sheet)}"]),
    )
