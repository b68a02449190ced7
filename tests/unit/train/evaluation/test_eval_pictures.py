"""Streaming a catalogue's pictures: the right one for every row, never much at once, and one decoding for all."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import write_catalog
from visnet.platform.encoder import Encoder
from visnet.platform.networks import make_recipe
from visnet.platform.pictures import Picture, Source
from visnet.platform.store import Store
from visnet.train import pictures as pictures_module
from visnet.train.pictures import embed

COUNT = 30


@pytest.fixture
def images(picture: Callable[..., bytes]) -> list[bytes]:
    return [picture(seed, width=20 + seed) for seed in range(COUNT)]


@pytest.fixture(params=[1, 2**12, 2**20])
def source(
    request: pytest.FixtureRequest, store: Store, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> Source:
    """The same pictures in three part files of many, some and single row groups."""
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 12)
    monkeypatch.setattr(catalog_module, "ROW_GROUP_BYTES", request.param)
    ids = [f"i{number}" for number in range(COUNT)]
    columns = {"image_id": ids, "product_id": ids, "category": ["c"] * COUNT, "image": images}
    table = pa.table(columns | {"odd": [number % 2 == 1 for number in range(COUNT)]})
    batches = [table.slice(start, 6) for start in range(0, COUNT, 6)]
    catalog = write_catalog(store, name="shop", version="v", source="a test", batches=batches)
    assert len(catalog.manifest.parts) == 3
    return Source(store, catalog.part_paths())


def test_every_row_gets_its_own_picture_in_any_order(source: Source, images: list[bytes]) -> None:
    rows = source.rows(["image_id"], [("odd", pa.scalar(True))])
    assert rows["image_id"].to_pylist() == [f"i{number}" for number in range(1, COUNT, 2)]
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    expected = [images[int(name[1:])] for name in shuffled["image_id"].to_pylist()]
    assert [one.image for one in source.pictures(shuffled)] == expected
    for numbers, some in source.stream(shuffled):
        assert [one.image for one in some] == [expected[number] for number in numbers]
    assert source.pictures(rows.take(np.array([], np.int64))) == []


def test_a_stream_is_read_by_row_groups(source: Source) -> None:
    sizes = [len(some) for _, some in source.stream(source.rows(["image_id"]))]
    assert sum(sizes) == COUNT
    assert len(sizes) >= 3  # never across part files, and less where row groups are smaller


def test_embedding_equals_one_by_one(source: Source, images: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures_module, "BATCH", 7)
    encoders = {"pixels": Encoder(make_recipe("pixels", size=8)), "histogram": Encoder(make_recipe("histogram"))}
    rows = source.rows(["image_id"]).sort_by([("image_id", "descending")])
    ids = rows["image_id"].to_pylist()
    embedded = embed(encoders, source.stream(rows), ids=ids, what="a test")
    for name, encoder in encoders.items():
        expected = encoder.encode([images[int(one[1:])] for one in ids])
        np.testing.assert_allclose(embedded.vectors[name], expected, atol=1e-6)
    assert embedded.usable.tolist() == list(range(COUNT))


def test_boxes_and_broken_pictures(picture: Callable[..., bytes]) -> None:
    whole = picture(1)
    pictures = [Picture(whole, None), Picture(b"", None), Picture(whole, None), Picture(None, None)]
    boxes = [None, None, (0.0, 0.0, 0.5, 0.5), None]
    encoder = Encoder(make_recipe("pixels", size=8))
    stream = iter([(np.arange(4), pictures)])
    embedded = embed({"pixels": encoder}, stream, ids=list("abcd"), boxes=boxes, what="a test")
    assert embedded.usable.tolist() == [0, 2]
    expected = encoder.encode_pixels(np.stack([encoder.pixels(whole), encoder.pixels(whole, box=boxes[2])]))
    np.testing.assert_array_equal(embedded.vectors["pixels"], expected)
    assert embedded.examples == [
        "b: the image is empty (0 bytes)",
        "d: the row has neither image bytes nor a uri",
    ]


def test_one_decoding_serves_all_encoders_of_a_size(picture: Callable[..., bytes]) -> None:
    decoded: list[Any] = []

    class Counting(Encoder):
        def pixels(self, data: bytes, **options: Any) -> np.ndarray:
            decoded.append(data)
            return super().pixels(data, **options)

    encoders = {str(size) + name: Counting(make_recipe("pixels", size=size)) for size in (8, 16) for name in "ab"}

    def stream() -> Iterator[tuple[np.ndarray, list[Picture]]]:
        yield np.array([0]), [Picture(picture(0), None)]

    embed(encoders, stream(), ids=["a"], what="a test")
    assert len(decoded) == 2
