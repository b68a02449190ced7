"""Evaluation as search: an encoder and those beside it, asked the same queries of the same gallery.

Plan (what the catalogue has decides the queries), embed the gallery and the queries by all encoders in one pass,
search with the shard's own code, compare query by query, show. The result is an artifact of the store; asking for the
same again gives it back.
"""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from visnet.platform.catalog import Catalog
from visnet.platform.contact_sheet import contact_sheet
from visnet.platform.evaluation import Counts, EvaluationManifest, evaluation_directory
from visnet.platform.manifest import digest_of, has_manifest, read_manifest, write_manifest
from visnet.platform.metrics import NOT_FOUND, Interval, paired_bootstrap
from visnet.platform.settings import EvaluateSettings
from visnet.platform.store import Store
from visnet.train.evaluation.contenders import PRETRAINED, Contender, contenders
from visnet.train.evaluation.figures import DIGITS, Measured, Truth, find_truth, measure
from visnet.train.evaluation.gallery import Gallery, column, embed_gallery
from visnet.train.evaluation.plan import Plan, Request, make_plan
from visnet.train.evaluation.query_sets import QuerySet, make_queries
from visnet.train.evaluation.report import report
from visnet.train.evaluation.report_choice import EACH, example, hits_of, worst_misses
from visnet.train.evaluation.report_examples import load, sheet_row

REPORT, SHEET = "report.html", "contact-sheet.png"


@dataclasses.dataclass(frozen=True)
class _Asked:
    """All that one evaluation computed."""

    gallery: Gallery
    queries: QuerySet
    truth: Truth
    measured: dict[str, Measured]
    """By encoder, the one evaluated first."""


def evaluate(store: Store, catalog: Catalog, request: Request, settings: EvaluateSettings) -> EvaluationManifest:
    """Evaluate an encoder and write the result, with a report and a contact sheet, as an artifact.

    Raises:
        NotFoundError: no such encoder, split or attribute.
        CatalogError: the catalogue has no queries or no gallery for what was asked.
        ValueError: an encoder that can't be evaluated so.
    """
    started = time.monotonic()
    plan = make_plan(catalog, request, settings)
    named = contenders(store, request.encoder, request.against, settings, device=request.device)
    queries_digest = plan.digest(catalog, side=named[0].encoder.preprocessing.crop)
    digest = digest_of(queries_digest, [(one.name, one.subject.digest) for one in named], settings.ks)
    evaluation = f"{request.encoder}-{digest}"
    directory = evaluation_directory(evaluation)
    if has_manifest(store, directory):
        return read_manifest(store, directory, EvaluationManifest)
    asked = _ask(catalog, plan, named, settings, device=request.device)
    boxes = sum(box is not None for box in asked.queries.boxes)
    figures = {name: measured.figures for name, measured in asked.measured.items()}
    manifest = EvaluationManifest(
        evaluation=evaluation,
        encoder=request.encoder,
        encoder_digest=named[0].subject.digest,
        catalog=catalog.reference,
        where=list(request.where) if request.where else None,
        gallery=len(asked.gallery.rows),
        queries=len(asked.queries),
        queries_kind=plan.describe(boxes=boxes, of=len(asked.queries)),
        queries_digest=queries_digest,
        skipped=len(asked.gallery.selected) - len(asked.gallery.rows),
        settings=dataclasses.asdict(settings) | {"ks": list(settings.ks)},
        figures=figures.pop(request.encoder),
        baselines=figures,
        kind=plan.kind,
        split=request.split,
        filters=[f"{name}={value}" for name, value in plan.filters],
        whole_photo=plan.whole_photo,
        counts=_counts(asked),
        subjects={one.name: one.subject for one in named},
        differences=_differences(asked, settings),
        command=_command(catalog, request, plan, named, settings),
        seconds=round(time.monotonic() - started, 1),
    )
    _write_pictures(store, directory, manifest, asked, settings.seed)
    write_manifest(store, directory, manifest)
    return manifest


