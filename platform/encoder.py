"""The encoder: from image bytes to a unit vector, the one way there is.

Decoding, preprocessing, network and normalisation are one class, used alike by training, evaluation, the catalogue
pass and the service. Its digest covers the weights and the preprocessing; vectors carry it, and nothing compares
vectors of two digests.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from visnet.platform.encoder_manifest import EncoderManifest, encoder_directory, encoder_manifest
from visnet.platform.errors import DigestMismatchError
from visnet.platform.imaging import Box
from visnet.platform.manifest import write_manifest
from visnet.platform.networks import Recipe, describe_recipe, make_recipe
from visnet.platform.store import Store
from visnet.platform.weights import network_digest, read_weights, write_weights

# B batch, C channels, H height, W width, D embedding


class Encoder:
    """Image bytes -> `embedding_BD`, float32, unit length (or as the recipe normalises).

    Args:
        recipe: what the network is.
        network: its network; fresh weights if left out.
        device: where it runs.
    """

    def __init__(self, recipe: Recipe, network: nn.Module | None = None, *, device: str = "cpu") -> None:
        self.recipe = recipe
        self.preprocessing = recipe.preprocessing
        self.device = torch.device(device)
        self.network = (network or recipe.build()).to(self.device).eval()
        self._mean_C11 = torch.tensor(self.preprocessing.mean, device=self.device)[:, None, None]
        self._std_C11 = torch.tensor(self.preprocessing.std, device=self.device)[:, None, None]

    def pixels(self, data: bytes, *, box: Box | None = None) -> np.ndarray:
        """One image, or the part of it in a box, as the network will see it: uint8, (crop, crop, 3).

        Raises:
            ImageError: the bytes can't be used as an image.
            ValueError: the box is empty or reaches beyond the image.
        """
        return self.preprocessing.pixels(data, box=box)

    def pixels_of(self, image: Image.Image, *, box: Box | None = None) -> np.ndarray:
        """As `pixels`, of an image that is decoded already (see `Preprocessing.decoded_for_parts`)."""
        return self.preprocessing.square(image) if box is None else self.preprocessing.part(image, box)

    def normalise(self, pixel_BCHW: Tensor) -> Tensor:
        """uint8 pixels -> the network's float input, on the encoder's device."""
        return (pixel_BCHW.to(self.device).float() / 255 - self._mean_C11) / self._std_C11

    @torch.inference_mode()
    def encode_pixels(self, pixel_BHWC: np.ndarray, *, batch_size: int = 256, bfloat16: bool = False) -> np.ndarray:
        """Embed decoded images.

        Args:
            pixel_BHWC: uint8, as `pixels` gives them, stacked.
            batch_size: images per forward pass.
            bfloat16: mixed precision; faster, and its vectors differ in the third digit.

        Returns:
            float32, (B, D).
        """
        embeddings = [torch.empty((0, self.recipe.dimension), device=self.device)]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            for start in range(0, len(pixel_BHWC), batch_size):
                pixel_BCHW = torch.from_numpy(np.array(pixel_BHWC[start : start + batch_size])).permute(0, 3, 1, 2)
                embeddings.append(self.network(self.normalise(pixel_BCHW)).float())
        return torch.cat(embeddings).cpu().numpy()  # a GPU goes on while the host prepares the next batch

    def encode(self, images: Sequence[bytes], *, batch_size: int = 256) -> np.ndarray:
        """Embed encoded images: float32, (B, D).

        Raises:
            ImageError: one of them can't be used as an image.
        """
        size = self.preprocessing.crop
        pixels = [self.pixels(image) for image in images]
        return self.encode_pixels(np.stack(pixels) if pixels else np.empty((0, size, size, 3)), batch_size=batch_size)

    def digest(self) -> str:
        """SHA-256, hex, of the recipe, the preprocessing and every weight by name."""
        return network_digest(self.network, _description(self.recipe))


def save_encoder(
    store: Store,
    encoder: Encoder,
    *,
    pretrained: str = "none",
    training: dict[str, Any] | None = None,
    training_key: str = "",
    metrics: dict[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> EncoderManifest:
    """Write an encoder as an artifact: weights and metrics first, the manifest last.

    Args:
        files: to be kept beside it, by name.
    """
    digest = encoder.digest()
    name = f"{encoder.recipe.name}-{digest[:12]}"
    directory = encoder_directory(name)
    write_weights(store, directory, encoder.network)
    store.write(f"{directory}/metrics.json", json.dumps(metrics or {}, indent=2).encode())
    for file, content in (files or {}).items():
        store.write(f"{directory}/{file}", content)
    manifest = EncoderManifest(
        encoder=name,
        digest=digest,
        recipe=_description(encoder.recipe),
        dimension=encoder.recipe.dimension,
        pretrained=pretrained,
        training=training or {},
        training_key=training_key,
    )
    write_manifest(store, directory, manifest)
    return manifest


def load_encoder(store: Store, name: str, *, device: str = "cpu") -> Encoder:
    """Read an encoder and check that its weights are those the manifest was written for.

    Raises:
        NotFoundError: no such encoder.
        DigestMismatchError: the weights or the recipe were changed since.
    """
    manifest = encoder_manifest(store, name)
    encoder = Encoder(recipe_of(manifest), device=device)
    read_weights(store, encoder_directory(name), encoder.network)
    if (digest := encoder.digest()) != manifest.digest:
        raise DigestMismatchError(
            f"encoder {name} is not what its manifest says (digest {digest[:12]}, expected {manifest.digest[:12]}): "
            "its files were changed or this code preprocesses differently; restore it or train anew"
        )
    return encoder


def recipe_of(manifest: EncoderManifest) -> Recipe:
    """The recipe that an encoder was made by."""
    return make_recipe(**{key: value for key, value in manifest.recipe.items() if key != "preprocessing"})


def _description(recipe: Recipe) -> dict[str, Any]:
    return {**describe_recipe(recipe), "preprocessing": dataclasses.asdict(recipe.preprocessing)}
