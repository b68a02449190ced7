"""Requests that come together are answered by one call, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from visnet.serve.coalesce import Coalescer


class Calls:
    """Answers requests with their squares; a call ends when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.under_way = self.most = 0

    async def __call__(self, batch: list[int]) -> Sequence[int]:
        self.batches.append(batch)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go.wait()
        self.under_way -= 1
        if 13 in batch:
            raise ValueError("unlucky")
        return [number**2 for number in batch]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_those_of_one_moment_go_together_and_those_after_wait_for_the_next_call() -> None:
    async def script() -> None:
        calls = Calls()
        ask: Coalescer[int, int] = Coalescer(calls, max_batch_size=100, concurrent=1)
        first = [asyncio.create_task(ask(number)) for number in range(3)]
        await settle()
        second = [asyncio.create_task(ask(number)) for number in range(3, 8)]
        await settle()
        assert calls.batches == [[0, 1, 2]]
        calls.go.set()
        assert await asyncio.gather(*first, *second) == [number**2 for number in range(8)]
        assert calls.batches == [[0, 1, 2], [3, 4, 5, 6, 7]]

    asyncio.run(script())


def test_batches_and_calls_are_bounded() -> None:
    async def script() -> None:
        calls = Calls()
        ask: Coalescer[int, int] = Coalescer(calls, max_batch_size=4, concurrent=2)
        asked = [asyncio.create_task(ask(number)) for number in range(14, 34)]
        await settle()
        calls.go.set()
        assert await asyncio.gather(*asked) == [number**2 for number in range(14, 34)]
        assert max(map(len, calls.batches)) == 4
        assert calls.most == 2
        assert sorted(number for batch in calls.batches for number in batch) == list(range(14, 34))

    asyncio.run(script())


def test_a_call_that_fails_fails_its_own_requests_only() -> None:
    async def script() -> None:
        calls = Calls()
        calls.go.set()
        ask: Coalescer[int, int] = Coalescer(calls, max_batch_size=2, concurrent=1)
        answers = await asyncio.gather(*[ask(number) for number in (12, 13, 14, 15)], return_exceptions=True)
        assert [isinstance(answer, ValueError) for answer in answers] == [True, True, False, False]
        assert answers[2:] == [196, 225]

    asyncio.run(script())


def test_who_gives_up_does_not_keep_the_others() -> None:
    async def script() -> None:
        calls = Calls()
        ask: Coalescer[int, int] = Coalescer(calls, max_batch_size=10)
        asked = [asyncio.create_task(ask(number)) for number in range(3)]
        await settle()
        asked[1].cancel()
        calls.go.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert (answers[0], answers[2]) == (0, 4)
        assert await ask(5) == 25

    asyncio.run(script())


def test_answers_that_are_too_few_are_an_error() -> None:
    async def short(batch: list[int]) -> Sequence[int]:
        return batch[1:]

    async def script() -> None:
        ask: Coalescer[int, int] = Coalescer(short, max_batch_size=10)
        with pytest.raises(ValueError, match="zip"):
            await asyncio.gather(ask(1), ask(2))

    asyncio.run(script())
