"""The build against an obvious one in Python, its indifference to tasks and parts, and what it refuses."""

import dataclasses
import functools
import pickle
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.embedded_shop import Shop, embedded_shop, shop_rows
from visnet.platform import index_scatter
from visnet.platform.errors import StoreError
from visnet.platform.index import load_shard, shard_directory
from visnet.platform.index_build import InProcess, build, index_id
from visnet.platform.index_scatter import Sources, groups
from visnet.platform.manifest import has_manifest
from visnet.platform.merge import NO_ROW
from visnet.platform.partition import product_hash, shard_of
from visnet.platform.settings import IndexSettings
from visnet.platform.store import Store

ROOT = Path(__file__).parents[3]
QUARANTINED = frozenset({"i4", "i11", "i12", "i13"})


def files(store: Store, index: str) -> dict[str, bytes]:
    """All files of an index but the manifest, which says when it was made."""
    root = Path(store.path(f"indexes/{index}"))
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    del found["manifest.json"]
    return found


def obvious(shop: Shop, shards: int) -> list[list[tuple[dict[str, object], np.ndarray]]]:
    """Each shard's rows with their vectors, in order."""
    places = [
        (part, row) for part in range(-(-len(shop.rows) // 10)) for row in range(min(10, len(shop.rows) - 10 * part))
    ]
    kept: list[list[tuple[dict[str, object], np.ndarray]]] = [[] for _ in range(shards)]
    for row, vector_D, (part, number) in zip(shop.rows.to_pylist(), shop.vector_ND, places, strict=True):
        if row["image_id"] not in shop.quarantined:
            row |= {"catalog_part": part, "catalog_row": number}
            kept[shard_of(row["product_id"], shards)].append((row, vector_D))
    by = ("category", "product_id", "image_id")
    return [sorted(rows, key=lambda pair: [str(pair[0][name]).encode() for name in by]) for rows in kept]


@pytest.mark.parametrize("shards", [1, 2, 5, 40])
def test_the_files_hold_what_the_obvious_build_holds(store: Store, shards: int) -> None:
    shop = embedded_shop(store, shop_rows(57, copies=3), quarantined=QUARANTINED)
    manifest = build(shop.sources, IndexSettings(shards=shards), InProcess())
    expected = obvious(shop, shards)
    assert manifest.shard_rows == [len(rows) for rows in expected]
    assert (manifest.rows, manifest.kind, manifest.ann, manifest.ann_recall_at_k) == (53, "exact", [], None)
    assert manifest.products == len({row["product_id"] for rows in expected for row, _ in rows})
    for number, pairs in enumerate(expected):
        folder = Path(store.path(shard_directory(manifest.index, number)))
        vector_ND = np.load(folder / "vectors.npy")
        assert (vector_ND.dtype, vector_ND.shape) == (np.float16, (len(pairs), 8))
        np.testing.assert_array_equal(vector_ND, np.reshape([vector_D for _, vector_D in pairs], (-1, 8)))
        rows = pa.ipc.open_file(folder / "rows.arrow").read_all()
        names = [name for name in rows.column_names if name != "content_hash"]
        assert rows.select(names).to_pylist() == [{name: row[name] for name in names} for row, _ in pairs]
        keys = pa.ipc.open_file(folder / "keys.arrow").read_all()
        products = sorted({row["product_id"] for row, _ in pairs}, key=str.encode)
        assert keys["product_number"].to_pylist() == [products.index(row["product_id"]) for row, _ in pairs]
        hashes = [product_hash(row["product_id"]) for row, _ in pairs]
        assert keys["product_hash"].to_pylist() == sorted(hashes)
        assert [hashes[row] for row in keys["row_by_hash"].to_pylist()] == sorted(hashes)
        for product in [*products, "nothing"]:
            mine = [row for row, pair in enumerate(pairs) if pair[0]["product_id"] == product]
            assert load_shard(store, manifest.index, number).rows_of(product).tolist() == mine


def test_the_files_are_those_that_numpy_would_write(store: Store, tmp_path: Path) -> None:
    shop = embedded_shop(store)
    manifest = build(shop.sources, IndexSettings(shards=1), InProcess())
    written = Path(store.path(shard_directory(manifest.index, 0))) / "vectors.npy"
    np.save(tmp_path / "again.npy", np.load(written))
    assert (tmp_path / "again.npy").read_bytes() == written.read_bytes()


@pytest.mark.parametrize("group_bytes", [1, 400, 2**26])
def test_how_the_parts_are_grouped_leaves_no_trace(
    store: Store, monkeypatch: pytest.MonkeyPatch, group_bytes: int
) -> None:
    shop = embedded_shop(store, shop_rows(95), quarantined=QUARANTINED)
    before = files(store, build(shop.sources, IndexSettings(shards=3), InProcess()).index)
    monkeypatch.setattr(index_scatter, "GROUP_BYTES", group_bytes)
    assert len(groups(shop.sources)) == {1: 10, 400: 5, 2**26: 1}[group_bytes]
    after = files(store, build(shop.sources, IndexSettings(shards=3), InProcess()).index)
    assert after == before
    assert len(after) == 3 * 3


def test_images_with_the_same_bytes_have_the_same_number_in_every_shard(store: Store) -> None:
    shop = embedded_shop(store, shop_rows(60, images_per_product=1, copies=3))
    manifest = build(shop.sources, IndexSettings(shards=4), InProcess())
    pictures: dict[int, set[str]] = {}
    for number in range(4):
        shard = load_shard(store, manifest.index, number)
        for key, content in zip(shard.content_N.tolist(), shard.rows["content_hash"].to_pylist(), strict=True):
            pictures.setdefault(key, set()).add(content)
    assert len(pictures) == 20
    assert all(len(contents) == 1 for contents in pictures.values())


def test_ids_of_any_letters(store: Store) -> None:
    ids = ["größe", "Größe", "z", "\u00e9", "e\u0301", "商品", "🧥", "a b", "'", "\uffff", "\U00010000"]
    rows = pa.table(
        {
            "image_id": [f"{name}/1" for name in ids],
            "product_id": ids,
            "category": [("Mäntel", "Taschen", "コート")[n % 3] for n in range(len(ids))],
            "image": pa.array([name.encode() for name in ids], pa.binary()),
        }
    )
    shop = embedded_shop(store, rows)
    manifest = build(shop.sources, IndexSettings(shards=2), InProcess())
    expected = obvious(shop, 2)
    for number in range(2):
        shard = load_shard(store, manifest.index, number)
        assert shard.rows["image_id"].to_pylist() == [row["image_id"] for row, _ in expected[number]]
        products = sorted(set(shard.rows["product_id"].to_pylist()), key=str.encode)
        assert shard.product_N.tolist() == [products.index(name) for name in shard.rows["product_id"].to_pylist()]
        for name in products:
            assert shard.rows["product_id"].take(shard.rows_of(name)).to_pylist() == [name]


def test_all_products_in_one_shard_leave_the_others_empty_but_alive(store: Store) -> None:
    mine = next(f"p{n}" for n in range(99) if shard_of(f"p{n}", 3) == 1)
    rows = shop_rows(30)
    shop = embedded_shop(store, rows.set_column(1, "product_id", pa.array([mine] * 30)))
    manifest = build(shop.sources, IndexSettings(shards=3), InProcess())
    assert (manifest.shard_rows, manifest.products) == ([0, 30, 0], 1)
    for number in range(3):
        shard = load_shard(store, manifest.index, number)
        hits = shard.search(np.ones((1, 8), np.float32), 2)
        assert (hits.row_QK != NO_ROW).sum() == (1 if number == 1 else 0)
        assert shard.dimension == 8


def test_a_single_image(store: Store) -> None:
    shop = embedded_shop(store, shop_rows(1))
    manifest = build(shop.sources, IndexSettings(shards=2), InProcess())
    assert (sorted(manifest.shard_rows), manifest.products) == ([0, 1], 1)


@pytest.mark.parametrize("quarantined", [frozenset({f"i{n}" for n in range(30)})])
def test_nothing_to_index_is_said(store: Store, quarantined: frozenset[str]) -> None:
    shop = embedded_shop(store, quarantined=quarantined)
    with pytest.raises(StoreError, match="no image with a vector"):
        build(shop.sources, IndexSettings(), InProcess())
    assert store.names("indexes") == []


def test_what_a_killed_build_left_is_gone(store: Store) -> None:
    shop = embedded_shop(store)
    settings = IndexSettings(shards=2)
    index = index_id(shop.sources, settings)
    for name in ("shard-0000/vectors.npy", "shard-0000/ann.faiss", "shard-0007/rows.arrow", "shard-0001/x.tmp"):
        store.write(f"indexes/{index}/{name}", b"half")
    build(shop.sources, settings, InProcess())
    assert Counter(name.rpartition("/")[2] for name in files(store, index)) == {
        "vectors.npy": 2,
        "rows.arrow": 2,
        "keys.arrow": 2,
    }


KILLED = """
import os, pickle, signal, sys
from visnet.platform.index_build import InProcess, build
from visnet.platform.store import Store

sources, settings = pickle.loads(sys.stdin.buffer.read())
left = int(sys.argv[1])
whole = Store.make_directory

def make_directory(store, name):
    global left
    left -= 1
    whole(store, name)
    if left == 0:
        store.write(f"{name}/rows.arrow.0123.tmp", b"half a file")
        os.kill(os.getpid(), signal.SIGKILL)

Store.make_directory = make_directory
build(sources, settings, InProcess())
"""


@pytest.mark.parametrize("files_before", [1, 4, 7, 9])
def test_killed_on_its_way_and_run_again_it_is_whole(store: Store, tmp_path: Path, files_before: int) -> None:
    shop, settings = embedded_shop(store, shop_rows(700)), IndexSettings(shards=2, kind="ivf-pq", refine=9)
    arguments = [sys.executable, "-c", KILLED, str(files_before)]
    ran = subprocess.run(arguments, input=pickle.dumps((shop.sources, settings)), cwd=ROOT, check=False)
    assert ran.returncode == -signal.SIGKILL
    index = index_id(shop.sources, settings)
    assert store.names(f"indexes/{index}") != []
    assert not has_manifest(store, f"indexes/{index}")
    with pytest.raises(StoreError, match="no finished indexes/"):
        load_shard(store, index, 0)
    build(shop.sources, settings, InProcess())
    other = Store(str(tmp_path / "other"))
    untouched = build(embedded_shop(other, shop_rows(700)).sources, settings, InProcess())
    assert files(store, index) == files(other, untouched.index)


class Meddling(InProcess):
    """A build beside which something happens to the files."""

    def __init__(self, store: Store, *, lose: str = "", leave: str = "") -> None:
        self._store, self._lose, self._leave = store, lose, leave

    def write_shards(self, sources, index, shards):  # type: ignore[no-untyped-def]
        yield from super().write_shards(sources, index, shards)
        if self._leave:
            self._store.write(f"{shard_directory(index, 0)}/{self._leave}", b"half")
        if self._lose:
            self._store.filesystem.delete_file(self._store.path(f"{shard_directory(index, 0)}/{self._lose}"))


def test_what_a_dead_worker_left_is_swept(store: Store) -> None:
    shop = embedded_shop(store)
    manifest = build(shop.sources, IndexSettings(), Meddling(store, leave="vectors.npy.0123.tmp"))
    assert store.names(shard_directory(manifest.index, 0)) == ["keys.arrow", "rows.arrow", "vectors.npy"]


@pytest.mark.parametrize("lost", ["vectors.npy", "rows.arrow", "keys.arrow"])
def test_a_lost_file_ends_the_build(store: Store, lost: str) -> None:
    shop = embedded_shop(store)
    with pytest.raises(StoreError, match=f"lost {lost}"):
        build(shop.sources, IndexSettings(), Meddling(store, lose=lost))
    assert not has_manifest(store, f"indexes/{index_id(shop.sources, IndexSettings())}")


def test_counts_that_do_not_add_up_end_the_build(store: Store) -> None:
    shop = embedded_shop(store)
    more = dataclasses.replace(shop.sources.embeddings, embedded=31)
    with pytest.raises(StoreError, match="31 images were embedded, but 30 rows were indexed"):
        build(Sources(shop.sources.catalog, more), IndexSettings(), InProcess())


def test_the_id_is_a_function_of_what_matters(store: Store) -> None:
    sources = embedded_shop(store).sources
    name = functools.partial(index_id, sources)
    assert name(IndexSettings(shards=2)) == name(IndexSettings(shards=2, nlist=7, min_ann_recall=0.5))
    approximate = {"shards": 2, "kind": "ivf-pq"}
    different = [
        {},
        {"shards": 3},
        {"nlist": 9},
        {"pq_bytes": 2},
        {"nprobe": 3},
        {"refine": 9},
        {"min_ann_recall": 0.1},
    ]
    ids = {name(IndexSettings(**{**approximate, **change})) for change in different}
    ids |= {name(IndexSettings(shards=2)), name(IndexSettings(shards=3))}
    other = Sources(sources.catalog, dataclasses.replace(sources.embeddings, encoder_digest="f" * 64))
    assert len(ids | {index_id(other, IndexSettings(shards=2))}) == len(different) + 3
