"""The second answer to a live search, against shards that lose some of what they find."""

import dataclasses

import numpy as np
import pytest

from tests.unit.serve.shops import catalogue, live_shard
from visnet.platform.filters import Condition, Filter
from visnet.platform.imaging import content_hash
from visnet.platform.live_shard import LiveShard, Remove, Replace
from visnet.platform.merge import NO_ROW
from visnet.platform.shard import Shard
from visnet.serve import recall_probe, telemetry
from visnet.serve.messages import ShardAnswer, ShardQuery
from visnet.serve.recall_probe import EVERY_S, RecallProbe
from visnet.serve.row_json import RowJson
from visnet.serve.shard_search import answer

PRODUCTS = 60


def query(k: int = 10, where: Filter | None = None, seed: int = 3) -> ShardQuery:
    vector_D = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    return ShardQuery(query_QD=(vector_D / np.linalg.norm(vector_D))[None], k=k, where=where)


def answered(shard: LiveShard, asked: ShardQuery) -> ShardAnswer:
    return answer(shard, RowJson(shard), asked, 0)


def without(whole: ShardAnswer, places: int) -> ShardAnswer:
    """The answer without its first so many, as an approximate index might miss them."""
    position_QK = whole.position_QK[:, places:]
    return dataclasses.replace(whole, score_QK=whole.score_QK[:, places:], position_QK=position_QK)


def probe(shard: LiveShard) -> RecallProbe:
    return RecallProbe(shard, built_rows=PRODUCTS, number=0)


@pytest.mark.parametrize("k", [1, 10, PRODUCTS, 2 * PRODUCTS])
def test_an_exact_answer_lacks_nothing(k: int) -> None:
    shard = live_shard(PRODUCTS)
    expected, found = probe(shard).compare(query(k), answered(shard, query(k)))
    assert expected == found
    assert expected >= min(k, PRODUCTS) - 1  # the last one decides what is better than it


@pytest.mark.parametrize("lost", [1, 4])
def test_what_an_answer_lacks_is_noticed(lost: int) -> None:
    shard = live_shard(PRODUCTS)
    asked = query(10)
    expected, found = probe(shard).compare(asked, without(answered(shard, asked), lost))
    assert expected - found == lost


def test_only_what_passes_the_filter_is_expected() -> None:
    shard = live_shard(PRODUCTS)
    where = Filter(must=(Condition(field="category", any_of=("bag",)),))
    for k in (5, PRODUCTS):
        expected, found = probe(shard).compare(query(k, where), answered(shard, query(k, where)))
        assert 0 < expected == found <= PRODUCTS // 3


def test_the_dead_are_not_expected_and_the_new_are() -> None:
    shard = live_shard(PRODUCTS)
    asked = query(10)
    best = answered(shard, asked).products
    ours = probe(shard)
    new = [
        {"product_id": "new", "image_id": f"n{image}", "category": "bag", "content_hash": content_hash(b"%d" % image)}
        for image in range(2)
    ]
    shard.apply([Remove(product_id=best[0])])
    before = answered(shard, asked)
    shard.apply([Replace(product_id="new", rows=new, vector_ND=np.repeat(asked.query_QD, 2, axis=0))])
    ours.written([best[0], "new"])
    assert ours.compare(asked, answered(shard, asked)) == (9, 9)
    expected, found = ours.compare(asked, before)
    assert expected - found == 1  # the new one, once


def test_the_dead_are_not_expected_where_their_vectors_stay() -> None:
    shard = live_shard(PRODUCTS)
    shard._base.vectors.forget = lambda rows: None  # type: ignore[method-assign]  # as of a mapped index
    asked = query(10)
    shard.apply([Remove(product_id=product) for product in answered(shard, asked).products[:3]])
    expected, found = probe(shard).compare(asked, answered(shard, asked))
    assert (expected, found) == (9, 9)


def test_no_more_is_expected_than_was_asked_for() -> None:
    shard = live_shard(PRODUCTS)
    asked = query(5)
    whole = answered(shard, asked)
    poor = dataclasses.replace(whole, score_QK=np.full_like(whole.score_QK, -1.0))  # everything beats its last
    assert probe(shard).compare(asked, poor) == (5, 5)


def test_a_copy_of_what_was_answered_is_not_missed() -> None:
    vectors, rows = catalogue(PRODUCTS, ["same" if number < 4 else f"{number}" for number in range(PRODUCTS)])
    vectors[:4] = vectors[0]
    shard = LiveShard(Shard(vectors, rows))
    asked = ShardQuery(query_QD=vectors[:1], k=10, where=None)
    expected, found = probe(shard).compare(asked, answered(shard, asked))
    assert expected == found


def test_of_a_large_shard_it_looks_at_some_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall_probe, "COMPONENTS", 8 * 20)
    shard = live_shard(PRODUCTS)
    taken = []
    vectors_at = shard.vectors_at
    monkeypatch.setattr(shard, "vectors_at", lambda rows: taken.append(rows) or vectors_at(rows))
    asked = query(PRODUCTS)
    ours, whole = probe(shard), answered(shard, asked)
    for _ in range(20):
        expected, found = ours.compare(asked, whole)
        assert 18 <= expected == found
    assert {len(rows) for rows in taken} == {20}
    assert len({int(rows[0]) for rows in taken}) > 1


def test_it_looks_now_and_then_and_says_the_share() -> None:
    shard = live_shard(PRODUCTS)
    ours = RecallProbe(shard, built_rows=PRODUCTS, number=77)
    asked = query(10)
    whole = answered(shard, asked)

    def said() -> tuple[list[float], list[float]]:
        families = (telemetry.RECALL, telemetry.RECALL_PROBES)
        recall, probes = ([one.value for one in of.samples() if one.labels["shard"] == "77"] for of in families)
        return recall, probes

    start = ours._due
    ours.look(asked, whole, now=start - 1)
    assert said() == ([], [])
    ours.look(asked, whole, now=start)
    ours.look(asked, without(whole, 5), now=start + EVERY_S / 2)  # too early
    assert said() == ([1.0], [1.0])
    ours.look(asked, without(whole, 5), now=start + EVERY_S)
    recall, probes = said()
    assert probes == [2.0]
    assert recall == [pytest.approx((9 + 4) / (9 + 9))]


def test_a_query_that_is_no_number_is_no_matter() -> None:
    shard = live_shard(PRODUCTS)
    asked = ShardQuery(query_QD=np.full((1, 8), np.nan, np.float32), k=5, where=None)
    whole = answered(shard, asked)
    assert (whole.position_QK == NO_ROW).all()
    assert probe(shard).compare(asked, whole) == (0, 0)
