"""The index artifact: what is written is what is searched, and nothing that does not belong together is loaded."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.embeddings import vector_array
from visnet.platform.errors import DigestMismatchError, StoreError
from visnet.platform.imaging import content_hash
from visnet.platform.index import (
    IndexManifest,
    catalog_rows,
    load_shard,
    read_index,
    shard_directory,
    write_shard,
)
from visnet.platform.manifest import write_manifest
from visnet.platform.merge import merge
from visnet.platform.partition import shard_of
from visnet.platform.store import Store

Picture = Callable[..., bytes]
IMAGES = 30
DIMENSION = 8
DIGEST = "d" * 64
QUARANTINED = {"i4", "i11"}


@pytest.fixture
def catalog(store: Store, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """30 images of 15 products in 4 categories, in three parts of small row groups."""
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 10)
    monkeypatch.setattr(catalog_module, "ROW_GROUP_BYTES", 10_000)
    rows = pa.table(
        {
            "image_id": [f"i{n}" for n in range(IMAGES)],
            "product_id": [f"p{n // 2}" for n in range(IMAGES)],
            "category": [f"c{n % 4}" for n in range(IMAGES)],
            "image": pa.array([picture(n) for n in range(IMAGES)], pa.binary()),
            "price": [n / 2 for n in range(IMAGES)],
            "empty": pa.nulls(IMAGES),
        }
    )
    batches = [rows.slice(start, 5) for start in range(0, IMAGES, 5)]
    return write_catalog(store, name="shop", version="v1", source="a test", batches=batches)


def matrix() -> np.ndarray:
    vector_ND = np.random.default_rng(0).normal(size=(IMAGES, DIMENSION))
    unit: np.ndarray = (vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)).astype(np.float16)
    return unit


def embeddings(catalog: Catalog) -> pa.Table:
    """In another order than the catalogue's, in two chunks, without the quarantined."""
    table = catalog.read(["image_id", "content_hash"]).append_column("vector", vector_array(matrix()))
    kept = [n for n in reversed(range(IMAGES)) if f"i{n}" not in QUARANTINED]
    return pa.concat_tables([table.take(kept[:9]), table.take(kept[9:])])


def build(store: Store, catalog: Catalog, shards: int, *, rows: pa.Table | None = None) -> IndexManifest:
    part_rows = [pq.read_metadata(path, filesystem=store.filesystem).num_rows for path in catalog.part_paths()]
    located = catalog_rows(catalog.read() if rows is None else rows, part_rows)
    vectors = embeddings(catalog)
    counts = [
        write_shard(store, "x", shard, embeddings=vectors, catalog=located, shards=shards) for shard in range(shards)
    ]
    manifest = IndexManifest(
        index="x",
        encoder="e",
        encoder_digest=DIGEST,
        dimension=DIMENSION,
        metric="inner_product",
        catalog="shop",
        catalog_version="v1",
        rows=sum(rows for rows, _ in counts),
        products=sum(products for _, products in counts),
        shard_rows=[rows for rows, _ in counts],
        settings={},
    )
    write_manifest(store, "indexes/x", manifest)
    return manifest


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_every_embedded_image_is_in_the_shard_of_its_product_with_its_own_vector(
    store: Store, catalog: Catalog, shards: int
) -> None:
    manifest = build(store, catalog, shards)
    assert (read_index(store, "x"), manifest.shards) == (manifest, shards)
    assert (manifest.rows, manifest.products) == (IMAGES - len(QUARANTINED), 15)
    vector_ND, seen = matrix().astype(np.float32), []
    for number in range(shards):
        shard = load_shard(store, "x", number, encoder_digest=DIGEST)
        for row, found in enumerate(shard.rows.to_pylist()):
            n = int(found["image_id"][1:])
            assert shard_of(found["product_id"], shards) == number
            assert (found["product_id"], found["category"]) == (f"p{n // 2}", f"c{n % 4}")
            assert (found["price"], found["empty"]) == (n / 2, None)
            np.testing.assert_array_equal(shard._vectors.take(np.array([row]))[0], vector_ND[n])
            seen.append(found["image_id"])
        assert "image" not in shard.rows.column_names
        assert shard.rows["category"].to_pylist() == sorted(shard.rows["category"].to_pylist())
    assert sorted(seen) == sorted({f"i{n}" for n in range(IMAGES)} - QUARANTINED)


def test_an_image_is_located_by_part_and_row(store: Store, catalog: Catalog, picture: Picture) -> None:
    build(store, catalog, 2)
    assert len(catalog.manifest.parts) == 3
    for number in range(2):
        for found in load_shard(store, "x", number).rows.to_pylist():
            image, _ = catalog.image(found["catalog_part"], found["catalog_row"])
            assert image == picture(int(found["image_id"][1:]))
            assert content_hash(image) == found["content_hash"]


