"""Searches and recommendations of one release: computed beforehand or searched, always what is to be had now. Shards
are real, but for Ray."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from tests.unit.serve.shops import DIMENSION, catalogue, live_shards
from visnet.platform.boxes import WHOLE
from visnet.platform.filters import Condition, Filter, check
from visnet.platform.live_shard import LiveShard, Remove
from visnet.platform.release import ReleaseManifest
from visnet.platform.rules import is_in_stock
from visnet.platform.settings import RecommendSettings
from visnet.serve.messages import Found, Known, Lookup, OnShelf, Part, Query, ShardAnswer, ShardQuery, Shelf
from visnet.serve.problems import ProblemError
from visnet.serve.row_json import RowJson
from visnet.serve.searching import given_vector, recommend, search, search_part, stored_vector
from visnet.serve.served import Served
from visnet.serve.shard_client import ShardClient
from visnet.serve.shard_search import answer

PRODUCTS, SHARDS = 60, 3


class Handle:
    """One shard as the service has it, without Ray; `neighbours` are its precomputed ones."""

    def __init__(self, shard: LiveShard, neighbours: dict[str, list[tuple[str, float]]]) -> None:
        self.shard, self.rows, self._neighbours = shard, RowJson(shard), neighbours
        self.alive = True
        for name in ("search", "look_up", "show", "state"):
            setattr(self, name, type("Method", (), {"remote": staticmethod(getattr(self, f"_{name}"))}))

    async def _search(self, queries: list[ShardQuery]) -> list[ShardAnswer]:
        self._check()
        return [answer(self.shard, self.rows, query, 5) for query in queries]

    async def _look_up(self, lookups: list[Lookup]) -> list[Known | None]:
        self._check()
        return [self._known(lookup) for lookup in lookups]

    async def _show(self, shelves: list[Shelf]) -> list[OnShelf]:
        self._check()
        return [OnShelf(fields=[self._shown(name, shelf) for name in shelf.products], sequence=4) for shelf in shelves]

    async def _state(self) -> None:
        await asyncio.Event().wait()

    def _check(self) -> None:
        if not self.alive:
            raise ConnectionError("died")

    def _known(self, lookup: Lookup) -> Known | None:
        shown = self.rows.product(lookup.product_id)
        if shown is None:
            return None
        return Known(
            fields=shown.fields,
            images=self.shard.rows_at(self.shard.rows_of(lookup.product_id)) if lookup.details else None,
            vector_D=self.shard.vector(lookup.product_id) if lookup.vector else None,
            neighbours=self._neighbours.get(lookup.product_id) if lookup.neighbours else None,
        )

    def _shown(self, name: str, shelf: Shelf) -> bytes | None:
        shown = self.rows.product(name)
        if shown is None or (shelf.in_stock and not is_in_stock(shown.row.get(shelf.in_stock))):
            return None
        return shown.fields


NEIGHBOURS = {"p0": [(f"p{number}", 1 - number / 100) for number in range(10, 20)]}


def run(
    script: Callable[[Served, list[Handle]], Any],
    *,
    rules: dict[str, Any] | None = None,
    content: Sequence[str] | None = None,
) -> Any:
    async def session() -> Any:
        shards = live_shards(*catalogue(PRODUCTS, content), SHARDS)
        handles = [Handle(shard, NEIGHBOURS) for shard in shards]
        clients = [ShardClient(n, handle, timeout_s=5.0, doubt_s=0.05) for n, handle in enumerate(handles)]
        served = Served(
            plan="plan",
            manifest=cast(ReleaseManifest, None),
            dimension=DIMENSION,
            schema=shards[0].schema,
            rules=rules or {},
            embedder=None,
            shards=clients,
            search_batch_size=8,
        )
        try:
            return await script(served, handles)
        finally:
            served.close()

    return asyncio.run(session())


def remove(handles: list[Handle], *names: str) -> None:
    for handle in handles:
        handle.rows.forget(handle.shard.apply([Remove(product_id=name) for name in names]), names)


def names(found: Any) -> list[str]:
    return [hit.product_id for hit in found.hits]


VECTORS, ROWS = catalogue(PRODUCTS)


def nearest(
    query_D: np.ndarray, *, without: Sequence[str] = (), allowed: Callable[[int], bool] = lambda _: True
) -> list[str]:
    order = np.argsort(-(VECTORS @ query_D), kind="stable")
    return [f"p{number}" for number in order if f"p{number}" not in without and allowed(int(number))]


def test_what_was_computed_beforehand_is_shown_as_it_is_now() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        found, precomputed = await recommend(served, ["p0"], [], 4, None)
        assert (names(found), precomputed, found.sequence) == (["p10", "p11", "p12", "p13"], True, 4)
        remove(handles, "p11", "p12")
        found, precomputed = await recommend(served, ["p0"], [], 4, None)
        assert (names(found), precomputed) == (["p10", "p13", "p14", "p15"], True)

    run(script)


def test_when_too_few_of_them_are_left_it_is_searched() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        remove(handles, *[f"p{number}" for number in range(10, 17)])
        found, precomputed = await recommend(served, ["p0"], [], 4, None)
        gone = {f"p{number}" for number in range(10, 17)}
        assert not precomputed
        assert names(found) == [name for name in nearest(VECTORS[0], without=["p0"]) if name not in gone][:4]

    run(script)


def test_what_is_out_of_stock_is_never_recommended() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        _, precomputed = await recommend(served, ["p0"], [], 3, None)
        assert precomputed  # prices 10, 11, 12: all in stock
        live, precomputed = await recommend(served, ["p1"], [], PRODUCTS, None)
        assert not precomputed
        assert set(names(live)) == {f"p{number}" for number in range(1, PRODUCTS)} - {
            "p1"
        }  # not p0, of which there are 0

    run(script, rules=dataclasses.asdict(RecommendSettings(in_stock="price")))


def test_a_filter_is_searched_by_and_joined_with_the_rules() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        where = check(Filter(must=(Condition(field="price", lt=40),)), served.schema)
        found, precomputed = await recommend(served, ["p0"], [], 5, where)
        assert not precomputed
        category = ROWS["category"].to_pylist()
        fits = nearest(VECTORS[0], without=["p0"], allowed=lambda n: n < 40 and category[n] == category[0])
        assert names(found) == fits[:5]

    run(script, rules=dataclasses.asdict(RecommendSettings(same_category=True)))


def test_examples_for_and_against() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        found, precomputed = await recommend(served, ["p1", "p2"], ["p3"], 6, None)
        query_D = 2 * (VECTORS[1] + VECTORS[2]) / 2 - VECTORS[3]
        assert names(found) == nearest(query_D, without=["p1", "p2", "p3"])[:6]
        assert not precomputed

    run(script)


def test_examples_that_cancel_each_other_are_refused() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        known = served.known

        async def opposite(lookup: Lookup) -> Known | None:
            found = await known(lookup)
            assert found is not None
            sign = 1 if lookup.product_id == "p1" else -1
            return dataclasses.replace(found, vector_D=sign * np.eye(1, DIMENSION, dtype=np.float32)[0])

        served.known = opposite  # type: ignore[method-assign]
        with pytest.raises(ProblemError, match="cancel") as refused:
            await recommend(served, ["p1", "p2"], [], 3, None)
        assert refused.value.status == 422

    run(script)


def test_an_unknown_example_is_named() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        for positive, negative in ((["p0", "nobody"], []), (["nobody"], []), (["p0"], ["nobody"])):
            with pytest.raises(ProblemError, match="'nobody'") as refused:
                await recommend(served, positive, negative, 3, None)
            assert refused.value.status == 404

    run(script)


def test_a_copy_of_the_product_is_not_recommended_to_it() -> None:
    content = [f"picture {number}" for number in range(PRODUCTS)]
    content[7] = content[1]

    async def script(served: Served, handles: list[Handle]) -> None:
        found, _ = await recommend(served, ["p1"], [], PRODUCTS, None)
        assert "p7" not in names(found)
        assert len(names(found)) == PRODUCTS - 2

    run(script, content=content)


def test_diversity_is_that_of_the_pass() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        found, _ = await recommend(served, ["p1"], [], 5, None)
        assert names(found)[0] == nearest(VECTORS[1], without=["p1"])[0]
        assert names(found) != nearest(VECTORS[1], without=["p1"])[:5]
        assert set(names(found)) <= set(nearest(VECTORS[1], without=["p1"])[:25])

    run(script, rules=dataclasses.asdict(RecommendSettings(diversity=0.9)))


def test_a_shard_that_is_down_makes_a_live_answer_partial() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        handles[(served.fan_out.owner("p0").number + 1) % SHARDS].alive = False
        found, precomputed = await recommend(served, ["p0"], [], 10, None)
        assert not precomputed
        assert (found.shards_ok, found.shards_total) == (2, 3)

    run(script)


def test_a_search_leaves_out_what_it_is_told_to() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        vector_D = await stored_vector(served, "p3")
        found = await search(served, vector_D, 4, None, without=["p3"])
        assert names(found) == nearest(VECTORS[3], without=["p3"])[:4]
        for handle in handles:
            handle.alive = False
        with pytest.raises(ProblemError, match="no shard answered"):
            await search(served, vector_D, 4, None)

    run(script)


SHARES = (("bag", 0.6), ("coat", 0.3), ("shoe", 0.05), ("hat", 0.05))
COPIES = [f"picture {number % 37}" for number in range(PRODUCTS)]
"""Of the first 23 products' pictures there are copies, in other categories, with other vectors."""


