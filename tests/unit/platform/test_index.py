"""The index artifact: what is written is what is searched, and nothing that does not belong together is loaded."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.embedded_shop import DIGEST, Shop, embedded_shop
from visnet.platform.embeddings import vector_array
from visnet.platform.errors import DigestMismatchError, StoreError
from visnet.platform.imaging import content_hash
from visnet.platform.index import IndexManifest, load_shard, open_shard, read_index, shard_directory
from visnet.platform.index_build import InProcess, build
from visnet.platform.manifest import write_manifest
from visnet.platform.merge import merge
from visnet.platform.partition import shard_of
from visnet.platform.settings import IndexSettings
from visnet.platform.store import Store

IMAGES = 30
DIMENSION = 8
QUARANTINED = frozenset({"i4", "i11"})


@pytest.fixture
def shop(store: Store) -> Shop:
    """30 images of 15 products in 4 categories, in three parts."""
    return embedded_shop(store, quarantined=QUARANTINED)


def made(shop: Shop, shards: int) -> IndexManifest:
    return build(shop.sources, IndexSettings(shards=shards), InProcess())


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_every_embedded_image_is_in_the_shard_of_its_product_with_its_own_vector(
    store: Store, shop: Shop, shards: int
) -> None:
    manifest = made(shop, shards)
    assert (read_index(store, manifest.index), manifest.shards) == (manifest, shards)
    assert (manifest.rows, manifest.products) == (IMAGES - len(QUARANTINED), 15)
    vector_ND, seen = shop.vector_ND.astype(np.float32), []
    for number in range(shards):
        shard = load_shard(store, manifest.index, number, encoder_digest=DIGEST)
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


def test_an_image_is_located_by_part_and_row(store: Store, shop: Shop) -> None:
    manifest, catalog = made(shop, 2), shop.sources.catalog
    assert len(catalog.manifest.parts) == 3
    for number in range(2):
        for found in load_shard(store, manifest.index, number).rows.to_pylist():
            image, _ = catalog.image(found["catalog_part"], found["catalog_row"])
            assert image == shop.rows["image"][int(found["image_id"][1:])].as_py()
            assert content_hash(image) == found["content_hash"]


def test_the_shards_together_answer_as_one(store: Store, shop: Shop) -> None:
    manifest = made(shop, 3)
    query_QD = np.random.default_rng(1).normal(size=(6, DIMENSION)).astype(np.float32)
    shards = [load_shard(store, manifest.index, number) for number in range(3)]
    hits = [shard.search(query_QD, 5) for shard in shards]
    score_QK, shard_QK, row_QK = merge(
        [hit.score_QK for hit in hits], [hit.row_QK for hit in hits], 5, higher_is_better=True
    )
    score_QN = query_QD @ shop.vector_ND.astype(np.float32).T
    score_QN[:, [int(image[1:]) for image in QUARANTINED]] = -np.inf
    best_QP = score_QN.reshape(6, 15, 2).max(axis=2)  # two images to a product
    np.testing.assert_allclose(score_QK, -np.sort(-best_QP, axis=1)[:, :5], atol=1e-5)
    for q in range(6):
        products = [shards[s].rows["product_id"][int(r)].as_py() for s, r in zip(shard_QK[q], row_QK[q], strict=True)]
        assert products == [f"p{p}" for p in np.argsort(-best_QP[q])[:5]]


def test_another_encoders_index_is_refused(store: Store, shop: Shop) -> None:
    manifest = made(shop, 1)
    with pytest.raises(
        DigestMismatchError, match=r"index e-\w+ was made by encoder digest dddddddddddd, .* eeeeeeeeeeee"
    ):
        load_shard(store, manifest.index, 0, encoder_digest="e" * 64)
    assert len(load_shard(store, manifest.index, 0, encoder_digest=None)) == IMAGES - len(QUARANTINED)


@pytest.mark.parametrize("shard", [-1, 2])
def test_a_shard_that_is_not_there_is_refused(store: Store, shop: Shop, shard: int) -> None:
    manifest = made(shop, 2)
    with pytest.raises(StoreError, match=f"index {manifest.index} has shards 0 to 1, not {shard}"):
        load_shard(store, manifest.index, shard)
    with pytest.raises(StoreError, match="no finished indexes/y"):
        load_shard(store, "y", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"shard_rows": [29]}, "has 28 rows, its manifest says 29"), ({"dimension": 9}, "its manifest says dimension 9")],
)
def test_what_is_not_as_the_manifest_says_is_refused(
    store: Store, shop: Shop, change: dict[str, object], message: str
) -> None:
    manifest = made(shop, 1)
    write_manifest(store, f"indexes/{manifest.index}", dataclasses.replace(manifest, **change))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=message):
        load_shard(store, manifest.index, 0)


def test_vectors_that_are_not_the_rows_are_refused(store: Store, shop: Shop) -> None:
    manifest = made(shop, 2)
    other = store.read(f"{shard_directory(manifest.index, 1)}/vectors.npy")
    assert len(other) != len(store.read(f"{shard_directory(manifest.index, 0)}/vectors.npy"))
    store.write(f"{shard_directory(manifest.index, 0)}/vectors.npy", other)
    with pytest.raises(StoreError, match="vectors for"):
        load_shard(store, manifest.index, 0)


@pytest.mark.parametrize("name", ["vectors.npy", "rows.arrow", "keys.arrow"])
@pytest.mark.parametrize("keep", [0, 20, -100])
def test_a_file_cut_off_is_refused(store: Store, shop: Shop, name: str, keep: int) -> None:
    manifest = made(shop, 1)
    file = f"{shard_directory(manifest.index, 0)}/{name}"
    store.write(file, store.read(file)[:keep])
    with pytest.raises(StoreError, match=f"can't read indexes/{manifest.index}/shard-0000"):
        load_shard(store, manifest.index, 0)


def test_keys_of_other_rows_are_refused(store: Store, shop: Shop) -> None:
    manifest = made(shop, 2)
    other = store.read(f"{shard_directory(manifest.index, 1)}/keys.arrow")
    store.write(f"{shard_directory(manifest.index, 0)}/keys.arrow", other)
    with pytest.raises(StoreError, match="keys for"):
        load_shard(store, manifest.index, 0)


def test_keys_without_a_column_are_refused(store: Store, shop: Shop) -> None:
    manifest = made(shop, 1)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema([("product_number", pa.int32())])) as writer:
        writer.write_batch(pa.record_batch({"product_number": pa.array([0], pa.int32())}))
    store.write(f"{shard_directory(manifest.index, 0)}/keys.arrow", sink.getvalue().to_pybytes())
    with pytest.raises(StoreError, match=r"can't read .*keys.arrow lacks"):
        load_shard(store, manifest.index, 0)


def test_an_index_from_before_keys_is_read(store: Store, shop: Shop) -> None:
    manifest = made(shop, 1)
    mapped = open_shard(store, manifest, 0)
    store.filesystem.delete_file(store.path(f"{shard_directory(manifest.index, 0)}/keys.arrow"))
    computed = open_shard(store, manifest, 0)
    np.testing.assert_array_equal(computed.product_N, mapped.product_N)
    assert [computed.rows_of(f"p{n}").tolist() for n in range(16)] == [
        mapped.rows_of(f"p{n}").tolist() for n in range(16)
    ]


def test_a_loaded_shard_maps_its_numbers_and_hashes_one_id(
    store: Store, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, hashed = made(shop, 1), []
    monkeypatch.setattr("visnet.platform.shard_keys.product_hash", lambda name: hashed.append(name) or 7)
    shard = load_shard(store, manifest.index, 0)
    for numbers in (shard.product_N, shard.content_N):
        assert not numbers.flags.owndata
        assert not numbers.flags.writeable
    assert hashed == []
    shard.rows_of("p1")
    assert hashed == ["p1"]
    assert not set(shard.rows.column_names) & {"product_number", "content_key", "row_by_hash", "product_hash"}


def test_vectors_are_stored_as_fixed_size_lists_of_float16() -> None:
    vector_ND = np.eye(3, 8)
    assert str(vector_array(vector_ND).type) == "fixed_size_list<item: halffloat>[8]"
    assert vector_array(vector_ND).to_pylist() == vector_ND.tolist()
    assert len(vector_array(np.empty((0, 8)))) == 0
