"""Where the jobs of a cluster ask for room: one small actor on the head, and what a job does with it.

    with admitted(kind="train", least=2, most=4, gpus=1, cpus=4) as grant:   # waits, and says for what
        train(workers=grant.copies)

A job repeats its claim every few seconds, with what it holds; a claim that is not repeated is forgotten. So the actor
keeps nothing that matters, and a job that dies frees its room. A command on a cluster of its own does not ask.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from visnet.platform import cluster
from visnet.platform.admission import Answer, Claim, affordable, decide
from visnet.platform.errors import ClusterError
from visnet.platform.pools import ALL, Pool
from visnet.platform.ray_nodes import capacity

logger = logging.getLogger(__name__)

NAME = "visnet-admission"
REPEAT_S = 2.0
FORGOTTEN_S = 20.0
"""After which a claim that is not repeated counts no more."""
SAY_S = 30.0
"""How often a job that waits says so, if the reason stays the same."""


class Desk:
    """The claims of a cluster."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[float, Claim]] = {}

    def ask(self, claim: Claim, pool: Pool) -> Answer:
        """Repeat a claim, and hear how many copies it may hold."""
        now = time.monotonic()
        nodes = capacity(pool)
        claim = affordable(claim, nodes)
        self._claims[claim.id] = (now, claim)  # its place in the order stays that of its first time
        self._claims = {name: entry for name, entry in self._claims.items() if now - entry[0] < FORGOTTEN_S}
        alike = [other for _, other in self._claims.values() if other.pool == claim.pool]
        answer = dataclasses.replace(decide(alike, nodes)[claim.id], beside_cpus=claim.beside_cpus)
        if answer.copies and not claim.holds:  # from now on, not when it is next heard of
            self._claims[claim.id] = (now, dataclasses.replace(claim, holds=answer.copies))
        return answer

    def release(self, claim: str) -> None:
        """Forget a claim."""
        self._claims.pop(claim, None)

    def claims(self) -> list[Claim]:
        """Who holds or waits for what."""
        return [claim for _, claim in self._claims.values()]


class Grant:
    """The room that a job has; it may be asked to give some back."""

    def __init__(self, claim: Claim, pool: Pool, desk: object | None, *, beside_cpus: float = 0.0) -> None:
        self._claim, self._pool, self._desk = claim, pool, desk
        self._beside_cpus = beside_cpus
        self._over = threading.Event()
        self.copies = claim.holds
        """Copies that it holds."""
        self.wanted = claim.holds
        """Copies that it should hold: fewer, for one that shrinks, while another job waits; more when there is room."""

    def beside(self) -> Any:
        """Ray Data's limit for what the job does beside its copies. Tasks in a queue are started as soon as a CPU is
        free, so without it a job's many small ones would leave none to a job that waits for several at once."""
        from ray.data import ExecutionResources

        if self._desk is None:
            return ExecutionResources.for_limits()
        return ExecutionResources.for_limits(cpu=self.copies * self._beside_cpus)

    def limit_data(self) -> None:
        """Keep the datasets that this driver makes from now on to the copies and what is beside them."""
        from ray.data import DataContext, ExecutionResources

        each = self._claim.cpus + self._beside_cpus
        limits = {} if self._desk is None else {"cpu": self.copies * each}
        DataContext.get_current().execution_options.resource_limits = ExecutionResources.for_limits(**limits)

    def resize(self) -> int:
        """Take what the job should hold; it is told the others with the next repetition. Returns the copies."""
        self.copies = self.wanted
        self._repeat()
        self.copies = min(self.copies, self.wanted)  # what was free a moment ago may be another's by now
        return self.copies

    def keep(self) -> None:
        """Repeat the claim until `end`; on a thread of its own."""
        while not self._over.wait(REPEAT_S):
            self._repeat()

    def end(self) -> None:
        """Give everything back."""
        self._over.set()
        if self._desk is not None:
            with contextlib.suppress(Exception):  # the cluster may be gone; the desk forgets by itself
                self._desk.release.remote(self._claim.id)  # type: ignore[attr-defined]

    def _repeat(self) -> None:
        if self._desk is None:
            return
        try:
            answer = _ask(self._desk, dataclasses.replace(self._claim, holds=self.copies), self._pool)
        except Exception as error:  # the desk is started again by Ray; work goes on meanwhile
            logger.debug("the admission desk does not answer: %s", error)
            return
        self.wanted, self._beside_cpus = answer.copies, answer.beside_cpus


