"""Answers put together from their shards' JSON."""

import json
from typing import Any, cast

import pytest

from visnet.platform.client.models import Located, ProductAnswer, RecommendAnswer, SearchAnswer, WriteAnswer, Written
from visnet.platform.imaging import encode_png
from visnet.serve import telemetry
from visnet.serve.answers import Clock, found_answer, media_type, photo_answer, product_answer, wanted, write_answer
from visnet.serve.messages import Found, FoundPart, Hit, Part
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


def test_a_search_without_a_photo_is_of_no_part_of_one() -> None:
    content = json.loads(found_answer(SERVED, found(hit("a", 0.75)), Clock()).body)
    assert set(content) == {"release", "shards", "partial", "sequence", "timings_ms", "results"}
    answer = SearchAnswer.model_validate(content)
    assert (answer.located, answer.items) == (None, [])


BY_DETECTION = Located(by="detection", detail="")


def items() -> list[FoundPart]:
    """A bag that may be a coat, and something that a detector without categories found."""
    shares = (("bag", 0.75), ("coat", 0.199996), ("shoe", 0.050004))
    first = Part(box=(0.100004, 0.2, 1 / 3, 1.0), confidence=0.98765, categories=shares)
    second = Part(box=(0.0, 0.0, 1.0, 1.0), confidence=0.5)
    return [
        FoundPart(part=first, found=found(hit("a", 0.75), hit("b", 0.5)), narrowed=shares[:2]),
        FoundPart(part=second, found=found(hit("c", 0.25))),
    ]


def test_a_photo_s_answer_is_what_the_api_says() -> None:
    response = photo_answer(SERVED, items()[0].found, items(), Clock(), BY_DETECTION)
    answer = SearchAnswer.model_validate_json(bytes(response.body), strict=True)
    assert answer.located == BY_DETECTION
    bag, something = answer.items
    assert bag.box == [0.1, 0.2, 0.3333, 1.0]
    assert (bag.confidence, bag.category, bag.categories) == (0.9877, "bag", {"bag": 0.75, "coat": 0.2})
    assert (something.box, something.category, something.categories) == ([0.0, 0.0, 1.0, 1.0], None, {})
    assert [[result.product_id for result in item.results] for item in answer.items] == [["a", "b"], ["c"]]
    assert answer.results == bag.results
    assert answer.results[0].attributes == {"price": 2.5}
    assert (answer.release, answer.partial, answer.sequence) == ("r-1", False, 7)


def test_a_photo_in_which_nothing_was_found_has_no_items() -> None:
    located = Located(by="whole", detail='no "item" was found')
    response = photo_answer(SERVED, found(hit("a", 0.75), ok=1), [], Clock(), located)
    answer = SearchAnswer.model_validate_json(bytes(response.body), strict=True)
    assert (answer.items, answer.located, answer.partial) == ([], located, True)
    assert [result.product_id for result in answer.results] == ["a"]


def test_an_item_may_have_no_products() -> None:
    (item, _) = items()
    response = photo_answer(SERVED, found(), [FoundPart(part=item.part, found=found())], Clock(), BY_DETECTION)
    answer = SearchAnswer.model_validate_json(bytes(response.body), strict=True)
    assert ([item.results for item in answer.items], answer.results) == ([[]], [])


def test_items_are_counted() -> None:
    def count() -> float:
        return sum(sample.value for sample in telemetry.ITEMS_FOUND.samples())

    before = count()
    photo_answer(SERVED, found(), [], Clock(), Located(by="box", detail=""))
    assert count() == before
    photo_answer(SERVED, found(), items(), Clock(), BY_DETECTION)
    assert count() == before + 2


def test_a_recommendation_says_of_what() -> None:
    response = found_answer(SERVED, found(ok=1), Clock(), product_id="p", precomputed=True)
    answer = RecommendAnswer.model_validate_json(bytes(response.body), strict=True)
    assert (answer.product_id, answer.precomputed, answer.partial, answer.results) == ("p", True, True, [])
    assert not {"items", "located"} & set(json.loads(response.body))


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
