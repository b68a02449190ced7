"""Requests that come at the same time, answered as one call.

A hop between deployments costs a millisecond or more of CPU, so it is paid per batch and not per request. A batch is
whatever has gathered while the calls before it were under way: alone, a request waits for nobody, and under load the
batches grow as large as the load asks for. (`serve.batch` waits a fixed time for others, and makes every request pay.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Coalescer(Generic[Q, A]):
    """Gathers requests into calls.

    Args:
        call: answers several requests, in order.
        max_batch_size: requests of a call, at most; may be changed between calls.
        concurrent: calls under way at once, at most.
    """

    def __init__(
        self, call: Callable[[list[Q]], Awaitable[Sequence[A]]], *, max_batch_size: int, concurrent: int = 2
    ) -> None:
        self._call = call
        self.max_batch_size = max_batch_size
        self._free = concurrent
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Q) -> A:
        """The answer to one request; raises what its call raised."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._start()
        return await future

    def _start(self) -> None:
        if self._waiting and self._free:
            self._free -= 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        """One call. It begins a turn of the event loop after the first request, so that those of the same turn join."""
        batch, self._waiting = self._waiting[: self.max_batch_size], self._waiting[self.max_batch_size :]
        try:
            answers = await self._call([request for request, _ in batch]) if batch else []
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except BaseException as error:  # a call that fails or is cancelled fails all its requests
            for _, future in batch:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else RuntimeError("cancelled"))
            if not isinstance(error, Exception):
                raise
        finally:
            self._free += 1
            self._start()
