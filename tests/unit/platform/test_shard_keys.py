"""The numbers of a shard's rows against obvious ones, mapped and worked out alike."""

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.partition import product_hash
from visnet.platform.shard import _repeated
from visnet.platform.shard_keys import hash_order, keys_of, product_hashes, ranks, read_keys, write_keys
from visnet.platform.store import Store

NAMES = ["b", "a", "ü", "b", "", "z", "a", "Z"]


def table(products: list[str], contents: list[str | None]) -> pa.Table:
    return pa.table({"product_id": pa.array(products, pa.string()), "content_hash": pa.array(contents, pa.string())})


@pytest.mark.parametrize("chunks", [[8], [3, 5], [0, 8], [1] * 8])
def test_ranks_are_places_among_the_sorted_names(chunks: list[int]) -> None:
    ends = np.cumsum(chunks)
    column = pa.chunked_array([NAMES[end - size : end] for end, size in zip(ends, chunks, strict=True)], pa.string())
    assert ranks(column).tolist() == [sorted(set(NAMES)).index(name) for name in NAMES]
    assert ranks(column).dtype == np.int32
    assert product_hashes(column).tolist() == [product_hash(name) for name in NAMES]


def test_no_rows_have_no_keys(store: Store) -> None:
    for keys in (keys_of(table([], [])), written(store, [])):
        assert (len(keys), keys.products, keys.contents) == (0, 0, 0)
        assert keys.rows_with_hash("a").tolist() == []


def written(store: Store, products: list[str]):  # type: ignore[no-untyped-def]
    column = pa.array(products, pa.string())
    content_N = np.arange(len(products)) // 2
    count = write_keys(store, "x", ranks(column), content_N, product_hashes(column))
    assert count == len(set(products))
    return read_keys(store, "x")


def test_mapped_keys_are_the_computed_ones(store: Store) -> None:
    mapped, computed = written(store, NAMES), keys_of(table(NAMES, ["h"] * 8))
    np.testing.assert_array_equal(mapped.product_N, computed.product_N)
    assert (mapped.products, mapped.contents, computed.products, computed.contents) == (6, 4, 6, 1)
    for name in [*NAMES, "nothing"]:
        expected = [row for row, other in enumerate(NAMES) if other == name]
        assert mapped.rows_with_hash(name).dtype == computed.rows_with_hash(name).dtype == np.int64
        assert mapped.rows_with_hash(name).tolist() == computed.rows_with_hash(name).tolist() == expected


def test_a_missing_hash_is_nobodys_duplicate() -> None:
    keys = keys_of(table(["p"] * 5, [None, "h", None, "g", "h"]))
    assert keys.contents == 4
    assert keys.content_N[1] == keys.content_N[4]
    assert len(set(keys.content_N.tolist())) == 4


def test_equal_hashes_keep_the_order_of_the_rows() -> None:
    order = hash_order(np.array([5, 2, 5, 2, 2**64 - 1], np.uint64))
    assert order.row_N.tolist() == [1, 3, 0, 2, 4]
    assert order.hash_N.tolist() == [2, 2, 5, 5, 2**64 - 1]


@pytest.mark.parametrize("seed", range(20))
def test_repeats_are_those_that_a_loop_finds(seed: int) -> None:
    dice = np.random.default_rng(seed)
    key_QK = dice.integers(-2, 4, size=(7, int(dice.integers(0, 9))))
    valid_QK = dice.random(key_QK.shape) < 0.7
    expected = np.zeros(key_QK.shape, bool)
    for query in range(len(key_QK)):
        seen: set[int] = set()
        for place in np.flatnonzero(valid_QK[query]):
            expected[query, place] = int(key_QK[query, place]) in seen
            seen.add(int(key_QK[query, place]))
    np.testing.assert_array_equal(_repeated(key_QK, valid_QK), expected)
