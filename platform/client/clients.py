"""The two clients of a running service: one that waits, and one to be awaited. Their methods are the same.

    with Client("http://127.0.0.1:8000", key="vn_…") as service:
        for result in service.search_photo("photo.jpg", k=5).results:
            print(result.score, result.product_id)

Every method is written once, as what has to be sent (`calls`, `steps`); a client sends it, waits, and tries again.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import httpx

from visnet.platform.client import calls, steps
from visnet.platform.client.calls import Call
from visnet.platform.client.retrying import Outcome, Patience, Pause, exchange
from visnet.platform.client.steps import Steps

P = ParamSpec("P")
A = TypeVar("A")

KEY_VARIABLE = "VISNET_API_KEY"
KEY_HEADER = "X-API-Key"
TIMEOUT_S = 30.0
"""Of one try; a switch of releases is waited for in shorter ones."""


class Method(Generic[P, A]):
    """A method of both clients.

    Args:
        asked: makes what has to be sent of the method's arguments.
    """

    def __init__(self, asked: Callable[P, Call[A] | Steps[A]]) -> None:
        self._asked = asked
        self.__doc__ = asked.__doc__

    @overload
    def __get__(self, client: Client, owner: type[Any] | None = None) -> Callable[P, A]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type[Any] | None = None) -> Callable[P, Coroutine[Any, Any, A]]: ...
    @overload
    def __get__(self, client: None, owner: type[Any]) -> Self: ...
    def __get__(self, client: Client | AsyncClient | None, owner: type[Any] | None = None) -> Any:
        if client is None:
            return self

        @functools.wraps(self._asked)
        def method(*arguments: P.args, **options: P.kwargs) -> Any:
            return client._carry_out(self._asked(*arguments, **options))

        return method


class Service:
    """What can be asked of a service."""

    search_photo = Method(calls.search_photo)
    search_product = Method(calls.search_product)
    search_vector = Method(calls.search_vector)
    recommend = Method(calls.recommend)
    embed = Method(calls.embed)
    product = Method(calls.product)
    picture = Method(calls.picture)
    duplicates = Method(calls.duplicates)
    sample = Method(calls.sample)
    catalog = Method(calls.catalog)
    embedding_map = Method(calls.embedding_map)
    put = Method(steps.put)
    delete = Method(steps.delete)
    wait_until_found = Method(steps.wait_until_found)
    releases = Method(calls.releases)
    promote = Method(steps.promote)
    rollback = Method(steps.rollback)
    preview = Method(steps.preview)
    end_preview = Method(calls.end_preview)
    status = Method(calls.status)
    ready = Method(calls.ready)
    metrics = Method(calls.metrics)


class Client(Service):
    """Waits for its answers; may be used by several threads at once.

    Args:
        url: of the service.
        key: an API key; default: `$VISNET_API_KEY`, or none.
        timeout_s: of one try.
        patience: how often a call is tried.
        transport: what carries requests, for tests.

    Raises:
        ServiceError: (of every method) the service refused, in its words.
        UnreachableError: (of every method) no answer came, however often it was tried.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout_s, transport=transport)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _carry_out(self, asked: Call[A] | Steps[A]) -> A:
        return _run(_steps(asked), self._answered)

    def _answered(self, step: Call[Any] | Pause) -> Any:
        return _run(exchange(step, self._patience), self._sent) if isinstance(step, Call) else self._sent(step)

    def _sent(self, step: Call[Any] | Pause) -> Outcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.send(step.request(self._http))
        except httpx.TransportError as error:
            return error


class AsyncClient(Service):
    """The same to be awaited, from one event loop; arguments and errors as of `Client`."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience: Patience | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout_s, transport=transport)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _carry_out(self, asked: Call[A] | Steps[A]) -> A:
        return await _run_async(_steps(asked), self._answered)

    async def _answered(self, step: Call[Any] | Pause) -> Any:
        if isinstance(step, Call):
            return await _run_async(exchange(step, self._patience), self._sent)
        return await self._sent(step)

    async def _sent(self, step: Call[Any] | Pause) -> Outcome:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.send(step.request(self._http))
        except httpx.TransportError as error:
            return error


def _headers(key: str | None) -> dict[str, str]:
    key = key if key is not None else os.environ.get(KEY_VARIABLE)
    return {KEY_HEADER: key} if key else {}


def _steps(asked: Call[A] | Steps[A]) -> Steps[A]:
    return _one(asked) if isinstance(asked, Call) else asked


def _one(call: Call[A]) -> Steps[A]:
    answer: A = yield call
    return answer


def _run(steps: Generator[Call[Any] | Pause, Any, A], do: Callable[[Call[Any] | Pause], Any]) -> A:
    outcome = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            result: A = end.value
            return result
        outcome = do(step)


async def _run_async(
    steps: Generator[Call[Any] | Pause, Any, A], do: Callable[[Call[Any] | Pause], Coroutine[Any, Any, Any]]
) -> A:
    outcome = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            result: A = end.value
            return result
        outcome = await do(step)