def part(query_D: np.ndarray, categories: Sequence[tuple[str, float]] = SHARES) -> Part:
    return Part(box=WHOLE, vector_D=query_D, confidence=0.9, categories=tuple(categories))


def ranked(
    query_D: np.ndarray,
    k: int,
    *,
    weight: float,
    shares: dict[str, float],
    content: Sequence[str],
    allowed: Callable[[int], bool] = lambda _: True,
) -> list[str]:
    """All products by score and category, the first of each picture, by looking at every one."""
    category = ROWS["category"].to_pylist()
    score = {n: float(VECTORS[n] @ query_D) + weight * shares.get(category[n], 0.0) for n in range(PRODUCTS)}
    best: dict[str, int] = {}
    for number in sorted(filter(allowed, score), key=lambda n: -score[n]):
        best.setdefault(content[number], number)
    return [f"p{number}" for number in list(best.values())[:k]]


def queries(count: int) -> np.ndarray:
    query_QD = np.random.default_rng(1).normal(size=(count, DIMENSION)).astype(np.float32)
    unit_QD: np.ndarray = query_QD / np.linalg.norm(query_QD, axis=1, keepdims=True)
    return unit_QD


@pytest.mark.parametrize("weight", [0.05, 0.5, 10.0])
@pytest.mark.parametrize("content", [[str(number) for number in range(PRODUCTS)], COPIES], ids=["unlike", "copies"])
@pytest.mark.parametrize("k", [1, 7, PRODUCTS])
def test_products_of_likely_categories_come_forward_as_if_all_were_ranked(
    weight: float, content: list[str], k: int
) -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        for query_D in queries(5):
            one = await search_part(served, part(query_D), k, None, weight=weight)
            shares = {"bag": 0.6, "coat": 0.3}  # the others are not likely enough
            assert names(one.found) == ranked(query_D, k, weight=weight, shares=shares, content=content)
            assert one.narrowed == (("bag", 0.6), ("coat", 0.3))
            for hit in one.found.hits:  # what is shown is the similarity
                assert hit.score == pytest.approx(float(VECTORS[int(hit.product_id[1:])] @ query_D), abs=1e-5)
            assert (one.found.shards_ok, one.found.shards_total) == (SHARDS, SHARDS)

    run(script, content=content)


