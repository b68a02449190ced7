"""`visnet detector`: find the items in a photo, without box labels or with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from visnet.platform.catalog import open_catalog
from visnet.platform.catalog_rows import Skipped
from visnet.platform.command import Invocation, cluster_options, overridden, shared_options, where_option
from visnet.platform.detector_manifest import detector_directory
from visnet.platform.settings_file import revised
from visnet.train.cli import assignments


@click.group()
def detector() -> None:
    """Detectors: they find the items in a photo, so that these are searched for and not the whole photo."""


@detector.command("import")
@click.argument("name")
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--images", required=True, type=click.Path(path_type=Path), help="The folder of the pictures.")
@shared_options
def import_(invocation: Invocation, name: str, annotations: Path, images: Path) -> None:
    """Import photos with boxes from a COCO-style JSON, to train a detector on or to measure it by.

    \b
    Example:
      visnet detector import shelf annotations/instances.json --images photos/
    """
    from visnet.platform.importers.coco import read_coco
    from visnet.platform.labelled import write_labelled

    skipped: list[Skipped] = []
    rows = read_coco(annotations, images, skipped)
    manifest = write_labelled(invocation.store, name, str(annotations.absolute()), rows, skipped)
    left_out = "".join(f"\n  left out: {count:,} x {reason}" for reason, count in manifest.skipped.items())
    invocation.report(
        dataclasses.asdict(manifest),
        f"labelled photos {name}: {manifest.photos:,} photos, {manifest.boxes:,} boxes of "
        f"{len(manifest.categories)} categories{left_out}",
    )


@detector.command()
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue whose products to find.")
@where_option
@click.option("--photos", metavar="SPLIT", help="Learn from this split's street photos too: boxes, and backgrounds.")
@click.option("--labelled", metavar="NAME", help="Learn from labelled photos too (visnet detector import).")
@click.option("--recipe", help="The network: fcos-lite or faster-rcnn.")
@click.option("--recipe-option", "recipe_options", multiple=True, callback=assignments, metavar="NAME=VALUE")
@click.option("--classes", type=click.Choice(["categories", "product"]), help="What it tells apart.")
@click.option("--steps", type=int, help="Steps at most.")
@click.option("--batch-size", type=int, help="Scenes in a step, over all workers.")
@click.option("--workers", type=int, help="Data-parallel workers, at most.")
@click.option("--gpus-per-worker", type=float, help="0 trains on CPUs.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--seed", type=int, help="Of the choice of products, of scenes and of what is held out.")
@click.option(
    "--set", "further", multiple=True, callback=assignments, metavar="NAME=VALUE", help="Any detector setting."
)
@cluster_options
@shared_options
def train(
    invocation: Invocation,
    catalog_name: str,
    where: tuple[str, str] | None,
    photos: str | None,
    labelled: str | None,
    address: str | None,
    fit: bool,
    further: dict[str, Any],
    **options: Any,
) -> None:
    """Train a detector with Ray Train, without a single drawn box.

    Shop pictures have plain backgrounds, so products cut themselves out; several are laid over clutter, turned, hidden
    in part, blurred, and where they are is known. Boxes that somebody drew join in: of the catalogue's street photos,
    or of labelled photos. Some products are held out to validate on; the best weights by AP50 become the detector, and
    the confidence from which on it is believed is chosen on the same scenes.

    A run that was killed goes on from its last checkpoint when the same command is given again.

    \b
    Examples:
      visnet detector train --catalog shop --fit
      visnet detector train --catalog shop --recipe faster-rcnn --workers 4
      visnet detector train --catalog street --photos train --fit
      visnet detector train --catalog grocery --classes product --labelled shelf --set labelled_share=0.5
    """
    from visnet.train.detection.job import Learned, train_detector

    if photos and labelled:
        raise click.UsageError("give --photos or --labelled, not both")
    catalog = open_catalog(invocation.store, catalog_name)
    if photos:
        catalog.photos(["split"], split=photos)  # raises where there is no such split
    learned = Learned(where=(where,) if where else (), photos=photos, labelled=labelled)
    given = {name: value for name, value in options.items() if value not in (None, {})} | further
    revised(invocation.settings.detector, given, source="options", section="detector")  # said before a cluster starts
    with invocation.cluster(address):
        settings = revised(invocation.fitted(fit).detector, given, source="options", section="detector")
        manifest, stood = train_detector(invocation.store, catalog, learned, settings)
    metrics = invocation.read_json(f"{detector_directory(manifest.detector)}/metrics.json")
    held_out = metrics["held_out"]
    did = "stood already" if stood else f"trained in {metrics['seconds']:.0f} s"
    invocation.report(
        {"detector": manifest.detector, "reused": stood, **metrics, "pretrained": manifest.pretrained},
        f"detector {manifest.detector} {did}: {metrics['steps']} steps from {manifest.pretrained}; held out: "
        f"AP50 {_share(held_out['ap50'])} ({_share(held_out['found_ap50'])} whatever the category), "
        f"AP50:95 {_share(held_out['ap50_95'])}; believed from confidence {manifest.min_confidence:.2f} on",
    )


@detector.command("eval")
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue that is searched.")
@click.option("--split", metavar="SPLIT", help="Of the street photos that are asked; the gallery's, if it has such.")
@where_option
@click.option("--detector", "name", metavar="ID", help="Default: the catalogue's newest.")
@click.option("--encoder", metavar="ID", help="What searches; default: the newest encoder of the store.")
@click.option("--labelled", metavar="NAME", help="Measure AP on labelled photos too.")
@click.option("--queries", type=click.IntRange(min=1), default=1_000, show_default=True, help="At most so many.")
@click.option("--seed", type=int, help="Of scenes and choices.")
@click.option("--device", help="cpu, cuda or cuda:N; default: a GPU if there is one.")
@shared_options
def evaluate(invocation: Invocation, catalog_name: str, **options: Any) -> None:
    """Measure what a detector finds, and what that is worth to a search.

    AP50 and AP50:95 on scenes composed of the gallery's products, and on labelled photos. Then recall, with the whole
    photo, with what is detected, and with the true box where it is known: of the street photos of --split, or of
    composed scenes if there are none. A release that has this detector searches for items by default only if that is no
    worse than searching for the whole photo here.

    \b
    Examples:
      visnet detector eval --catalog fashion-mnist --where split=test
      visnet detector eval --catalog grocery --split val --queries 296
    """
    from visnet.train.detection.evaluate import Request, evaluate_detector, text_table

    request = Request.of(invocation.store, open_catalog(invocation.store, catalog_name), **options)
    settings = overridden(invocation.settings.detector, seed=options["seed"])
    manifest, report = evaluate_detector(invocation.store, request, settings, invocation.settings.serve.detection)
    lines = [*text_table(manifest), f"report: {report}"]
    invocation.report({**dataclasses.asdict(manifest), "report": report}, "\n".join(lines))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
