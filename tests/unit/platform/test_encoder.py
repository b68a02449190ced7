"""The encoder: one way from bytes to a unit vector, and a digest that notices every change of it."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from visnet.platform import encoder as encoder_module
from visnet.platform.encoder import Encoder, load_encoder, save_encoder
from visnet.platform.encoder_manifest import encoder_manifest, newest_encoder
from visnet.platform.errors import DigestMismatchError, ImageError, NotFoundError
from visnet.platform.imaging import Box, Preprocessing
from visnet.platform.networks import make_recipe
from visnet.platform.store import Store

Picture = Callable[..., bytes]


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(make_recipe("visnet-tiny", image_size=28, width=4, dimension=16))


@pytest.fixture
def saved(store: Store, encoder: Encoder) -> str:
    return save_encoder(store, encoder).encoder


def tamper(store: Store, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads(store.read(f"encoders/{name}/manifest.json"))
    change(manifest)
    store.write(f"encoders/{name}/manifest.json", json.dumps(manifest).encode())


def test_bytes_become_unit_vectors(encoder: Encoder, picture: Picture) -> None:
    embedding_BD = encoder.encode([picture(seed, width=40 + seed) for seed in range(5)])
    assert embedding_BD.shape == (5, 16)
    assert embedding_BD.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedding_BD, axis=1), 1, rtol=1e-5)
    assert np.abs(embedding_BD[0] - embedding_BD[1]).max() > 1e-3


def test_neither_batch_nor_neighbours_change_an_embedding(encoder: Encoder, picture: Picture) -> None:
    images = [picture(seed) for seed in range(5)]
    together = encoder.encode(images)
    np.testing.assert_allclose(encoder.encode(images, batch_size=2), together, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(images[3:4]), together[3:4], atol=1e-6)
    np.testing.assert_array_equal(encoder.encode_pixels(np.stack([encoder.pixels(i) for i in images])), together)


@pytest.mark.parametrize("box", [None, (0.1, 0.2, 0.5, 0.9), (0.0, 0.0, 1.0, 1.0)])
def test_a_decoded_image_gives_the_pixels_that_its_bytes_give(
    encoder: Encoder, picture: Picture, box: Box | None
) -> None:
    data = picture(width=900, height=700, format="JPEG")
    preprocessing = encoder.preprocessing
    decoded = preprocessing.decoded(data) if box is None else preprocessing.decoded_for_parts(data)
    np.testing.assert_array_equal(encoder.pixels_of(decoded, box=box), encoder.pixels(data, box=box))


def test_no_images_are_no_embeddings(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 16)


def test_a_broken_image_is_an_image_error(encoder: Encoder, picture: Picture) -> None:
    with pytest.raises(ImageError):
        encoder.encode([picture(), b"no image"])


def test_pixels_are_normalised_by_channel(encoder: Encoder) -> None:
    encoder._mean_C11[:], encoder._std_C11[:] = torch.tensor([0.0, 0.5, 1.0])[:, None, None], 0.5
    normal_BCHW = encoder.normalise(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    assert normal_BCHW[0, :, 0, 0].tolist() == [2.0, 1.0, 0.0]


def test_an_encoder_is_in_evaluation_mode(encoder: Encoder) -> None:
    assert not any(module.training for module in encoder.network.modules())


def test_digest_is_of_weights_recipe_and_preprocessing(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = encoder.digest()
    assert Encoder(encoder.recipe, encoder.network).digest() == digest
    torch.manual_seed(0)
    assert Encoder(encoder.recipe).digest() == digest
    torch.manual_seed(0)
    larger = make_recipe("visnet-tiny", image_size=32, width=4, dimension=16)
    assert Encoder(larger).digest() != digest
    with monkeypatch.context() as patched:
        other = Preprocessing(resize=29, crop=28, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        patched.setattr(type(encoder.recipe), "preprocessing", other)
        assert Encoder(encoder.recipe, encoder.network).digest() != digest
    with torch.no_grad():
        next(encoder.network.parameters()).view(-1)[0] += 1e-6
    assert encoder.digest() != digest


@pytest.mark.parametrize("kind", ["running_mean", "num_batches_tracked"])
def test_digest_covers_the_batch_statistics(encoder: Encoder, kind: str) -> None:
    digest = encoder.digest()
    next(buffer for name, buffer in encoder.network.named_buffers() if name.endswith(kind)).add_(1)
    assert encoder.digest() != digest


def test_save_and_load_give_equal_embeddings(store: Store, encoder: Encoder, picture: Picture) -> None:
    training = {"steps": 3}
    manifest = save_encoder(store, encoder, training=training, training_key="k", metrics={"loss": 0.5})
    loaded = load_encoder(store, manifest.encoder)
    images = [picture(seed) for seed in range(3)]
    np.testing.assert_array_equal(loaded.encode(images), encoder.encode(images))
    assert loaded.recipe == encoder.recipe
    assert loaded.digest() == manifest.digest == encoder.digest()
    assert manifest.encoder == f"visnet-tiny-{manifest.digest[:12]}"
    read = encoder_manifest(store, manifest.encoder)
    assert (read.digest, read.created_at, read.training) == (manifest.digest, manifest.created_at, training)
    assert (manifest.dimension, manifest.metric, manifest.pretrained) == (16, "inner_product", "none")
    assert (manifest.training, manifest.training_key) == (training, "k")
    assert json.loads(store.read(f"encoders/{manifest.encoder}/metrics.json")) == {"loss": 0.5}


def test_changed_weights_are_refused(store: Store, encoder: Encoder, saved: str) -> None:
    weights = {name: value.clone() for name, value in encoder.network.state_dict().items()}
    weights["fusion.0.weight"][0, 0] += 1e-6
    store.write(f"encoders/{saved}/weights.safetensors", safetensors.torch.save(weights))
    with pytest.raises(DigestMismatchError, match="is not what its manifest says"):
        load_encoder(store, saved)


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_weights_cut_off_are_refused(store: Store, saved: str, keep: int) -> None:
    name = f"encoders/{saved}/weights.safetensors"
    store.write(name, store.read(name)[:keep])
    with pytest.raises(DigestMismatchError):
        load_encoder(store, saved)


@pytest.mark.parametrize(("field", "value"), [("image_size", 32), ("width", 8)])
def test_a_changed_recipe_is_refused(store: Store, saved: str, field: str, value: int) -> None:
    tamper(store, saved, lambda manifest: manifest["recipe"].update({field: value}))
    with pytest.raises(DigestMismatchError):
        load_encoder(store, saved)


def test_code_that_preprocesses_differently_is_refused(
    store: Store, encoder: Encoder, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(encoder.preprocessing, mean=(0.4, 0.5, 0.5))
    monkeypatch.setattr(type(encoder.recipe), "preprocessing", other)
    with pytest.raises(DigestMismatchError, match="preprocesses differently"):
        load_encoder(store, saved)


def test_the_manifest_comes_last(store: Store, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder_module, "write_manifest", crash)
    with pytest.raises(KeyboardInterrupt):
        save_encoder(store, encoder)
    with pytest.raises(NotFoundError, match="has no encoder yet"):
        newest_encoder(store)
    name = f"visnet-tiny-{encoder.digest()[:12]}"
    assert store.names(f"encoders/{name}") == ["metrics.json", "weights.safetensors"]


def test_the_newest_and_the_missing(store: Store, encoder: Encoder, saved: str) -> None:
    for parameter in encoder.network.parameters():
        torch.nn.init.normal_(parameter)
    newer = save_encoder(store, encoder)
    assert newest_encoder(store).digest == newer.digest
    with pytest.raises(NotFoundError, match=f"no encoder nobody .*there is: .*{saved}"):
        encoder_manifest(store, "nobody")