def test_a_category_changes_something() -> None:
    """Lest the tests above compare nothing."""
    (query_D,) = queries(1)
    content = [str(number) for number in range(PRODUCTS)]
    few, none, copies = (
        ranked(query_D, 20, weight=weight, shares={"bag": 0.6}, content=what)
        for weight, what in ((0.5, content), (0.0, content), (0.5, COPIES))
    )
    assert few != none
    assert few != copies


FILTERS: dict[str, tuple[Filter, Callable[[int], bool]]] = {
    "must": (Filter(must=(Condition(field="price", lt=40.0),)), lambda n: n < 40),
    "should": (
        Filter(should=(Condition(field="price", lt=10.0), Condition(field="price", gte=50.0))),
        lambda n: n < 10 or n >= 50,
    ),
    "must not": (Filter(must_not=(Condition(field="price", lt=20.0),)), lambda n: n >= 20),
    "must not be of a category": (Filter(must_not=(Condition(field="category", any_of=("bag",)),)), lambda n: n >= 20),
}


@pytest.mark.parametrize("what", list(FILTERS))
def test_a_filter_holds_for_what_came_forward_too(what: str) -> None:
    where, allowed = FILTERS[what]

    async def script(served: Served, handles: list[Handle]) -> None:
        for query_D in queries(5):
            one = await search_part(served, part(query_D), 9, check(where, served.schema), weight=0.5)
            shares = {"bag": 0.6, "coat": 0.3}
            assert names(one.found) == ranked(query_D, 9, weight=0.5, shares=shares, content=COPIES, allowed=allowed)

    run(script, content=COPIES)


