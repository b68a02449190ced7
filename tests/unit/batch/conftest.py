"""A shop in which everything that can be wrong with a picture is."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.networks import make_recipe
from visnet.platform.store import Store


@pytest.fixture
def encoder(store: Store) -> str:
    """A small encoder that was never trained."""
    return save_encoder(store, Encoder(make_recipe("visnet-tiny", width=4, dimension=8))).encoder


@pytest.fixture
def make_pictures() -> Callable[..., list[bytes]]:
    """Makes small encoded pictures of noise; each number gives another."""

    def make(numbers: Sequence[int], *, side: int = 9) -> list[bytes]:
        return [_png(number, side) for number in numbers]

    return make


def _png(number: int, side: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the encoder was given."""
    counts: list[int] = []
    whole = Encoder.encode_pixels

    def counted(self: Encoder, pixel_BHWC: np.ndarray, **options: Any) -> np.ndarray:
        counts.append(len(pixel_BHWC))
        return whole(self, pixel_BHWC, **options)

    monkeypatch.setattr(Encoder, "encode_pixels", counted)
    return counts


@pytest.fixture
def make_catalog(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Catalog]:
    """Makes a catalogue of encoded pictures, uris (str) and nothing (None), one product each, in parts of ten rows."""
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 10)

    def make(pictures: Sequence[bytes | str | None], *, version: str = "1", **columns: Sequence[object]) -> Catalog:
        ids = [f"i{number:05d}" for number in range(len(pictures))]
        rows = {
            "image_id": ids,
            "product_id": [f"p{number:05d}" for number in range(len(pictures))],
            "category": [("shoes", "bags")[number % 2] for number in range(len(pictures))],
            "image": pa.array([one if isinstance(one, bytes) else None for one in pictures], pa.binary()),
            "uri": pa.array([one if isinstance(one, str) else None for one in pictures], pa.string()),
            **columns,
        }
        table = pa.table(rows)
        batches = [table.slice(first, 10) for first in range(0, len(table), 10)]
        return write_catalog(store, name="shop", version=version, source="test", batches=batches)

    return make
