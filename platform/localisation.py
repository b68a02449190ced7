"""The localisation artifact: what a detector finds, and what that is worth to the searches of an encoder.

localisations/<detector>-<digest>/manifest.json, report.html, sheet.png

Shares are 0..1, higher is better.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from visnet.platform.detector_manifest import detector_manifest, newest_detector
from visnet.platform.manifest import Manifest, finished, read_manifest
from visnet.platform.metrics import Interval
from visnet.platform.release import Localisation
from visnet.platform.store import Store

WHOLE, DETECTED, NARROWED, CHOSEN, TRUE_BOX = "whole photo", "detected", "detected, narrowed", "chosen", "true box"
WAYS = {
    WHOLE: "the whole photo",
    DETECTED: "the most prominent item found, or the whole photo if there is none",
    NARROWED: "the same, with products of its likely categories brought forward",
    CHOSEN: "the item found where the product is, as if a shopper chose it; the whole photo if there is none",
    TRUE_BOX: "the box that the product really has",
}
DECIDING_K = 10
"""Searches by default for the items found, if recall at this k is no worse than with the whole photo."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Recall of one way to search."""

    recall_at_k: dict[str, float]
    """By k, by product, in the whole gallery."""
    against_whole: dict[str, Interval] = field(default_factory=dict)
    """By k: this recall minus that of the whole photo, on the same queries, with a 95% interval."""


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """What likely categories change at one weight, at `DECIDING_K`."""

    recall_at_k: dict[str, float]
    gained: int
    """Queries whose product comes among the first k."""
    lost: int
    """Queries whose product was among them."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One kind of queries."""

    queries: int
    about: str
    """In words."""
    located: dict[str, int]
    """Queries by what was found in them: items, nothing, or only unsure ones."""
    ways: dict[str, Reached]
    """By the names of `WAYS`, as far as they apply."""
    weights: dict[str, Weighed]
    """By `category_weight`."""


@dataclass(frozen=True, kw_only=True)
class LocalisationManifest(Manifest):
    """A detector's measurement with one encoder on one catalogue."""

    localisation: str
    detector: str
    detector_digest: str
    encoder: str
    encoder_digest: str
    catalog: str
    gallery: int
    """Pictures searched."""
    precision: dict[str, dict[str, Any]]
    """AP on composed scenes and on labelled photos, by their names: see `average_precision.Precision`."""
    asked: dict[str, Asked]
    """Recall by kind of queries. The first decides what a release does by default."""
    settings: dict[str, Any]
    command: str
    seconds: float = 0.0

    @property
    def helps(self) -> bool:
        """Whether searching for what is found is no worse than searching for the whole photo."""
        ways = next(iter(self.asked.values())).ways
        k = str(DECIDING_K)
        return ways[NARROWED].recall_at_k[k] >= ways[WHOLE].recall_at_k[k]


def localisation_directory(localisation: str) -> str:
    return f"localisations/{localisation}"


def newest_localisation(store: Store, detector: str, encoder: str) -> LocalisationManifest | None:
    """The last measurement of a detector with an encoder, if there is any."""
    names = [name for name in finished(store, "localisations") if name.startswith(f"{detector}-")]
    found = [read_manifest(store, localisation_directory(name), LocalisationManifest) for name in names]
    with_it = [manifest for manifest in found if manifest.encoder == encoder]
    return max(with_it, key=lambda manifest: manifest.created_at, default=None)


def for_release(
    store: Store, *, catalog: str, encoder: str, detector: str | None, by_default: bool | None
) -> Localisation | None:
    """The detector of a release, with what is known of it.

    Args:
        detector: its id; None: the catalogue's newest, if there is any.
        by_default: whether photos are searched for their items; None: what the newest measurement says, and yes where
            nothing was measured.

    Raises:
        NotFoundError: no such detector.
    """
    found = newest_detector(store, catalog) if detector is None else detector_manifest(store, detector)
    if found is None:
        return None
    measured = newest_localisation(store, found.detector, encoder)
    helps = measured is None or measured.helps
    return Localisation(
        detector=found.detector,
        measured={} if measured is None else summary(measured),
        by_default=helps if by_default is None else by_default,
    )


def summary(manifest: LocalisationManifest) -> dict[str, Any]:
    """What a release keeps of it."""
    name, asked = next(iter(manifest.asked.items()))
    return {
        "localisation": manifest.localisation,
        "queries": name,
        "recall_at_k": {way: reached.recall_at_k for way, reached in asked.ways.items()},
        "helps": manifest.helps,
    }
