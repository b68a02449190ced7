"""What takes more than one call: writing many products, waiting for them, and switches of releases.

Written once, as steps that either client carries out: a call to be answered, or a pause.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

from visnet.platform.client import calls
from visnet.platform.client.calls import Call
from visnet.platform.client.failures import ServiceError
from visnet.platform.client.models import WriteAnswer
from visnet.platform.client.operating import SwitchAnswer
from visnet.platform.client.retrying import Pause
from visnet.platform.client.writing import MOST_PRODUCTS, ProductWrite, batches

A = TypeVar("A")
Steps = Generator[Call[Any] | Pause, Any, A]

LOOK_S = 0.1
LONGEST_WAIT_S = 20.0
"""Of a request that waits for a switch."""


def put(products: Iterable[ProductWrite]) -> Steps[WriteAnswer]:
    """Write products, as many as you like; each replaces what there was of it. What is acknowledged is on disk.

    They are sent in requests of a size that the service takes. If one of these fails, those before it were written.

    Raises:
        ServiceError: 422, all of a request was rejected; where only some was, the answer says which and why.
        OSError: a picture's file can't be read.
    """
    answers: list[WriteAnswer] = []
    for batch in batches(products):
        answers.append((yield calls.put(batch)))
    return _together(answers)


def delete(product_ids: Iterable[str]) -> Steps[WriteAnswer]:
    """Delete products, whether there are any or not."""
    ids = list(product_ids)
    answers: list[WriteAnswer] = []
    for start in range(0, len(ids), MOST_PRODUCTS):
        answers.append((yield calls.delete(ids[start : start + MOST_PRODUCTS])))
    return _together(answers)


def wait_until_found(sequence: int, *, timeout_s: float = 30.0) -> Steps[float]:
    """Wait until all shards have what was written up to a place in the journal (`WriteAnswer.sequence`).

    Returns:
        How long it took, in seconds.

    Raises:
        TimeoutError: they don't have it in time.
    """
    started = time.monotonic()
    while True:
        status = yield calls.status()
        waited_s = time.monotonic() - started
        behind = [one.shard for one in status.shards if one.sequence is None or one.sequence < sequence]
        if not behind:
            return waited_s
        if waited_s > timeout_s:
            raise TimeoutError(f"shards {behind} do not have what was written at {sequence} after {timeout_s:g} s")
        yield Pause(seconds=LOOK_S)


def promote(release: str, *, force: bool = False, timeout_s: float = 600.0) -> Steps[None]:
    """Serve a release; returns when it is served.

    Args:
        force: in spite of gates that it did not pass.

    Raises:
        ServiceError: 409, it may not, or can't, be served; all is as it was.
        TimeoutError: it is still being prepared.
    """
    over = time.monotonic() + timeout_s
    while (yield calls.promote(release, force=force, wait_s=_wait_s(over))).state != "serving":
        _in_time(over, release)


def preview(release: str, *, timeout_s: float = 600.0) -> Steps[None]:
    """Put a release beside the served one, for searches that name it; returns when it answers. Raises as `promote`."""
    over = time.monotonic() + timeout_s
    while (yield calls.preview(release, wait_s=_wait_s(over))).state != "serving":
        _in_time(over, release)


def rollback(*, timeout_s: float = 600.0) -> Steps[str]:
    """Serve the release before the current one again, and return its id; raises as `promote`."""
    over = time.monotonic() + timeout_s
    answer: SwitchAnswer = yield calls.rollback(wait_s=_wait_s(over))
    while answer.state != "serving":
        _in_time(over, answer.release)
        yield Pause(seconds=LOOK_S)
        state = yield calls.releases()
        if state.failed and state.switching_to == answer.release:
            raise ServiceError(409, f"release {answer.release} can't be served: {state.failed}")
        if state.serving == answer.release:
            break
    return answer.release


def _wait_s(over: float) -> float:
    return max(0.0, min(LONGEST_WAIT_S, over - time.monotonic()))


def _in_time(over: float, release: str) -> None:
    if time.monotonic() > over:
        raise TimeoutError(f"release {release} is still being prepared")


def _together(answers: Sequence[WriteAnswer]) -> WriteAnswer:
    return WriteAnswer(
        sequence=max((answer.sequence for answer in answers), default=0),
        products=[product for answer in answers for product in answer.products],
    )
