"""Calls to a shard whose replicas die: tried again, given up, and found again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ray.serve.exceptions import BackPressureError

from visnet.serve.shard_client import PINGS, ShardClient, ShardDownError

DOUBT_S = 0.05


class Handle:
    """A handle whose calls go as a list says: an answer, an error, or None to hang; the last one goes on."""

    def __init__(self, *calls: object, alive: bool = True, lost: int = 0) -> None:
        self.plan = list(calls)
        self.made = 0
        self.alive = alive
        self.lost = lost
        """So many pings are never answered, whoever is alive."""
        self.pinged = 0
        self.search, self.state = Method(self._search), Method(self._state)

    async def _search(self) -> object:
        self.made += 1
        call = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        if call is None:
            await asyncio.Event().wait()
        if isinstance(call, Exception):
            raise call
        return call

    async def _state(self) -> str:
        self.pinged += 1
        if not self.alive or self.pinged <= self.lost:
            await asyncio.Event().wait()
        return "well"


class Method:
    def __init__(self, work: Callable[..., Awaitable[object]]) -> None:
        self.remote = work


def run(handle: Handle, script: Callable[[ShardClient], Awaitable[Any]], *, timeout_s: float = 5.0) -> Any:
    async def session() -> Any:
        client = ShardClient(3, handle, timeout_s=timeout_s, doubt_s=DOUBT_S)
        try:
            return await script(client)
        finally:
            client.close()

    return asyncio.run(session())


async def call(client: ShardClient) -> Any:
    return await client.call("search")


def test_an_answer_is_an_answer() -> None:
    handle = Handle("found")
    assert run(handle, call) == "found"
    assert (handle.made, handle.pinged) == (1, 0)


def test_a_replica_that_dies_is_another_one_s_call() -> None:
    handle = Handle(ConnectionError("died"), ConnectionError("died"), "found")
    assert run(handle, call) == "found"
    assert handle.made == 3


@pytest.mark.parametrize("lost", [0, PINGS - 1])
def test_a_slow_answer_is_waited_for_as_long_as_the_shard_lives(lost: int) -> None:
    handle = Handle(None, lost=lost)

    async def slow(client: ShardClient) -> Any:
        asking = asyncio.create_task(client.call("search"))
        while handle.pinged <= lost and not asking.done():
            await asyncio.sleep(DOUBT_S / 5)
        await asyncio.sleep(3 * DOUBT_S)
        assert not asking.done()
        assert not client.is_down
        asking.cancel()

    run(handle, slow)


def test_nobody_there_is_found_out_by_asking_once_for_all_who_wait() -> None:
    handle = Handle(None, alive=False)

    async def many(client: ShardClient) -> Any:
        answers = await asyncio.gather(*[client.call("search") for _ in range(20)], return_exceptions=True)
        assert client.is_down
        return answers

    answers = run(handle, many, timeout_s=60)
    assert all(isinstance(answer, ShardDownError) for answer in answers)
    assert handle.pinged == PINGS + 1  # for the doubt, and the probe that waits until somebody is there


def test_who_is_down_is_not_asked_until_the_probe_has_found_it_up() -> None:
    handle = Handle(ConnectionError("died"), alive=False)

    async def script(client: ShardClient) -> Any:
        with pytest.raises(ShardDownError, match="shard 3"):
            await client.call("search")
        made = handle.made
        with pytest.raises(ShardDownError):
            await client.call("search")
        assert handle.made == made
        client.close()
        handle.alive, handle.plan = True, ["found"]
        client._probe = asyncio.create_task(client._until_up())
        while client.is_down:
            await asyncio.sleep(0.01)
        return await client.call("search")

    assert run(handle, script) == "found"


def test_an_overload_is_passed_on_and_nobody_is_down() -> None:
    handle = Handle(BackPressureError(num_queued_requests=1, max_queued_requests=1))

    async def script(client: ShardClient) -> Any:
        with pytest.raises(BackPressureError):
            await client.call("search")
        return client.is_down

    assert run(handle, script) is False
    assert handle.made == 1
