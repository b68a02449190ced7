"""`visnet train` and `python -m visnet.train`: from a catalogue to an encoder."""

from __future__ import annotations

from typing import Any

import click
import yaml

from visnet.platform.catalog import open_catalog
from visnet.platform.command import Invocation, cluster_options, shared_options, where_option
from visnet.platform.networks import make_recipe
from visnet.platform.settings_file import revised


def assignments(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"expected NAME=VALUE, got {value!r}")
        try:
            found[name] = yaml.safe_load(content)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"{value!r} holds no YAML value: {error}") from None
    return found


@click.command()
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue to train on.")
@click.option("--split", help="Of the street photos, and of the shop pictures if they have a column split.")
@where_option
@click.option(
    "--examples",
    type=click.Choice(["photos", "images", "views"]),
    help="What to learn from; default: what the catalogue has, see below.",
)
@click.option("--triplets", metavar="ID", help="Learn from a table of `visnet triplets` instead.")
@click.option("--from", "base", metavar="ENCODER", help="Start from this encoder's weights: a second stage.")
@click.option("--recipe", help="The network: visnet-tiny, visnet, visnet-vgg16 or mildnet.")
@click.option("--recipe-option", "recipe_options", multiple=True, callback=assignments, metavar="NAME=VALUE")
@click.option("--steps", type=int, help="Steps at most.")
@click.option("--batch-size", type=int, help="Anchors in a step, over all workers.")
@click.option("--workers", type=int, help="Data-parallel workers, at most.")
@click.option("--min-workers", type=int, help="Elastic: start with so many and grow as nodes come.")
@click.option("--gpus-per-worker", type=float, help="0 trains on CPUs.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--checkpoint-every-steps", type=int, help="At most so many steps are lost with a worker.")
@click.option("--seed", type=int, help="Of weights, order, views and what is held out.")
@click.option("--set", "further", multiple=True, callback=assignments, metavar="NAME=VALUE", help="Any train setting.")
@cluster_options
@shared_options
def train(
    invocation: Invocation,
    catalog_name: str,
    split: str | None,
    where: tuple[str, str] | None,
    examples: str | None,
    triplets: str | None,
    base: str | None,
    address: str | None,
    fit: bool,
    further: dict[str, Any],
    **options: Any,
) -> None:
    """Train an encoder on a catalogue with Ray Train.

    What is learned from: street photos with their products' shop pictures, if the catalogue has photos; else products'
    pictures with each other, if most have several; else synthetic wild views with the picture they were made of. A part
    is held out to validate on; the best weights by it become the encoder.

    Without --address or RAY_ADDRESS a Ray cluster is started on this machine for the time of the training. A run that
    was killed goes on from its last checkpoint when the same command is given again; one that finished is not repeated.
    Curves for TensorBoard are kept beside the encoder.

    \b
    Examples:
      visnet train --catalog fashion-mnist --where split=train --fit
      visnet train --catalog shop --recipe visnet --workers 8
      visnet train --catalog street --split train --recipe visnet --from visnet-0123456789ab
      visnet train --catalog shop --set loss=info-nce --set precision=bfloat16 --set mine_every_steps=500
    """
    from visnet.train.examples import plan_examples
    from visnet.train.job import train_encoder

    catalog = open_catalog(invocation.store, catalog_name)
    plan = plan_examples(catalog, split=split, where=where, kind=examples, triplets=triplets)  # type: ignore[arg-type]
    given = {name: value for name, value in options.items() if value not in (None, {})} | further
    wanted = revised(invocation.settings.train, given, source="options", section="train")
    make_recipe(wanted.recipe, **wanted.recipe_options)  # what is wrong with it is said before a cluster is started
    with invocation.cluster(address):
        settings = revised(invocation.fitted(fit).train, given, source="options", section="train")
        manifest, stood = train_encoder(invocation.store, catalog, plan, settings, base=base)
    metrics = invocation.read_json(f"encoders/{manifest.encoder}/metrics.json")
    did = "stood already" if stood else f"trained in {metrics['seconds']:.0f} s"
    found = metrics["best_validation_recall"]
    best = f", best at step {metrics['best_step']} (validation recall {found:.3f})" if found is not None else ""
    invocation.report(
        {"encoder": manifest.encoder, "reused": stood, **metrics, "pretrained": manifest.pretrained},
        f"encoder {manifest.encoder} {did}: {metrics['steps']} steps from {manifest.pretrained}, "
        f"last loss {metrics['history'][-1]['loss']:.4f}{best}",
    )
