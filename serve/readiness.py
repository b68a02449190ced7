"""Whether the service can answer in full."""

from __future__ import annotations

import asyncio

from visnet.platform.client.operating import ReadyAnswer
from visnet.serve.answers import Clock, about
from visnet.serve.messages import Found, ShardState
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served
from visnet.serve.service_state import ServiceState

TIMEOUT_S = 3.0


async def readiness(served: Served, state: ServiceState | None) -> ReadyAnswer:
    """How embedder and shards stand.

    Raises:
        ProblemError: 503, one of them does not answer.
    """
    clock = Clock()
    calls = [served.embedder.ready.remote(), *(shard.call("state") for shard in served.fan_out.shards)]
    answers = await asyncio.gather(*[asyncio.wait_for(call, TIMEOUT_S) for call in calls], return_exceptions=True)
    shards = [answer for answer in answers[1:] if isinstance(answer, ShardState)]
    if isinstance(answers[0], BaseException) or len(shards) < served.shards_total:
        embedder = "no embedder" if isinstance(answers[0], BaseException) else "an embedder"
        raise ProblemError(503, f"not ready: {embedder}, {len(shards)} of {served.shards_total} shards")
    clock.lap("ask")
    found = Found(
        hits=[],
        shards_ok=len(shards),
        shards_total=served.shards_total,
        sequence=min(shard.sequence for shard in shards),
    )
    manifest = served.manifest
    return ReadyAnswer(
        encoder=manifest.encoder,
        detector=manifest.detector,
        catalog=f"{manifest.catalog}-{manifest.catalog_version}",
        images=sum(shard.images for shard in shards),
        problem=_problem(state),
        **about(served, found, clock),
    )


def _problem(state: ServiceState | None) -> str:
    if state is None:
        return "the controller has not been heard of"
    if state.switch is not None and state.switch.failed:
        return f"release {state.switch.release} can't be served: {state.switch.failed}"
    return state.problem
