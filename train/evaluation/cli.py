"""`visnet eval`: how well an encoder finds what a photo shows."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from visnet.platform.allocator import keep_freed_memory
from visnet.platform.catalog import open_catalog
from visnet.platform.command import Invocation, overridden, shared_options, where_option
from visnet.platform.encoder_manifest import newest_encoder
from visnet.platform.evaluation import EvaluationManifest, Reach, evaluation_directory


@click.command("eval")
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue that is the gallery.")
@click.option("--split", metavar="SPLIT", help="The photos' split; the gallery's too, if it has such a column.")
@where_option
@click.option("--encoder", metavar="ID|BASELINE", help="Default: the newest encoder of the store.")
@click.option("--against", multiple=True, metavar="ID|BASELINE", help="Compare with; repeatable.")
@click.option("--queries-kind", type=click.Choice(["photos", "images", "synthetic"]), help="Default: see above.")
@click.option("--whole-photo", is_flag=True, help="Do not crop photos to their boxes.")
@click.option("--queries", type=click.IntRange(min=1), help="At most so many queries, a seeded choice.")
@click.option("--seed", type=int, help="Of every choice.")
@click.option("--trunk", help="The network of the baseline pretrained.")
@click.option("--image-size", type=int, help="Side of the pictures that the baseline pretrained sees.")
@click.option("--device", help="cpu, cuda or cuda:N; default: a GPU if there is one.")
@shared_options
def evaluate(
    invocation: Invocation,
    catalog_name: str,
    split: str | None,
    where: tuple[str, str] | None,
    encoder: str | None,
    against: tuple[str, ...],
    queries_kind: Any,
    whole_photo: bool,
    device: str | None,
    **options: Any,
) -> None:
    """Evaluate an encoder as a shop's search, and write a report.

    The queries are the photos of a split, if the catalogue has photos, each cropped to its box; else every picture of
    a product with several, left out of its own search; else synthetic: wild views (moved, turned, scaled, partly
    covered, noisy, on clutter) of gallery products. Use a part of the catalogue that training did not see.

    BASELINE is one of: pretrained (a published trunk's features), histogram (colours), pixels, untrained (the
    encoder's own network with fresh weights). An encoder is compared with pixels and untrained unless --against says
    otherwise.

    \b
    Examples:
      visnet eval --catalog fashion-mnist --split test
      visnet eval --catalog grocery --split val --against pretrained --against histogram
      visnet eval --catalog grocery --split val --encoder pretrained --whole-photo
    """
    from visnet.train.evaluation.evaluate import REPORT, SHEET
    from visnet.train.evaluation.evaluate import evaluate as run
    from visnet.train.evaluation.plan import Request

    keep_freed_memory()
    store = invocation.store
    request = Request(
        encoder=encoder or newest_encoder(store).encoder,
        against=against or None,
        split=split,
        where=where,
        whole_photo=whole_photo,
        kind=queries_kind,
        device=device or default_device(),
    )
    chosen = overridden(invocation.settings.evaluate, **options)
    manifest = run(store, open_catalog(store, catalog_name), request, chosen)
    directory = evaluation_directory(manifest.evaluation)
    paths = {"report": store.path(f"{directory}/{REPORT}"), "contact_sheet": store.path(f"{directory}/{SHEET}")}
    lines = [*text_table(manifest), f"report: {paths['report']}", f"contact sheet: {paths['contact_sheet']}"]
    invocation.report({**dataclasses.asdict(manifest), **paths}, "\n".join(lines))


def default_device() -> str:
    """A GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def text_table(manifest: EvaluationManifest) -> list[str]:
    """The figures in lines: a line for each encoder, then the differences."""
    named = {manifest.encoder: manifest.figures, **manifest.baselines}
    width = max(len(name) for name in named)
    marks = "".join(f"{f'@{k}':>7}" for k in manifest.figures.recall_at_k)
    lines = [
        f"{manifest.queries:,} {manifest.queries_kind}; gallery of {manifest.gallery:,} pictures",
        *_left_out(manifest),
        f"{'recall':{width}}  {'whole gallery':^{len(marks)}}  {'within category':^{len(marks)}}",
        f"{'':{width}}  {marks}  {marks}   MAP@R  category precision@20",
    ]
    for name, figures in named.items():
        recalls = "  ".join(_recalls(reach) for reach in (figures.whole_gallery, figures.within_category))
        others = f"{_share(figures.map_at_r):>8}{_share(figures.category_precision_at_20):>10}"
        lines.append(f"{name:{width}}  {recalls}{others}")
    for name, by_k in manifest.differences.items():
        k, one = next(iter(by_k.items()))
        lines.append(
            f"recall@{k} against {name}: {one.difference:+.3f}, 95% interval {one.low:+.3f} to {one.high:+.3f}"
        )
    return lines


def _left_out(manifest: EvaluationManifest) -> list[str]:
    """What is not in the figures, or counts against them; no line if there is nothing."""
    counts, reach = manifest.counts, manifest.figures.whole_gallery
    if counts is None or reach is None:
        return []
    told = {
        f"of {counts.queries_found:,} queries {counts.queries_chosen:,} chosen": counts.queries_found
        - counts.queries_chosen,
        f"unusable: {counts.queries_unusable:,} query pictures": counts.queries_unusable,
        f"unusable: {counts.gallery_unusable:,} gallery pictures": counts.gallery_unusable,
        f"products without a usable picture: {counts.products_unusable:,}": counts.products_unusable,
        f"unanswerable, counted as misses: {reach.unanswerable:,} queries": reach.unanswerable,
    }
    return [text for text, count in told.items() if count]


def _recalls(reach: Reach | None) -> str:
    return "".join(f"{value:7.3f}" for value in reach.recall_at_k.values()) if reach else ""


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
