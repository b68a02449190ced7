"""What of a photo is searched for: by the request, or by the release; and how the answer says it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import numpy as np
import pytest

from visnet.platform.boxes import WHOLE
from visnet.platform.client.models import Located
from visnet.platform.filters import Condition, Filter
from visnet.serve import locating, telemetry
from visnet.serve.api import SearchRequest
from visnet.serve.locating import located, search_parts, together, wanted_parts
from visnet.serve.messages import Found, FoundPart, Hit, Looked, Part, Photo
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served

BOX = (0.1, 0.2, 0.5, 0.9)


def served(detector: str | None = "d", *, by_default: bool = False) -> Served:
    class Release:
        class manifest:
            release = "r-1"

    Release.manifest.detector = detector  # type: ignore[attr-defined]
    Release.manifest.detect_by_default = by_default  # type: ignore[attr-defined]
    return cast(Served, Release())


def asked(**fields: Any) -> SearchRequest:
    return SearchRequest(image="", **fields)


@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize("detect", [True, False, None])
def test_the_request_decides_or_else_the_release(by_default: bool, detect: bool | None) -> None:
    photo = wanted_parts(served(by_default=by_default), asked(detect=detect, max_items=3), b"photo")
    assert photo == Photo(data=b"photo", detect=by_default if detect is None else detect, most=3)


@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize("detect", [False, None])
def test_a_box_wins_over_the_default(by_default: bool, detect: bool | None) -> None:
    photo = wanted_parts(served(by_default=by_default), asked(box=list(BOX), detect=detect), b"photo")
    assert (photo.box, photo.detect) == (BOX, False)
    assert isinstance(hash(photo.box), int)  # it is part of a cache's key


def test_items_are_not_looked_for_without_being_asked_for_if_there_is_no_detector() -> None:
    assert wanted_parts(served(None), asked(), b"photo") == Photo(data=b"photo", most=10)
    assert wanted_parts(served(None), asked(detect=False), b"photo") == Photo(data=b"photo", most=10)
    assert wanted_parts(served(None), asked(box=list(BOX)), b"photo").box == BOX


def test_without_a_detector_the_refusal_says_what_to_do() -> None:
    with pytest.raises(
        ProblemError, match=r"^detect: release r-1 has no detector.*leave detect out.*or give a box"
    ) as no:
        wanted_parts(served(None), asked(detect=True), b"photo")
    assert no.value.status == 422


def looked(*confidences: float | None, unsure: float = 0.0) -> Looked:
    return Looked(parts=tuple(Part(box=WHOLE, confidence=confidence) for confidence in confidences), unsure=unsure)


def counts() -> dict[str, float]:
    return {sample.labels["how"]: sample.value for sample in telemetry.PHOTOS_LOCATED.samples()}


@pytest.mark.parametrize(
    ("photo", "seen", "how", "by", "detail"),
    [
        (Photo(data=b"", box=BOX), looked(None), "box", "box", ""),
        (Photo(data=b""), looked(None), "whole", "whole", ""),
        (Photo(data=b"", detect=True), looked(0.9, 0.8), "detection", "detection", ""),
        (
            Photo(data=b"", detect=True), looked(None), "nothing", "whole",
            "no item was found in the photo: this is for the whole of it",
        ),
        (
            Photo(data=b"", detect=True), looked(None, unsure=0.256), "unsure", "whole",
            "the detector is not sure of anything in the photo (at most 0.26): this is for the whole of it",
        ),
    ],
)  # fmt: skip
def test_an_answer_says_what_was_searched_for_and_it_is_counted(
    photo: Photo, seen: Looked, how: str, by: str, detail: str
) -> None:
    before = counts()
    assert located(photo, seen) == Located(by=cast(Any, by), detail=detail)
    assert counts() == {**before, how: before.get(how, 0) + 1}


def found(name: str, *, ok: int = 2, sequence: int = 7) -> Found:
    hits = [Hit(score=1.0, product_id=name, fields=b"")]
    return Found(hits=hits, shards_ok=ok, shards_total=2, sequence=sequence)


def test_all_parts_are_searched_for_at_once_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    where, under_way = Filter(must=(Condition(field="price", lt=3),)), asyncio.Event()
    waiting: list[Part] = []

    async def search_part(
        _: Served, part: Part, k: int, filter: Filter | None, *, weight: float, without: tuple[str, ...]
    ) -> FoundPart:
        assert (k, filter, weight, without) == (5, where, 0.3, ())
        waiting.append(part)
        if len(waiting) == 3:
            under_way.set()
        await asyncio.wait_for(under_way.wait(), 5)
        return FoundPart(part=part, found=found(str(part.confidence)))

    monkeypatch.setattr(locating.searching, "search_part", search_part)
    seen = looked(0.9, 0.8, 0.7)
    parts = asyncio.run(search_parts(served(), seen, 5, where, weight=0.3))
    assert [one.part for one in parts] == list(seen.parts)


def test_the_answer_as_a_whole_is_the_first_part_s_and_lacks_what_any_part_lacks() -> None:
    parts = [
        FoundPart(part=Part(box=WHOLE, vector_D=np.ones(2)), found=one)
        for one in (found("a", sequence=9), found("b", ok=1, sequence=8), found("c"))
    ]
    whole = together(parts)
    assert [hit.product_id for hit in whole.hits] == ["a"]
    assert (whole.shards_ok, whole.shards_total, whole.sequence) == (1, 2, 7)


def test_a_photo_that_is_too_small_for_parts_is_said_to_be() -> None:
    looked = Looked(parts=(Part(box=WHOLE, vector_D=np.zeros(2, np.float32)),), small=True)
    answer = located(Photo(data=b"photo", detect=True), looked)
    assert answer.by == "whole"
    assert "no more pixels than the encoder takes" in answer.detail
