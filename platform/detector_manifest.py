"""What a detector says of itself, for who has no need of its network; as `encoder_manifest`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from visnet.platform.errors import NotFoundError
from visnet.platform.manifest import Manifest, finished, has_manifest, read_manifest
from visnet.platform.store import Store


@dataclass(frozen=True, kw_only=True)
class DetectorManifest(Manifest):
    """What a detector is and how it came to be."""

    detector: str
    """Its id: recipe and the first digits of the digest."""
    digest: str
    """SHA-256 of weights, recipe and classes."""
    recipe: dict[str, Any]
    classes: list[str]
    """Categories of the catalogue, or just `product`."""
    catalog: str
    """The name of the catalogue whose products it finds."""
    min_confidence: float
    """Below it an item is not sure enough to be searched for: the best trade on what training held out."""
    pretrained: str = "none"
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    training_key: str = ""


def detector_directory(name: str) -> str:
    return f"detectors/{name}"


def detector_manifest(store: Store, name: str) -> DetectorManifest:
    """The manifest of a detector.

    Raises:
        NotFoundError: no such detector; the text lists what there is.
    """
    if not has_manifest(store, detector_directory(name)):
        known = ", ".join(finished(store, "detectors")) or "none yet; make one with visnet detector train"
        raise NotFoundError(f"no detector {name} in {store.location} (there is: {known})")
    return read_manifest(store, detector_directory(name), DetectorManifest)


def newest_detector(store: Store, catalog: str) -> DetectorManifest | None:
    """The detector that was made last for a catalogue, if there is any."""
    manifests = [detector_manifest(store, name) for name in finished(store, "detectors")]
    return max((one for one in manifests if one.catalog == catalog), key=lambda one: one.created_at, default=None)
