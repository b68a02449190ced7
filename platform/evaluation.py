"""The evaluation artifact: how an encoder did as search, beside its baselines.

evaluations/<encoder or baseline>-<digest>/manifest.json, report.html, contact-sheet.png

Every figure of one artifact is about the same queries and the same gallery. Shares are 0..1, higher is better.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from visnet.platform.index import read_index
from visnet.platform.manifest import Manifest, finished, read_manifest
from visnet.platform.metrics import Interval
from visnet.platform.store import Store


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Recall by product under one protocol: within the query's category, or in the whole gallery."""

    recall_at_k: dict[str, float]
    """By k, over all queries (micro mean); an unanswerable query is a miss."""
    recall_at_k_answerable: dict[str, float]
    """Over the queries whose product has a usable picture in what is searched; empty if there are none."""
    macro_recall_at_k: dict[str, float]
    """Mean over the queries' categories, each of the same weight; an unanswerable query is a miss."""
    unanswerable: int
    """Queries whose product has no usable picture in what is searched."""
    cmc: list[float]
    """Entry k - 1 is the recall at k, over all queries."""


@dataclass(frozen=True, kw_only=True)
class CategoryFigures:
    """One category of queries."""

    queries: int
    gallery: int
    """Usable pictures of that category in the gallery."""
    products: int
    """Products they show."""
    unanswerable: int
    """Within the category."""
    within_category: dict[str, float]
    """Recall by k, searched in the category alone."""
    whole_gallery: dict[str, float]
    """Recall by k, searched everywhere."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How one encoder did."""

    recall_at_k: dict[str, float]
    """By k; by product, in the whole gallery. What releases are compared by; the same as in `whole_gallery`."""
    category_precision_at_20: float | None
    """Share of the 20 nearest other products that have the picture's own category, over unaltered gallery pictures;
    None if there are no others."""
    whole_gallery: Reach | None = None
    within_category: Reach | None = None
    """The Street2Shop protocol: the gallery is the shop pictures of the query's category."""
    map_at_r: float | None = None
    """On pictures, in the whole gallery, over the answerable queries; None if there are none."""
    triplet_accuracy_in_class: float | None = None
    """With negatives from the query's category; None if there are no such triplets."""
    triplet_accuracy_out_of_class: float | None = None
    categories: dict[str, CategoryFigures] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was evaluated."""

    digest: str
    """Of its weights, recipe and preprocessing."""
    dimension: int
    image_size: int
    weights: str
    """Where its weights are from, in words."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the figures are about, and what had to be left out."""

    queries_found: int
    """Queries there were to choose from."""
    queries_chosen: int
    queries_unusable: int
    """Of those chosen: missing, undecodable, or with a box that is none. They are in no recall."""
    queries_without_box: int
    """Photos that have no box, used whole."""
    queries_without_category: int
    """Queries of a category that has no usable gallery picture; a miss within the category."""
    gallery_unusable: int
    """Gallery pictures that are missing or undecodable."""
    products: int
    """Products that can be found."""
    products_unusable: int
    """Products without one usable picture."""
    unusable_examples: list[str] = field(default_factory=list)
    """The first few of the unusable, with the reason."""


@dataclass(frozen=True, kw_only=True)
class EvaluationManifest(Manifest):
    """An encoder's evaluation on one catalogue, beside its baselines."""

    evaluation: str
    encoder: str
    """Its id, or a baseline's name."""
    encoder_digest: str
    catalog: str
    where: list[str] | None
    """Column and value of --where, as it was given."""
    gallery: int
    """Usable pictures searched."""
    queries: int
    """Queries asked."""
    queries_kind: str
    """In words."""
    queries_digest: str
    """The same digest means the same queries and gallery."""
    skipped: int
    """Gallery pictures left out because they can't be read or decoded."""
    settings: dict[str, Any]
    figures: Figures
    baselines: dict[str, Figures]
    """By the name of the encoder compared with."""
    kind: str = "synthetic"
    """photos, images or synthetic."""
    split: str | None = None
    """As it was given: of the photos, and of the gallery where it has such a column."""
    filters: list[str] = field(default_factory=list)
    """What the gallery was cut down to, from `where` and `split`, as column=value."""
    whole_photo: bool = False
    counts: Counts | None = None
    subjects: dict[str, Subject] = field(default_factory=dict)
    """The encoder and those compared with, by name."""
    differences: dict[str, dict[str, Interval]] = field(default_factory=dict)
    """Recall in the whole gallery, encoder minus the other, by the other's name and by k, with 95% intervals."""
    command: str = ""
    """Makes it again."""
    seconds: float = 0.0


def evaluation_directory(evaluation: str) -> str:
    return f"evaluations/{evaluation}"


def newest_evaluation(store: Store, index: str) -> dict[str, Any]:
    """What a release keeps of the last evaluation of an index's encoder; empty if there is none.

    `beside` has the recalls of the encoders and baselines that it was compared with, by name.
    """
    encoder = read_index(store, index).encoder
    names = [name for name in finished(store, "evaluations") if name.startswith(f"{encoder}-")]
    found = [read_manifest(store, evaluation_directory(name), EvaluationManifest) for name in names]
    if not found:
        return {}
    newest = max(found, key=lambda manifest: manifest.created_at)
    return {
        "evaluation": newest.evaluation,
        "queries_digest": newest.queries_digest,
        "queries_kind": newest.queries_kind,
        "recall_at_k": newest.figures.recall_at_k,
        "beside": {name: figures.recall_at_k for name, figures in newest.baselines.items()},
        "category_precision_at_20": newest.figures.category_precision_at_20,
    }
