"""One shard as its callers see it: calls that survive the death of a replica, and a shard that is known to be down.

A call that fails is made again at once, and Serve's router then chooses another replica. If that fails too, nobody is
left to ask: the shard counts as down, callers pass it over without waiting, and a probe in the background finds out
when a replica has come back. Calls are lookups and searches, so making one twice does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from ray.serve.exceptions import BackPressureError

logger = logging.getLogger(__name__)

PAUSES_S = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
"""After each try that failed. A replica dies once: what fails again met the router before it had heard of the death."""
DOUBT_S = 0.7
"""A call that takes longer is doubted: without a replica the router would wait for one, and not say so."""
PINGS = 3
"""Asked one `DOUBT_S` after the other while a call is doubted, any of them may answer: one alone may have met a replica
that has just died, or a machine too busy to answer in time."""
PROBE_TIMEOUT_S = 30.0


class ShardDownError(Exception):
    """No replica of a shard answered."""


class ShardClient:
    """Calls one shard.

    Args:
        number: the shard's.
        handle: its deployment's handle, or anything with methods whose `.remote(...)` can be awaited. `state` answers
            at once, whatever else the shard is doing.
        timeout_s: how long a call may take, with all its tries.
    """

    def __init__(self, number: int, handle: Any, *, timeout_s: float, doubt_s: float = DOUBT_S) -> None:
        self.number = number
        self._handle = handle
        self._timeout_s = timeout_s
        self._doubt_s = doubt_s
        self._ping: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_down(self) -> bool:
        return self._probe is not None

    async def call(self, method: str, *arguments: Any) -> Any:
        """The answer of any replica.

        Raises:
            ShardDownError: none answers.
            BackPressureError: too many calls wait already.
        """
        over = time.monotonic() + self._timeout_s
        failure: Exception | None = None
        for pause_s in PAUSES_S:
            if self.is_down or time.monotonic() > over:
                break
            try:
                return await self._try(method, arguments, over - time.monotonic())
            except BackPressureError:
                raise
            except Exception as error:  # whatever a dead or dying replica raises
                failure = error
            if isinstance(failure, TimeoutError):
                break
            if pause_s:
                await asyncio.sleep(pause_s)
        if failure is not None:
            self._goes_down(failure)
        raise ShardDownError(f"shard {self.number} does not answer") from failure

    def close(self) -> None:
        """Stop probing."""
        if self._probe is not None:
            self._probe.cancel()

    async def _try(self, method: str, arguments: tuple[Any, ...], timeout_s: float) -> Any:
        """One call; given up when it takes too long, or when nobody is there to answer it."""
        answer = asyncio.ensure_future(getattr(self._handle, method).remote(*arguments))
        try:
            await asyncio.wait({answer}, timeout=min(timeout_s, self._doubt_s))
            if not answer.done():
                ping = self._pinged()
                await asyncio.wait({answer, ping}, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    ping.result()  # raises if nobody answers
            return await asyncio.wait_for(answer, timeout_s)
        finally:
            answer.cancel()

    def _pinged(self) -> asyncio.Task[None]:
        """Whether anybody answers; all calls that doubt it at the same time ask once."""
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._answers())
            self._ping.add_done_callback(lambda ping: ping.cancelled() or ping.exception())  # whoever waits sees it
        return self._ping

    async def _answers(self) -> None:
        """Returns when anybody answers; raises what the last ping raised, or `TimeoutError` when one is still out."""
        pings: set[asyncio.Future[Any]] = set()
        failure: BaseException | None = None
        try:
            for _ in range(PINGS):
                pings.add(asyncio.ensure_future(self._handle.state.remote()))
                over, pings = await asyncio.wait(pings, timeout=self._doubt_s, return_when=asyncio.FIRST_COMPLETED)
                for ping in over:
                    failure = ping.exception()
                    if failure is None:
                        return
            if failure is not None and not pings:
                raise failure
            raise TimeoutError(f"no replica of shard {self.number} answers")
        finally:
            for ping in pings:
                ping.cancel()

    def _goes_down(self, failure: Exception) -> None:
        if self._probe is None:
            reason = str(failure).strip().splitlines()[-1:] or [type(failure).__name__]
            logger.warning("shard %d does not answer and is left out until it does: %s", self.number, reason[0])
            self._probe = asyncio.create_task(self._until_up())

    async def _until_up(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # whatever a dead or dying replica raises
                await asyncio.wait_for(self._handle.state.remote(), PROBE_TIMEOUT_S)
                break
            await asyncio.sleep(PAUSES_S[-1])
        logger.info("shard %d answers again", self.number)
        self._probe = None
