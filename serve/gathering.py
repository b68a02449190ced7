"""A question to all shards of a release at once; what is down is left out."""

from __future__ import annotations

import asyncio
from typing import Any

from visnet.serve.messages import Found
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served
from visnet.serve.shard_client import ShardDownError


async def gather(served: Served, method: str, *arguments: Any) -> list[Any]:
    """The answers of the shards that answer, in order.

    Raises:
        ProblemError: 503, none does.
    """
    calls = [shard.call(method, *arguments) for shard in served.fan_out.shards]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, ShardDownError):
            raise answer
    alive = [answer for answer in answers if not isinstance(answer, BaseException)]
    if not alive:
        raise ProblemError(503, "no shard answered; try again")
    return alive


def gathered(served: Served, answers: list[Any]) -> Found:
    """What an answer made of these says of itself; each has a `sequence`."""
    return Found(
        hits=[],
        shards_ok=len(answers),
        shards_total=served.shards_total,
        sequence=min(answer.sequence for answer in answers),
    )
