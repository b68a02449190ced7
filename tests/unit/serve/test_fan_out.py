"""The fan-out over shards that are real but for Ray, against one flat index."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.partition import shard_of
from visnet.platform.shard import Shard
from visnet.serve.fan_out import FanOut
from visnet.serve.messages import Found, Query, ShardAnswer, ShardQuery
from visnet.serve.shards import answer

DIMENSION, PRODUCTS = 8, 60
CATEGORIES = ("bag", "coat", "shoe")


class Handle:
    """Stands for a deployment's handle: `.search.remote(...)` gives something to await."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.calls: list[list[ShardQuery]] = []
        self.search = self

    def remote(self, release: str, queries: list[ShardQuery]) -> object:
        assert release == "r-1"
        self.calls.append(queries)
        return self.reply(queries)

    async def reply(self, queries: list[ShardQuery]) -> list[ShardAnswer]:
        return [answer(self.shard, query) for query in queries]


class DeadHandle(Handle):
    async def reply(self, queries: list[ShardQuery]) -> list[ShardAnswer]:
        raise ConnectionError("the replica died")


class SlowHandle(Handle):
    async def reply(self, queries: list[ShardQuery]) -> list[ShardAnswer]:
        await asyncio.sleep(60)
        return []


def catalogue(content: Sequence[str] | None = None) -> tuple[np.ndarray, pa.Table]:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(PRODUCTS, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = pa.table(
        {
            "product_id": [f"p{number}" for number in range(PRODUCTS)],
            "image_id": [f"i{number}" for number in range(PRODUCTS)],
            "category": [CATEGORIES[number * len(CATEGORIES) // PRODUCTS] for number in range(PRODUCTS)],
            "content_hash": list(content or [f"h{number}" for number in range(PRODUCTS)]),
        }
    )
    return vectors, rows


def handles(vectors: np.ndarray, rows: pa.Table, shards: int) -> list[Handle]:
    owner = np.array([shard_of(product, shards) for product in rows["product_id"].to_pylist()])
    return [Handle(Shard(vectors[owner == number], rows.filter(pa.array(owner == number)))) for number in range(shards)]


def search(shards: Sequence[Handle], queries: Sequence[Query], timeout_s: float = 5.0) -> list[Found]:
    return asyncio.run(FanOut(shards, release="r-1", timeout_s=timeout_s).search(queries))


def products(found: Found) -> list[object]:
    return [hit.row["product_id"] for hit in found.hits]


@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("categories", [None, ("coat",), ("bag", "shoe"), ("nothing",)])
def test_equals_one_flat_search(shards: int, categories: tuple[str, ...] | None) -> None:
    vectors, rows = catalogue()
    queries = [Query(vector_D=vectors[number], k=7, categories=categories) for number in (0, 13, 41)]

    found = search(handles(vectors, rows, shards), queries)

    allowed = [categories is None or name in categories for name in rows["category"].to_pylist()]
    for query, answered in zip(queries, found, strict=True):
        score = np.where(allowed, vectors @ query.vector_D, -np.inf)
        expected = [f"p{row}" for row in np.argsort(-score, kind="stable")[:7] if allowed[row]]
        assert products(answered) == expected
        assert (answered.shards_ok, answered.shards_total) == (shards, shards)


def test_a_batch_with_several_filters_is_one_call_per_shard() -> None:
    vectors, rows = catalogue()
    shards = handles(vectors, rows, 2)
    queries = [
        Query(vector_D=vectors[0], k=3),
        Query(vector_D=vectors[1], k=9, categories=("coat",)),
        Query(vector_D=vectors[2], k=5),
    ]

    found = search(shards, queries)

    assert [len(answered.hits) for answered in found] == [3, 9, 5]
    for shard in shards:
        assert len(shard.calls) == 1
        assert [len(query.query_QD) for query in shard.calls[0]] == [2, 1]


def test_the_same_picture_in_two_shards_is_shown_once_and_k_are_still_found() -> None:
    vectors, rows = catalogue(content=["same"] * (PRODUCTS - 2) + ["other-1", "other-2"])
    shards = handles(vectors, rows, 4)

    found = search(shards, [Query(vector_D=vectors[0], k=3)])[0]

    contents = [hit.row["content_hash"] for hit in found.hits]
    assert sorted(map(str, contents)) == ["other-1", "other-2", "same"]
    assert found.hits[0].row["product_id"] == "p0"


@pytest.mark.parametrize("broken", [DeadHandle, SlowHandle])
def test_a_shard_that_does_not_answer_is_counted_and_the_others_answer(broken: type[Handle]) -> None:
    vectors, rows = catalogue()
    shards = handles(vectors, rows, 3)
    lost = set(shards[1].shard.rows["product_id"].to_pylist())
    shards[1] = broken(shards[1].shard)

    found = search(shards, [Query(vector_D=vectors[0], k=PRODUCTS)], timeout_s=0.2)[0]

    assert (found.shards_ok, found.shards_total) == (2, 3)
    assert set(products(found)) == {f"p{number}" for number in range(PRODUCTS)} - lost


def test_no_shard_at_all_is_an_empty_answer_that_says_so() -> None:
    vectors, rows = catalogue()
    shards = [DeadHandle(handle.shard) for handle in handles(vectors, rows, 2)]
    found = search(shards, [Query(vector_D=vectors[0], k=3)])[0]
    assert (found.hits, found.shards_ok, found.shards_total) == ([], 0, 2)


def test_a_product_belongs_to_the_shard_that_holds_it() -> None:
    vectors, rows = catalogue()
    shards = handles(vectors, rows, 3)
    fan_out = FanOut(shards, release="r-1", timeout_s=1.0)
    for product in rows["product_id"].to_pylist():
        assert len(fan_out.owner(product).shard.rows_of(product)) == 1
