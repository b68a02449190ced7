"""The triplet table as an artifact: its files, its manifest, and what is said when it is not there."""

import pytest

from visnet.platform.errors import NotFoundError
from visnet.platform.manifest import write_manifest
from visnet.platform.store import Store
from visnet.platform.triplets import TripletsManifest, read_triplets, triplet_paths, triplets_directory

MANIFEST = TripletsManifest(
    triplets="shop-1",
    catalog="shop",
    catalog_version="1",
    filters={"split": "train"},
    photo_split=None,
    seed=0,
    settings={"in_class_ranks": [500, 1000]},
    scorers={"deep": {"pretrained": "some"}},
    similarities="shop-1-2",
    pictures=10,
    parts=["part-00000.parquet", "part-00002.parquet"],
    rows=5,
    counts={"stage": {"catalog": 5}},
    skipped={},
    notes=[],
)


def test_it_is_read_back_and_its_files_are_those_of_the_manifest(store: Store) -> None:
    write_manifest(store, triplets_directory("shop-1"), MANIFEST)
    assert read_triplets(store, "shop-1") == MANIFEST
    assert triplet_paths(store, "shop-1") == [store.path(f"triplets/shop-1/{part}") for part in MANIFEST.parts]


def test_one_that_is_not_there_is_an_error_that_lists_those_that_are(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"none yet; make one with visnet triplets"):
        triplet_paths(store, "shop-1")
    write_manifest(store, triplets_directory("shop-1"), MANIFEST)
    store.write("triplets/shop-2/part-00000.parquet", b"unfinished")
    with pytest.raises(NotFoundError, match=r"no triplets shop-2 .*there is: shop-1\)"):
        read_triplets(store, "shop-2")
