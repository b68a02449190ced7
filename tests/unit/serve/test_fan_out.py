"""The fan-out over shards that are real but for Ray, against one flat index."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from ray.serve.exceptions import BackPressureError

from tests.unit.serve.shops import catalogue, live_shards
from visnet.platform.filters import Condition, Filter
from visnet.platform.live_shard import LiveShard
from visnet.serve.fan_out import FanOut
from visnet.serve.messages import Found, Query, ShardAnswer, ShardQuery
from visnet.serve.row_json import RowJson
from visnet.serve.shard_client import ShardClient
from visnet.serve.shard_search import answer

PRODUCTS = 60


class Handle:
    """Stands for a deployment's handle: `.search.remote(...)` gives something to await."""

    def __init__(self, shard: LiveShard, sequence: int = 0) -> None:
        self.shard = shard
        self.rows = RowJson(shard)
        self.sequence = sequence
        self.calls: list[list[ShardQuery]] = []
        self.search = self.state = self

    def remote(self, *arguments: list[ShardQuery]) -> object:
        if arguments:
            self.calls.append(arguments[0])
        return self.reply(*arguments)

    async def reply(self, queries: list[ShardQuery]) -> list[ShardAnswer]:
        return [answer(self.shard, self.rows, query, self.sequence) for query in queries]


class DeadHandle(Handle):
    async def reply(self, *_: list[ShardQuery]) -> list[ShardAnswer]:
        raise ConnectionError("the replica died")


class SlowHandle(Handle):
    async def reply(self, *_: list[ShardQuery]) -> list[ShardAnswer]:
        await asyncio.sleep(60)
        return []


class FullHandle(Handle):
    async def reply(self, *_: list[ShardQuery]) -> list[ShardAnswer]:
        raise BackPressureError(num_queued_requests=1, max_queued_requests=1)


def handles(shards: int, content: Sequence[str] | None = None) -> list[Handle]:
    return [Handle(shard) for shard in live_shards(*catalogue(PRODUCTS, content), shards)]


def search(shards: Sequence[Handle], queries: Sequence[Query], timeout_s: float = 5.0) -> list[Found]:
    async def run() -> list[Found]:
        clients = [ShardClient(n, shard, timeout_s=timeout_s, doubt_s=0.05) for n, shard in enumerate(shards)]
        try:
            return await FanOut(clients).search(queries)
        finally:
            for client in clients:
                client.close()

    return asyncio.run(run())


def only(*categories: str) -> Filter:
    return Filter(must=(Condition(field="category", any_of=categories),))


def products(found: Found) -> list[str]:
    return [hit.product_id for hit in found.hits]


@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("categories", [None, ("coat",), ("bag", "shoe"), ("nothing",)])
def test_equals_one_flat_search(shards: int, categories: tuple[str, ...] | None) -> None:
    vectors, rows = catalogue(PRODUCTS)
    where = only(*categories) if categories is not None else None
    queries = [Query(vector_D=vectors[number], k=7, where=where) for number in (0, 13, 41)]

    found = search(handles(shards), queries)

    allowed = [categories is None or name in categories for name in rows["category"].to_pylist()]
    for query, answered in zip(queries, found, strict=True):
        score = np.where(allowed, vectors @ query.vector_D, -np.inf)
        expected = [f"p{row}" for row in np.argsort(-score, kind="stable")[:7] if allowed[row]]
        assert products(answered) == expected
        assert (answered.shards_ok, answered.shards_total) == (shards, shards)


def test_a_batch_with_several_filters_is_one_call_per_shard() -> None:
    vectors, _ = catalogue(PRODUCTS)
    shards = handles(2)
    queries = [
        Query(vector_D=vectors[0], k=3),
        Query(vector_D=vectors[1], k=9, where=only("coat")),
        Query(vector_D=vectors[2], k=5),
    ]

    found = search(shards, queries)

    assert [len(answered.hits) for answered in found] == [3, 9, 5]
    for shard in shards:
        assert len(shard.calls) == 1
        assert [len(query.query_QD) for query in shard.calls[0]] == [2, 1]


def test_the_same_picture_in_two_shards_is_shown_once_and_k_are_still_found() -> None:
    vectors, _ = catalogue(PRODUCTS)
    content = ["same"] * (PRODUCTS - 2) + ["other-1", "other-2"]

    found = search(handles(4, content), [Query(vector_D=vectors[0], k=3)])[0]

    assert products(found)[0] == "p0"
    assert {"p58", "p59"} < set(products(found))
    assert len(products(found)) == 3


@pytest.mark.parametrize("broken", [DeadHandle, SlowHandle])
def test_a_shard_that_does_not_answer_is_counted_and_the_others_answer(broken: type[Handle]) -> None:
    vectors, _ = catalogue(PRODUCTS)
    shards = handles(3)
    lost = {str(row["product_id"]) for row in shards[1].shard.rows_at(np.arange(len(shards[1].shard)))}
    shards[1] = broken(shards[1].shard)

    found = search(shards, [Query(vector_D=vectors[0], k=PRODUCTS)])[0]

    assert (found.shards_ok, found.shards_total) == (2, 3)
    assert set(products(found)) == {f"p{number}" for number in range(PRODUCTS)} - lost


def test_no_shard_at_all_is_an_empty_answer_that_says_so() -> None:
    vectors, _ = catalogue(PRODUCTS)
    shards: list[Handle] = [DeadHandle(handle.shard) for handle in handles(2)]
    found = search(shards, [Query(vector_D=vectors[0], k=3)])[0]
    assert (found.hits, found.shards_ok, found.shards_total) == ([], 0, 2)


def test_shards_that_are_all_full_are_an_overload() -> None:
    vectors, _ = catalogue(PRODUCTS)
    shards: list[Handle] = [FullHandle(handle.shard) for handle in handles(2)]
    with pytest.raises(BackPressureError):
        search(shards, [Query(vector_D=vectors[0], k=3)])


def test_an_answer_has_what_the_slowest_shard_has() -> None:
    vectors, _ = catalogue(PRODUCTS)
    shards = handles(3)
    for sequence, shard in zip((9, 4, 7), shards, strict=True):
        shard.sequence = sequence
    assert search(shards, [Query(vector_D=vectors[0], k=3)])[0].sequence == 4


def test_hits_carry_their_vectors_if_they_are_asked_for() -> None:
    vectors, _ = catalogue(PRODUCTS)
    asked = [Query(vector_D=vectors[0], k=3, with_vectors=True), Query(vector_D=vectors[0], k=3)]
    with_them, without = search(handles(2), asked)
    first = with_them.hits[0].vector_D
    assert first is not None
    np.testing.assert_allclose(first, vectors[0], atol=1e-3)
    assert products(with_them) == products(without)
    assert without.hits[0].vector_D is None


def test_a_product_belongs_to_the_shard_that_holds_it() -> None:
    clients = [ShardClient(n, shard, timeout_s=1.0) for n, shard in enumerate(handles(3))]
    fan_out = FanOut(clients)
    for number in range(PRODUCTS):
        owner = fan_out.owner(f"p{number}")
        assert len(owner._handle.shard.rows_of(f"p{number}")) == 1
