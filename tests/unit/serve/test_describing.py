"""What a release says of its catalogue: samples, facets, duplicates, examples and the map. Shards are real, but for
Ray."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.serve.shops import CATEGORIES, catalogue, live_shards
from tests.unit.serve.test_searching import Handle
from visnet.platform.client.models import CatalogAnswer, DuplicatesAnswer, SampleAnswer
from visnet.platform.filters import Condition, Filter
from visnet.platform.live_recommend import query_vector
from visnet.platform.live_shard import Remove
from visnet.platform.release import ReleaseManifest
from visnet.serve.answers import Clock, duplicates_answer, products_answer
from visnet.serve.describing import Describing
from visnet.serve.duplicates import Duplicates, duplicates
from visnet.serve.examples import examples_of
from visnet.serve.messages import Looked, Part, Sample, Sampled, ShardFacets, ShardState
from visnet.serve.problems import ProblemError
from visnet.serve.sampling import Drawn, sample
from visnet.serve.served import Served
from visnet.serve.shard_client import ShardClient
from visnet.serve.shard_describing import FacetCount, draw

PRODUCTS, SHARDS = 60, 3
T = TypeVar("T")


class DescribedHandle(Handle):
    """A shard that says of itself what `ShardServer` does."""

    def __init__(self, *arguments: Any, number: int) -> None:
        super().__init__(*arguments)
        self.number = number
        for name in ("sample", "facets", "state"):
            setattr(self, name, type("Method", (), {"remote": staticmethod(getattr(self, f"_{name}"))}))

    async def _sample(self, sample: Sample) -> Sampled:
        self._check()
        return draw(self.shard, self.rows, sample, number=self.number, sequence=6)

    async def _facets(self) -> ShardFacets:
        self._check()
        counted = FacetCount(self.shard)
        counted.count_built()
        return counted.now(7)

    async def _state(self) -> ShardState:  # type: ignore[override]
        self._check()
        return ShardState(release="r-1", images=len(self.shard), products=self.shard.products, sequence=0, changed=0)


def shop() -> list[DescribedHandle]:
    return handles_of(*catalogue(PRODUCTS))


def handles_of(vectors: np.ndarray, rows: pa.Table) -> list[DescribedHandle]:
    shards = live_shards(vectors, rows, SHARDS)
    return [DescribedHandle(shard, {}, number=number) for number, shard in enumerate(shards)]


def ask(handles: Sequence[DescribedHandle], question: Callable[[Served], Awaitable[T]]) -> T:
    async def run() -> T:
        manifest = ReleaseManifest(
            release="r-1", encoder="e", encoder_digest="d", index="i", recommendations="n", catalog="shop",
            catalog_version="v1", evaluation={}, gates=[],
        )  # fmt: skip
        served = Served(
            plan="plan",
            manifest=manifest,
            dimension=handles[0].shard.dimension,
            schema=handles[0].shard.schema,
            rules={},
            embedder=None,
            shards=[ShardClient(n, handle, timeout_s=5.0, doubt_s=0.5) for n, handle in enumerate(handles)],
            search_batch_size=8,
        )
        try:
            return await question(served)
        finally:
            served.close()

    return asyncio.run(run())


def named(drawn: Drawn) -> list[str]:
    return [json.loads(b"{%b}" % fields)["product_id"] for fields in drawn.fields]


def test_a_sample_is_of_all_shards_and_the_same_for_the_same_seed() -> None:
    first, again, other = (named(ask(shop(), lambda served, s=seed: sample(served, 20, s))) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 20
    assert set(named(ask(shop(), lambda served: sample(served, 500, 1)))) == {f"p{n}" for n in range(PRODUCTS)}
    counts = np.zeros(PRODUCTS)
    for seed in range(200):
        for product in named(ask(shop(), lambda served, s=seed: sample(served, 6, s))):
            counts[int(product[1:])] += 1
    assert (counts > 0).all()  # each is expected 20 times
    assert counts.max() < 60


def test_a_sample_passes_the_filter_has_its_vectors_and_leaves_out_what_is_gone() -> None:
    handles = shop()
    handles[0].shard.apply([Remove(product_id=f"p{number}") for number in range(10)])
    coats = Filter(must=(Condition(field="category", any_of=("coat",)), Condition(field="price", gte=25)))
    drawn = ask(handles, lambda served: sample(served, 500, 1, coats, with_vectors=True))
    gone = {f"p{number}" for number in range(10)} & set(drawn_products(handles[0]))
    assert set(named(drawn)) == {f"p{number}" for number in range(25, 40)} - gone
    vectors, _ = catalogue(PRODUCTS)
    assert drawn.vector_ND is not None
    expected = np.stack([vectors[int(product[1:])] for product in named(drawn)])
    np.testing.assert_allclose(drawn.vector_ND, expected, atol=2e-3)


def drawn_products(handle: DescribedHandle) -> list[str]:
    return [str(row["product_id"]) for row in handle.shard.built.to_pylist()]


def test_a_shard_that_is_down_makes_a_sample_partial_and_none_at_all_is_a_503() -> None:
    handles = shop()
    handles[1].alive = False
    drawn = ask(handles, lambda served: sample(served, 500, 1))
    assert (drawn.about.shards_ok, drawn.about.shards_total) == (2, 3)
    assert not set(named(drawn)) & set(drawn_products(handles[1]))
    for handle in handles:
        handle.alive = False
    with pytest.raises(ProblemError, match="no shard answered"):
        ask(handles, lambda served: sample(served, 5, 1))


def test_the_catalogue_is_described_over_all_shards() -> None:
    answer = ask(shop(), lambda served: Describing().catalog(served, writable=True, clock=Clock()))
    assert isinstance(answer, CatalogAnswer)
    assert (answer.catalog, answer.images, answer.products, answer.writable) == ("shop-v1", PRODUCTS, PRODUCTS, True)
    assert [(entry.value, entry.count) for entry in answer.categories] == [(name, 20) for name in CATEGORIES]
    (price,) = answer.attributes
    assert (price.name, price.kind, price.min, price.max, price.missing) == ("price", "number", 0.0, 59.0, 0)
    assert answer.chance is not None
    assert 0 < answer.chance < 1
    assert answer.sequence == 7


def test_a_map_is_made_once_however_many_ask() -> None:
    handles, describing = shop(), Describing()

    async def twice(served: Served) -> list[Any]:
        return list(await asyncio.gather(describing.map(served, 40), describing.map(served, 40)))

    first, second = ask(handles, twice)
    assert first is second
    assert (first.images, first.sampled, len(set(first.product_id))) == (PRODUCTS, 40, 40)
    assert all(0 <= place <= 1 for place in first.x + first.y)
    assert set(first.category) <= set(CATEGORIES)


def test_a_description_that_failed_is_tried_again() -> None:
    handles, describing = shop(), Describing()

    async def fails_then_stands(served: Served) -> int:
        for handle in handles:
            handle.alive = False
        with pytest.raises(ProblemError):
            await describing.map(served, 10)
        for handle in handles:
            handle.alive = True
        while any(shard.is_down for shard in served.fan_out.shards):
            await asyncio.sleep(0.05)
        return (await describing.map(served, 10)).sampled

    assert ask(handles, fails_then_stands) == 10


def test_duplicates_are_those_with_the_same_picture_and_those_hardly_told_apart() -> None:
    content = [f"picture {number}" for number in range(PRODUCTS)]
    content[7] = content[31] = content[3]
    vectors, rows = catalogue(PRODUCTS, content)
    vectors[[7, 31]] = vectors[3]
    vectors[8] = vectors[3] + 0.001 * vectors[9]
    found = ask(handles_of(vectors, rows), lambda served: duplicates(served, "p3", 20, 0.999))
    assert {hit.product_id for hit in found.found.hits[:2]} == {"p7", "p31"}
    assert [hit.product_id for hit in found.found.hits[2:]] == ["p8"]
    assert found.same == (True, True, False)
    vectors, _ = catalogue(PRODUCTS)
    near = sorted(range(PRODUCTS), key=lambda number: -float(vectors[number] @ vectors[5]))[1:4]
    least = float(vectors[near[-1]] @ vectors[5]) - 1e-3
    found = ask(shop(), lambda served: duplicates(served, "p5", 20, least))
    assert [hit.product_id for hit in found.found.hits][:3] == [f"p{number}" for number in near]
    assert not any(found.same)
    with pytest.raises(ProblemError, match="no product 'nobody'"):
        ask(shop(), lambda served: duplicates(served, "nobody", 20, 0.9))


def test_examples_steer_a_query_as_recommendations_are_steered() -> None:
    vectors, _ = catalogue(PRODUCTS)
    examples = ask(shop(), lambda served: examples_of(served, ["p1", "p2"], ["p3"]))
    assert examples.products == ("p1", "p2", "p3")
    expected = query_vector(vectors[[9, 1, 2]], vectors[[3]])
    np.testing.assert_allclose(examples.steer(vectors[9]), expected, atol=1e-3)
    np.testing.assert_allclose(examples.alone(), query_vector(vectors[[1, 2]], vectors[[3]]), atol=1e-3)
    looked = Looked(parts=(Part(box=(0, 0, 1, 1), vector_D=vectors[9]), Part(box=(0, 0, 1, 1))))
    first, second = examples.steer_all(looked).parts
    assert first.vector_D is not None
    np.testing.assert_allclose(first.vector_D, expected, atol=1e-3)
    assert second.vector_D is None
    none = ask(shop(), lambda served: examples_of(served, [], []))
    assert none.steer(vectors[9]) is vectors[9] or np.array_equal(none.steer(vectors[9]), vectors[9])
    cancelled = ask(shop(), lambda served: examples_of(served, ["p1"], ["p1"]))
    assert np.isfinite(cancelled.alone()).all()  # weights 2 and 1: something is left
    with pytest.raises(ProblemError, match="cancel"):
        ask(shop(), lambda served: examples_of(served, [], ["p1"])).steer(0.5 * vectors[1])
    with pytest.raises(ProblemError, match="no product 'nobody'"):
        ask(shop(), lambda served: examples_of(served, ["nobody"], []))


def test_answers_of_samples_and_duplicates_are_what_the_api_says() -> None:
    drawn = ask(shop(), lambda served: sample(served, 5, 1))
    served = cast(Served, type("Served", (), {"manifest": type("Manifest", (), {"release": "r-1"})}))
    answer = SampleAnswer.model_validate_json(bytes(products_answer(served, drawn, Clock()).body), strict=True)
    assert [product.product_id for product in answer.results] == named(drawn)
    found: Duplicates = ask(shop(), lambda served: duplicates(served, "p5", 3, -1.0))
    body = bytes(duplicates_answer(served, found, Clock(), product_id="p5", min_score=-1.0).body)
    parsed = DuplicatesAnswer.model_validate_json(body, strict=True)
    assert [entry.product_id for entry in parsed.results] == [hit.product_id for hit in found.found.hits]
    assert not any(entry.same_picture for entry in parsed.results)