@contextlib.contextmanager
def admitted(
    *,
    kind: str,
    least: int,
    most: int,
    cpus: float,
    gpus: float,
    beside_cpus: float = 0.0,
    shrinks: bool = False,
) -> Iterator[Grant]:
    """Wait until there is room for a job on the connected cluster, and hold it.

    Args:
        kind, least, most, cpus, gpus, beside_cpus, shrinks: see `Claim`.

    Yields:
        The grant: all that was asked for on a cluster of the command's own.

    Raises:
        ClusterError: the least would not fit if the job were alone; the text says what there is.
    """
    connection = cluster.current()
    least = min(least, most)
    if connection is None or connection.local:
        alone = Claim(id="", kind=kind, pool=None, least=least, most=most, cpus=cpus, gpus=gpus, holds=most)
        yield Grant(alone, ALL, None)
        return
    pool = connection.pool
    claim = Claim(
        id=_job_name(),
        kind=kind,
        pool=pool.name,
        least=least,
        most=most,
        cpus=cpus,
        gpus=gpus,
        beside_cpus=beside_cpus,
        shrinks=shrinks,
    )
    desk = _desk()
    answer = _wait(desk, claim, pool)
    held = dataclasses.replace(claim, holds=answer.copies)
    grant = Grant(held, pool, desk, beside_cpus=answer.beside_cpus)
    keeper = threading.Thread(target=grant.keep, daemon=True, name="visnet-admission")
    keeper.start()
    try:
        yield grant
    finally:
        grant.end()


def _wait(desk: object, claim: Claim, pool: Pool) -> Answer:
    """Ask until there is room, and say what is waited for."""
    from ray.exceptions import ActorUnavailableError, GetTimeoutError

    said_at, said = 0.0, ""
    while True:
        try:
            answer = _ask(desk, claim, pool)
        except (GetTimeoutError, ActorUnavailableError):  # a busy head, or a desk that Ray starts again
            time.sleep(REPEAT_S)
            continue
        now = time.monotonic()
        if answer.copies:
            if said:
                logger.info("%s %s: there is room now, for %d", claim.kind, claim.id, answer.copies)
            return answer
        if answer.never:
            raise ClusterError(
                f"{claim.kind}: {answer.reason} in {pool}; ask for less (metadata.visnet.{claim.kind}), or raise "
                "max_workers or resources in available_node_types"
            )
        if answer.reason != said or now - said_at > SAY_S:
            logger.info("%s %s waits: %s", claim.kind, claim.id, answer.reason)
            said_at, said = now, answer.reason
        time.sleep(REPEAT_S)


def _ask(desk: object, claim: Claim, pool: Pool) -> Answer:
    import ray

    answer: Answer = ray.get(desk.ask.remote(claim, pool), timeout=30.0)  # type: ignore[attr-defined]
    return answer


def _desk() -> object:
    """The cluster's desk, made by whoever comes first. It stays, on the head, where there is nothing to compete for."""
    import ray

    actor = ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001}, max_restarts=-1, max_task_retries=-1)(
        Desk
    )
    desk: object = actor.options(
        name=NAME, namespace=cluster.NAMESPACE, lifetime="detached", get_if_exists=True
    ).remote()
    return desk


def _job_name() -> str:
    """The job's id as `ray job list` has it; for a driver that was not submitted, its host's and process's."""
    try:
        metadata = json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]
        return str(metadata["job_submission_id"])
    except (KeyError, ValueError, TypeError):
        return f"{socket.gethostname()}-{os.getpid()}"
