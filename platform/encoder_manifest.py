"""What an encoder says of itself, for who has no need of its network: a service's ingress, a release's gates.

Reading it takes no torch, which is two seconds and half a gigabyte for each process.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from visnet.platform.errors import NotFoundError
from visnet.platform.manifest import Manifest, finished, has_manifest, read_manifest
from visnet.platform.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderManifest(Manifest):
    """What an encoder is and how it came to be."""

    encoder: str
    """Its id: recipe and the first digits of the digest."""
    digest: str
    """SHA-256 of weights, recipe and preprocessing."""
    recipe: dict[str, Any]
    dimension: int
    metric: str = "inner_product"
    pretrained: str = "none"
    """The weights that training started from."""
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The resolved settings and the catalogue of its training; empty if it was not trained."""
    training_key: str = ""
    """Digest of `training`: the same key is the same training run."""


def encoder_directory(name: str) -> str:
    return f"encoders/{name}"


def encoder_manifest(store: Store, name: str) -> EncoderManifest:
    """The manifest of an encoder.

    Raises:
        NotFoundError: no such encoder; the text lists what there is.
    """
    if not has_manifest(store, encoder_directory(name)):
        known = ", ".join(finished(store, "encoders")) or "none yet; make one with visnet train"
        raise NotFoundError(f"no encoder {name} in {store.location} (there is: {known})")
    return read_manifest(store, encoder_directory(name), EncoderManifest)


def newest_encoder(store: Store) -> EncoderManifest:
    """The encoder that was made last.

    Raises:
        NotFoundError: the store has none.
    """
    manifests = [encoder_manifest(store, name) for name in finished(store, "encoders")]
    if not manifests:
        raise NotFoundError(f"{store.location} has no encoder yet; make one with visnet train")
    return max(manifests, key=lambda manifest: manifest.created_at)