def test_copies_are_found_once_even_where_their_category_came_forward() -> None:
    content = [f"picture {number}" for number in range(PRODUCTS)]
    content[45] = content[3]  # a shoe with the picture of a bag

    async def script(served: Served, handles: list[Handle]) -> None:
        for query_D in VECTORS[[3, 45]]:
            one = await search_part(served, part(query_D), PRODUCTS, None, weight=5.0)
            assert ("p3" in names(one.found), "p45" in names(one.found)) == (True, False)
            assert len(names(one.found)) == PRODUCTS - 1

    run(script, content=content)


def asked_for(served: Served, change: Callable[[Query, Found], Found] = lambda _, found: found) -> list[Query]:
    """The searches made from now on; each answer goes through `change`."""
    seen: list[Query] = []
    find = served.find

    async def watched(query: Query) -> Found:
        seen.append(query)
        return change(query, await find(query))

    served.find = watched  # type: ignore[assignment]
    return seen


@pytest.mark.parametrize(
    ("weight", "categories", "where"),
    [
        (0.0, SHARES, None),
        (0.5, (), None),
        (0.5, [("bag", 0.09), ("coat", 0.09)], None),
        (0.5, SHARES, Filter(must=(Condition(field="category", any_of=("shoe", "coat")),))),
    ],
)
def test_where_no_category_is_to_come_forward_there_is_one_search(
    weight: float, categories: Sequence[tuple[str, float]], where: Filter | None
) -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        (query_D,) = queries(1)
        plain = await search(served, query_D, 6, where)
        asked = asked_for(served)
        one = await search_part(served, part(query_D, categories), 6, where, weight=weight)
        assert [(query.k, query.where) for query in asked] == [(6, where)]
        assert (names(one.found), one.narrowed) == (names(plain), ())

    run(script)


def test_a_category_that_the_catalogue_does_not_have_changes_nothing() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        (query_D,) = queries(1)
        one = await search_part(served, part(query_D, [("hat", 1.0)]), 6, None, weight=0.5)
        assert names(one.found) == nearest(query_D)[:6]

    run(script)


@pytest.mark.parametrize("within", [True, False])
def test_an_answer_lacks_what_any_of_its_searches_lacks(within: bool) -> None:
    def lacking(query: Query, found: Found) -> Found:
        return dataclasses.replace(found, shards_ok=2, sequence=-5) if bool(query.where) == within else found

    async def script(served: Served, handles: list[Handle]) -> None:
        asked = asked_for(served, lacking)
        one = await search_part(served, part(queries(1)[0]), 5, None, weight=0.5)
        assert len(asked) == 3
        assert (one.found.shards_ok, one.found.shards_total, one.found.sequence) == (2, SHARDS, -5)

    run(script)


def test_a_part_is_searched_for_by_what_answers() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        handles[0].alive = False
        one = await search_part(served, part(queries(1)[0]), 5, None, weight=0.5)
        assert (one.found.shards_ok, len(one.found.hits)) == (2, 5)
        for handle in handles:
            handle.alive = False
        with pytest.raises(ProblemError, match="no shard answered"):
            await search_part(served, part(queries(1)[0]), 5, None, weight=0.5)

    run(script)


def test_vectors_that_are_given() -> None:
    async def script(served: Served, handles: list[Handle]) -> None:
        for given in ([3.0] * 8, [1e300] * 8, [1e-300] * 8):
            np.testing.assert_allclose(given_vector(served, given), np.full(8, 8**-0.5), rtol=1e-6)
        for wrong, why in (
            ([0.0] * 8, "not all 0"),
            ([1.0] * 7, "expected 8 numbers, got 7"),
            ([float("nan")] * 8, "finite"),
            ([float("inf")] * 8, "finite"),
        ):
            with pytest.raises(ProblemError, match=why):
                given_vector(served, wrong)

    run(script)
