"""Answers put together from their shards' JSON."""

import json
from typing import Any, cast

import pytest

from visnet.platform.imaging import encode_png
from visnet.serve.answers import Clock, found_answer, media_type, product_answer, wanted, write_answer
from visnet.serve.api import ProductAnswer, RecommendAnswer, SearchAnswer
from visnet.serve.api_products import WriteAnswer, Written
from visnet.serve.messages import Found, Hit
from visnet.serve.problems import ProblemError
from visnet.serve.row_json import row_fields
from visnet.serve.served import Served


class FakeServed:
    class manifest:
        release = "r-1"


SERVED = cast(Served, FakeServed())


def hit(product: str, score: float) -> Hit:
    row = {"product_id": product, "image_id": "i", "category": "c", "content_hash": "h", "price": 2.5}
    return Hit(score=score, product_id=product, fields=row_fields(row))


def found(*hits: Hit, ok: int = 2) -> Found:
    return Found(hits=list(hits), shards_ok=ok, shards_total=2, sequence=7)


def test_a_search_s_answer_is_what_the_api_says() -> None:
    response = found_answer(SERVED, found(hit("a", 0.75), hit('b"\\', -1e-7)), Clock())
    answer = SearchAnswer.model_validate_json(bytes(response.body), strict=True)
    assert [(result.product_id, result.score) for result in answer.results] == [("a", 0.75), ('b"\\', -0.0)]
    assert answer.results[0].attributes == {"price": 2.5}
    assert (answer.release, answer.partial, answer.sequence) == ("r-1", False, 7)


def test_a_recommendation_says_of_what() -> None:
    response = found_answer(SERVED, found(ok=1), Clock(), product_id="p", precomputed=True)
    answer = RecommendAnswer.model_validate_json(bytes(response.body), strict=True)
    assert (answer.product_id, answer.precomputed, answer.partial, answer.results) == ("p", True, True, [])


def test_a_product_s_answer_is_what_the_api_says() -> None:
    further: dict[str, Any] = {"release": "r", "shards": {"ok": 1, "total": 1}, "partial": False, "sequence": 0}
    response = product_answer(hit("p", 1.0).fields, images=["i"], timings_ms={"total": 1.0}, **further)
    answer = ProductAnswer.model_validate_json(bytes(response.body), strict=True)
    assert (answer.product.product_id, answer.images) == ("p", ["i"])


def test_hits_below_the_least_score_are_left_out() -> None:
    assert [one.product_id for one in wanted(found(hit("a", 0.9), hit("b", 0.4)), 0.5, False).hits] == ["a"]


def test_a_whole_answer_or_none() -> None:
    assert wanted(found(hit("a", 0.9)), None, True).hits
    with pytest.raises(ProblemError, match="1 of 2 shards") as refused:
        wanted(found(hit("a", 0.9), ok=1), None, True)
    assert refused.value.status == 503


def written(*statuses: str) -> WriteAnswer:
    return WriteAnswer(
        sequence=1,
        products=[
            Written(product_id=f"p{n}", status=status, detail=None if status == "ok" else "no picture")  # type: ignore[arg-type]
            for n, status in enumerate(statuses)
        ],
    )


def test_all_some_or_none_of_a_write() -> None:
    assert write_answer(written("ok", "ok")) == written("ok", "ok")
    some = write_answer(written("ok", "rejected"))
    assert some.status_code == 207
    assert [one["status"] for one in json.loads(some.body)["products"]] == ["ok", "rejected"]
    with pytest.raises(ProblemError, match="p0: no picture") as refused:
        write_answer(written("rejected"))
    assert refused.value.status == 422
    with pytest.raises(ProblemError, match="all 2 were rejected; p0: no picture"):
        write_answer(written("rejected", "rejected"))


def test_a_clock_counts_each_stage() -> None:
    clock = Clock()
    clock.lap("one")
    clock.lap("two")
    assert list(clock.total()) == ["one", "two", "total"]


def test_media_type() -> None:
    import numpy as np

    assert media_type(encode_png(np.zeros((2, 2), np.uint8))) == "image/png"
