"""The evaluation artifact: how an encoder did as search, beside its baselines.

evaluations/<encoder>-<queries digest>/manifest.json, contact-sheet.png
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from visnet.platform.index import read_index
from visnet.platform.manifest import Manifest, finished, read_manifest
from visnet.platform.store import Store


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How one encoder did."""

    recall_at_k: dict[str, float]
    """By k; product-level, over the synthetic queries."""
    category_precision_at_20: float
    """Share of the 20 nearest others that have the picture's own category, over unaltered gallery pictures."""


@dataclass(frozen=True, kw_only=True)
class EvaluationManifest(Manifest):
    """An encoder's evaluation on one catalogue, beside its baselines."""

    evaluation: str
    encoder: str
    encoder_digest: str
    catalog: str
    where: list[str] | None
    gallery: int
    """Products searched."""
    queries: int
    queries_kind: str
    queries_digest: str
    """The same digest means the same queries and gallery."""
    skipped: int
    """Pictures left out because they can't be decoded."""
    settings: dict[str, Any]
    figures: Figures
    baselines: dict[str, Figures]


def newest_evaluation(store: Store, index: str) -> dict[str, Any]:
    """What a release keeps of the last evaluation of an index's encoder; empty if there is none."""
    encoder = read_index(store, index).encoder
    names = [name for name in finished(store, "evaluations") if name.startswith(f"{encoder}-")]
    found = [read_manifest(store, f"evaluations/{name}", EvaluationManifest) for name in names]
    if not found:
        return {}
    newest = max(found, key=lambda manifest: manifest.created_at)
    return {
        "evaluation": newest.evaluation,
        "queries_digest": newest.queries_digest,
        "queries_kind": newest.queries_kind,
        **asdict(newest.figures),
    }