def test_the_shards_together_answer_as_one(store: Store, catalog: Catalog) -> None:
    build(store, catalog, 3)
    query_QD = np.random.default_rng(1).normal(size=(6, DIMENSION)).astype(np.float32)
    shards = [load_shard(store, "x", number) for number in range(3)]
    hits = [shard.search(query_QD, 5) for shard in shards]
    score_QK, shard_QK, row_QK = merge(
        [hit.score_QK for hit in hits], [hit.row_QK for hit in hits], 5, higher_is_better=True
    )
    score_QN = query_QD @ matrix().astype(np.float32).T
    score_QN[:, [int(image[1:]) for image in QUARANTINED]] = -np.inf
    best_QP = score_QN.reshape(6, 15, 2).max(axis=2)  # two images to a product
    np.testing.assert_allclose(score_QK, -np.sort(-best_QP, axis=1)[:, :5], atol=1e-5)
    for q in range(6):
        products = [shards[s].rows["product_id"][int(r)].as_py() for s, r in zip(shard_QK[q], row_QK[q], strict=True)]
        assert products == [f"p{p}" for p in np.argsort(-best_QP[q])[:5]]


def test_all_products_in_one_shard_leave_the_others_empty_but_alive(store: Store, catalog: Catalog) -> None:
    shards = 3
    mine = next(f"p{n}" for n in range(99) if shard_of(f"p{n}", shards) == 1)
    rows = catalog.read()
    rows = rows.set_column(1, "product_id", pa.array([mine] * IMAGES))
    manifest = build(store, catalog, shards, rows=rows)
    assert manifest.shard_rows == [0, IMAGES - len(QUARANTINED), 0]
    assert manifest.products == 1
    for number in range(shards):
        shard = load_shard(store, "x", number, encoder_digest=DIGEST)
        hits = shard.search(np.ones((1, DIMENSION), np.float32), 2)
        assert (hits.row_QK != -1).sum() == (1 if number == 1 else 0)
        assert shard.dimension == DIMENSION


def test_another_encoders_index_is_refused(store: Store, catalog: Catalog) -> None:
    build(store, catalog, 1)
    with pytest.raises(DigestMismatchError, match=r"index x was made by encoder digest dddddddddddd, .* eeeeeeeeeeee"):
        load_shard(store, "x", 0, encoder_digest="e" * 64)
    assert len(load_shard(store, "x", 0, encoder_digest=None)) == IMAGES - len(QUARANTINED)


@pytest.mark.parametrize("shard", [-1, 2])
def test_a_shard_that_is_not_there_is_refused(store: Store, catalog: Catalog, shard: int) -> None:
    build(store, catalog, 2)
    with pytest.raises(StoreError, match=f"index x has shards 0 to 1, not {shard}"):
        load_shard(store, "x", shard)
    with pytest.raises(StoreError, match="no finished indexes/y"):
        load_shard(store, "y", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"shard_rows": [29]}, "has 28 rows, its manifest says 29"), ({"dimension": 9}, "its manifest says dimension 9")],
)
def test_what_is_not_as_the_manifest_says_is_refused(
    store: Store, catalog: Catalog, change: dict[str, object], message: str
) -> None:
    manifest = build(store, catalog, 1)
    write_manifest(store, "indexes/x", dataclasses.replace(manifest, **change))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=message):
        load_shard(store, "x", 0)


def test_vectors_that_are_not_the_rows_are_refused(store: Store, catalog: Catalog) -> None:
    build(store, catalog, 2)
    other = store.read(f"{shard_directory('x', 1)}/vectors.npy")
    assert len(other) != len(store.read(f"{shard_directory('x', 0)}/vectors.npy"))
    store.write(f"{shard_directory('x', 0)}/vectors.npy", other)
    with pytest.raises(StoreError, match="vectors for"):
        load_shard(store, "x", 0)


@pytest.mark.parametrize("name", ["vectors.npy", "rows.arrow"])
@pytest.mark.parametrize("keep", [0, 20, -100])
def test_a_file_cut_off_is_refused(store: Store, catalog: Catalog, name: str, keep: int) -> None:
    build(store, catalog, 1)
    file = f"{shard_directory('x', 0)}/{name}"
    store.write(file, store.read(file)[:keep])
    with pytest.raises(StoreError, match="can't read indexes/x/shard-0000"):
        load_shard(store, "x", 0)


def test_vectors_are_stored_as_fixed_size_lists_of_float16() -> None:
    array = vector_array(matrix().astype(np.float32))
    assert str(array.type) == "fixed_size_list<item: halffloat>[8]"
    assert array.to_pylist() == matrix().tolist()
    assert len(vector_array(np.empty((0, 8)))) == 0
