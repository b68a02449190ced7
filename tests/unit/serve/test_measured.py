"""That those who do the work say so: numbers and names come from where they should."""

import asyncio
import contextvars

import numpy as np
import pytest
from fastapi import Request

from tests.unit.serve.test_answers import SERVED, found, hit
from tests.unit.serve.test_fan_out import handles, search
from visnet.platform.keys import create_key
from visnet.platform.store import Store
from visnet.serve import exchange, telemetry
from visnet.serve.access import Access
from visnet.serve.answers import Clock, found_answer
from visnet.serve.messages import Embedded, Query
from visnet.serve.metering import Family
from visnet.serve.photos import Photos
from visnet.serve.problems import ProblemError


@pytest.fixture(autouse=True)
def _no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins outside of any request, and none leaves one behind."""
    monkeypatch.setattr(exchange, "_CURRENT", contextvars.ContextVar("exchange", default=None))


def numbers(family: Family) -> dict[tuple[str, ...], float]:
    """What a family says by the values of its labels; of a histogram, how often it observed."""
    counted = {f"{family.name}_count", family.name}
    return {tuple(one.labels.values()): one.value for one in family.samples() if one.name in counted}


def new(family: Family, before: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {key: value - before.get(key, 0.0) for key, value in numbers(family).items() if value > before.get(key, 0.0)}


def test_a_batch_of_searches_is_one_batch_with_its_stages() -> None:
    sizes, stages = numbers(telemetry.BATCH_SIZE), numbers(telemetry.STAGE_SECONDS)
    search(handles(2), [Query(vector_D=np.eye(8, dtype=np.float32)[n], k=3) for n in range(4)])
    assert new(telemetry.BATCH_SIZE, sizes) == {("search",): 1}
    assert new(telemetry.STAGE_SECONDS, stages) == {("fan_out",): 1, ("merge",): 1}


def test_a_photo_is_known_the_second_time() -> None:
    async def embed(photo: bytes) -> Embedded:
        return Embedded(vector_D=np.ones(8, np.float32))

    async def script() -> None:
        photos = Photos(kept=4)
        await asyncio.gather(photos.embed(b"one", "e", embed), photos.embed(b"one", "e", embed))
        await photos.embed(b"one", "e", embed)

    before = numbers(telemetry.PHOTO_CACHE)
    asyncio.run(script())
    assert new(telemetry.PHOTO_CACHE, before) == {("true",): 2, ("false",): 1}


@pytest.mark.parametrize("shards_ok", [1, 2])
def test_an_answer_says_what_it_is_of(shards_ok: int) -> None:
    told = exchange.Exchange(request_id="order-66")
    exchange.begin(told)
    before = numbers(telemetry.PARTIAL_ANSWERS)
    found_answer(SERVED, found(hit("a", 0.5), ok=shards_ok), Clock())
    assert (told.release, told.partial) == ("r-1", shards_ok < 2)
    assert new(telemetry.PARTIAL_ANSWERS, before) == ({(): 1.0} if shards_ok < 2 else {})


def test_a_lap_is_a_stage() -> None:
    before = numbers(telemetry.STAGE_SECONDS)
    clock = Clock()
    clock.lap("read")
    clock.lap("look up")
    assert new(telemetry.STAGE_SECONDS, before) == {("read",): 1, ("look_up",): 1}


def test_the_log_names_the_key_even_where_it_is_for_less(store: Store) -> None:
    presented = create_key(store, name="web shop", scope="read").presented
    request = Request({"type": "http", "headers": [(b"x-api-key", presented.encode())]})
    for scope in ("read", "write"):
        told = exchange.Exchange(request_id="order-66")
        exchange.begin(told)
        if scope == "read":
            Access(store).require(request, "read")
        else:
            with pytest.raises(ProblemError):
                Access(store).require(request, "write")
        assert told.key == "web shop"
