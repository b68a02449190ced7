"""Answers as the JSON they are sent in, and the time each stage of a request took.

The fields of a product come from its shard as JSON already, so an answer is put together and not built anew: at
thousands of answers a second that is most of what an ingress would do.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi.responses import JSONResponse, Response
from PIL import Image

from visnet.platform.client.models import Located, WriteAnswer
from visnet.serve import exchange, telemetry
from visnet.serve.duplicates import Duplicates
from visnet.serve.messages import Found, FoundPart, Hit
from visnet.serve.problems import ProblemError
from visnet.serve.sampling import Drawn
from visnet.serve.served import Served


class Clock:
    """The time of each stage of a request."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        telemetry.STAGE_SECONDS.observe(now - self._last, stage.replace(" ", "_"))
        self._laps[stage] = round(1000 * (now - self._last), 2)
        self._last = now

    def total(self) -> dict[str, float]:
        return {**self._laps, "total": round(1000 * (time.perf_counter() - self._start), 2)}


def about(served: Served, found: Found, clock: Clock) -> dict[str, Any]:
    """The fields of `Answer`."""
    _note(served, found)
    return {
        "release": served.manifest.release,
        "shards": {"ok": found.shards_ok, "total": found.shards_total},
        "partial": found.shards_ok < found.shards_total,
        "sequence": found.sequence,
        "timings_ms": clock.total(),
    }


def _note(served: Served, found: Found) -> None:
    """Let the request's log line say what its answer is of."""
    partial = found.shards_ok < found.shards_total
    if partial:
        telemetry.PARTIAL_ANSWERS.add()
    exchange.note(release=served.manifest.release, partial=partial)


def found_answer(served: Served, found: Found, clock: Clock, **further: Any) -> Response:
    """A `SearchAnswer`, with further fields."""
    head = orjson.dumps({**about(served, found, clock), **further})[:-1]
    return Response(b'%b,"results":%b}' % (head, _results(found)), media_type="application/json")


def photo_answer(served: Served, found: Found, items: Sequence[FoundPart], clock: Clock, located: Located) -> Response:
    """A `SearchAnswer` for a photo.

    Args:
        found: what the answer as a whole is.
        items: those that were found in the photo.
    """
    telemetry.ITEMS_FOUND.add(amount=len(items))
    head = orjson.dumps({**about(served, found, clock), "located": located.model_dump()})[:-1]
    listed = b",".join([_item(item) for item in items])
    answer = b'%b,"results":%b,"items":[%b]}' % (head, _results(found), listed)
    return Response(answer, media_type="application/json")


def _item(item: FoundPart) -> bytes:
    part = item.part
    head = {
        "box": [round(edge, 4) for edge in part.box],
        "confidence": round(part.confidence or 0.0, 4),
        "category": part.categories[0][0] if part.categories else None,
        "categories": {name: round(share, 4) for name, share in item.narrowed},
    }
    return b'%b,"results":%b}' % (orjson.dumps(head)[:-1], _results(item.found))


def _results(found: Found) -> bytes:
    return b"[%b]" % b",".join([_result(hit) for hit in found.hits])


def product_answer(fields: bytes, **further: Any) -> Response:
    """A `ProductAnswer`."""
    return Response(b'%b,"product":{%b}}' % (orjson.dumps(further)[:-1], fields), media_type="application/json")


def products_answer(served: Served, drawn: Drawn, clock: Clock) -> Response:
    """A `SampleAnswer`."""
    head = orjson.dumps(about(served, drawn.about, clock))[:-1]
    products = b",".join([b"{%b}" % fields for fields in drawn.fields])
    return Response(b'%b,"results":[%b]}' % (head, products), media_type="application/json")


def duplicates_answer(served: Served, duplicates: Duplicates, clock: Clock, **further: Any) -> Response:
    """A `DuplicatesAnswer`, with further fields."""
    head = orjson.dumps({**about(served, duplicates.found, clock), **further})[:-1]
    pairs = zip(duplicates.found.hits, duplicates.same, strict=True)
    results = b",".join([b'{"same_picture":%b,%b' % (orjson.dumps(same), _result(hit)[1:]) for hit, same in pairs])
    return Response(b'%b,"results":[%b]}' % (head, results), media_type="application/json")


def _result(hit: Hit) -> bytes:
    return b'{"score":%b,%b}' % (repr(round(hit.score, 6)).encode(), hit.fields)


def media_type(data: bytes) -> str:
    """An encoded image's media type."""
    with Image.open(io.BytesIO(data)) as image:  # reads the header only
        return image.get_format_mimetype() or "application/octet-stream"


def wanted(found: Found, min_score: float | None, whole: bool) -> Found:
    """What was found, as far as the request wants it."""
    if whole and found.shards_ok < found.shards_total:
        raise ProblemError(503, f"{found.shards_ok} of {found.shards_total} shards answered; try again")
    if min_score is None:
        return found
    hits = [hit for hit in found.hits if hit.score >= min_score]
    return Found(hits=hits, shards_ok=found.shards_ok, shards_total=found.shards_total, sequence=found.sequence)


def write_answer(answer: WriteAnswer) -> Any:
    """200 if all was written, 422 if nothing was, 207 for some."""
    rejected = [product for product in answer.products if product.status == "rejected"]
    if not rejected:
        return answer
    if len(rejected) == len(answer.products):
        named = [f"{product.product_id or 'a product'}: {product.detail}" for product in rejected]
        raise ProblemError(422, named[0] if len(named) == 1 else f"all {len(named)} were rejected; {named[0]}")
    return JSONResponse(answer.model_dump(), 207)
