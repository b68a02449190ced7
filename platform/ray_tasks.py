"""Many jobs as tasks of the connected Ray cluster, a few more than it has CPUs at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from visnet.platform.cluster import selector
from visnet.platform.errors import VisnetError

J = TypeVar("J")
R = TypeVar("R")

AHEAD = 2
"""Jobs per CPU that are handed to Ray before the first is done: the list of all could be long."""


def run_tasks(
    function: Callable[[J], R], jobs: Sequence[J], *, num_cpus: float = 1, num_gpus: float = 0
) -> Iterator[R]:
    """Call the function with every job, each in a task; one whose worker or node dies is called again.

    Raises:
        VisnetError: what a call raised for people to read, without Ray's traceback.
    """
    import ray

    options: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus, "label_selector": selector() or None}
    task = ray.remote(max_retries=-1, **options)(_call)
    shared = ray.put(function)
    waiting = list(reversed(jobs))
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < at_once():
            running.append(task.remote(shared, waiting.pop()))
        done, running = ray.wait(running, num_returns=1)
        yield result_of(done[0])


def at_once() -> int:
    """Tasks of a CPU each to hand to Ray at present: more than run at once, so that a cluster that can grow does."""
    import ray

    return AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))


def result_of(reference: Any) -> Any:
    """What a task returned; what it raised for people to read is raised as it was."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, VisnetError):
            raise error.cause from None
        raise


def _call(function: Callable[[J], R], job: J) -> R:
    return function(job)
