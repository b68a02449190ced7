"""How the service stands, for who looks after it: its parts as Serve has them, its shards as they say, its journal."""

from __future__ import annotations

import asyncio
from typing import Any

from visnet.platform.client.operating import JournalEntry, PartEntry, ShardEntry, StatusAnswer
from visnet.platform.errors import StoreError
from visnet.platform.journal import Journal
from visnet.serve.messages import ShardState
from visnet.serve.part_status import PartStatus
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served
from visnet.serve.service_state import ServiceState
from visnet.serve.shard_client import ShardDownError

TIMEOUT_S = 3.0


async def status(served: Served, controller: Any, journal: Journal | None) -> StatusAnswer:
    """How everything stands. A controller that is away is said as a problem: the rest is answered all the same.

    Raises:
        ProblemError: 503, the journal can't be read.
    """
    shards = await asyncio.gather(*[_shard(shard) for shard in served.fan_out.shards])
    try:
        asked = asyncio.gather(controller.state.remote(), controller.parts.remote())
        state, parts = await asyncio.wait_for(asked, TIMEOUT_S)
    except Exception:  # whatever a dead or starting controller raises
        state, parts = None, []
    return StatusAnswer(
        release=served.manifest.release,
        **_controller(state),
        parts=[_part(part, served.manifest.release) for part in parts],
        shards=[_entry(number, shard) for number, shard in enumerate(shards)],
        journal=await _journal(journal, [shard for shard in shards if shard is not None]),
    )


async def _shard(shard: Any) -> ShardState | None:
    try:
        state: ShardState = await shard.call("state")
        return state
    except ShardDownError:
        return None


def _controller(state: ServiceState | None) -> dict[str, Any]:
    if state is None:
        return {"problem": "the controller does not answer", "switching_to": None, "failed": "", "preview": None}
    return {
        "problem": state.problem,
        "switching_to": state.switch.release if state.switch is not None else None,
        "failed": state.switch.failed if state.switch is not None else "",
        "preview": state.preview.release if state.preview is not None and not state.preview.failed else None,
    }


def _part(part: PartStatus, serving: str) -> PartEntry:
    mine = [release for release in part.releases if release == serving] or list(part.releases)
    return PartEntry(
        name=part.name,
        kind=part.kind,
        shard=part.shard,
        release=mine[0] if mine else None,
        state=part.state,
        detail=part.detail,
        wanted=part.wanted,
        replicas=part.replicas,
    )


def _entry(number: int, shard: ShardState | None) -> ShardEntry:
    if shard is None:
        return ShardEntry(shard=number, up=False, images=None, products=None, changed=None, sequence=None)
    return ShardEntry(
        shard=number,
        up=True,
        images=shard.images,
        products=shard.products,
        changed=shard.changed,
        sequence=shard.sequence,
    )


async def _journal(journal: Journal | None, shards: list[ShardState]) -> JournalEntry | None:
    if journal is None:
        return None
    try:
        head = await asyncio.to_thread(journal.head)
    except StoreError as error:
        raise ProblemError(503, f"the journal can't be read: {error}") from None
    applied = min((shard.sequence for shard in shards), default=0)
    built = min((shard.built_sequence for shard in shards), default=0)
    return JournalEntry(head=head, sequence=applied, lag=max(0, head - applied), depth=max(0, head - built))