def _ask(
    catalog: Catalog, plan: Plan, named: Sequence[Contender], settings: EvaluateSettings, *, device: str
) -> _Asked:
    encoders = {one.name: one.encoder for one in named}
    gallery = embed_gallery(catalog, plan, encoders)
    queries = make_queries(catalog, plan, gallery, encoders)
    truth = find_truth(gallery, queries, seed=settings.seed)
    measured = {name: measure(name, gallery, queries, truth, settings.ks, device=device) for name in encoders}
    return _Asked(gallery, queries, truth, measured)


def _counts(asked: _Asked) -> Counts:
    gallery, queries = asked.gallery, asked.queries
    products, selected = set(gallery.products), set(column(gallery.selected, "product_id"))
    examples = [f"query {text}" for text in queries.examples] + [f"gallery {text}" for text in gallery.examples]
    return Counts(
        queries_found=queries.found,
        queries_chosen=queries.chosen,
        queries_unusable=queries.chosen - len(queries),
        queries_without_box=queries.without_box,
        queries_without_category=int((~np.isin(queries.categories, gallery.categories)).sum()),
        gallery_unusable=len(gallery.selected) - len(gallery.rows),
        products=len(products),
        products_unusable=len(selected - products),
        unusable_examples=examples,
    )


def _differences(asked: _Asked, settings: EvaluateSettings) -> dict[str, dict[str, Interval]]:
    """The encoder's recall minus each other one's, in the whole gallery."""
    first, *others = asked.measured
    return {
        other: {
            str(k): _rounded(
                paired_bootstrap(
                    _hits(asked.measured[first], k), _hits(asked.measured[other], k), seed=settings.seed + k
                )
            )
            for k in settings.ks
        }
        for other in others
    }


def _hits(measured: Measured, k: int) -> np.ndarray:
    rank_Q = measured.whole.rank_Q
    hit_Q: np.ndarray = (rank_Q != NOT_FOUND) & (rank_Q <= k)
    return hit_Q


def _rounded(interval: Interval) -> Interval:
    return Interval(**{name: round(value, DIGITS) for name, value in dataclasses.asdict(interval).items()})


def _command(
    catalog: Catalog, request: Request, plan: Plan, named: Sequence[Contender], settings: EvaluateSettings
) -> str:
    """What makes this evaluation again, spelled out, whatever the defaults then are."""
    options: list[tuple[str, Any]] = [("--catalog", catalog.manifest.name), ("--queries-kind", plan.kind)]
    options += [("--split", request.split)] if request.split else []
    options += [("--where", "=".join(request.where))] if request.where else []
    options += [("--encoder", request.encoder), *(("--against", one.name) for one in named[1:])]
    options += [("--queries", plan.queries)] if plan.queries else []
    options.append(("--seed", plan.seed))
    if PRETRAINED in [one.name for one in named]:
        options += [("--trunk", settings.trunk), ("--image-size", settings.image_size)]
    words = [str(word) for option in options for word in option]
    return shlex.join(["visnet", "eval", *words, *(["--whole-photo"] if plan.whole_photo else [])])


def _write_pictures(store: Store, directory: str, manifest: EvaluationManifest, asked: _Asked, seed: int) -> None:
    gallery, queries, truth = asked.gallery, asked.queries, asked.truth
    measured = asked.measured[manifest.encoder]
    hits = hits_of(measured, queries, seed=seed)
    misses, depth = worst_misses(measured, queries, truth, seed=seed)
    page = report(manifest, hits=load(hits, queries, gallery), misses=load(misses, queries, gallery), depth=depth)
    store.write(f"{directory}/{REPORT}", page.encode())
    even = range(0, len(queries), max(1, len(queries) // EACH))[:EACH]
    shown = load([example(measured, queries, query) for query in even], queries, gallery)
    title = f"{manifest.encoder}: {manifest.queries_kind}, and what they found among {manifest.gallery:,} pictures"
    store.write(f"{directory}/{SHEET}", contact_sheet([sheet_row(one) for one in shown], title=title))
