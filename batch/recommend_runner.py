"""What computes the units of a recommendation pass: this process, or a Ray cluster it is connected to.

On a cluster an actor holds each shard and tasks compute the units: what the shards answer goes from actor to task
through the object store and never by the driver. A worker that dies costs what it was doing: its actor is started
again and its calls are made again, its unit is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from visnet.batch.recommend_messages import ShardRows
from visnet.batch.recommend_shard import RecommendShard
from visnet.batch.recommend_unit import Shards, Unit, write_unit
from visnet.platform.cluster import selector
from visnet.platform.content import short_keys
from visnet.platform.devices import device_for
from visnet.platform.errors import StoreError
from visnet.platform.index import IndexManifest, read_files
from visnet.platform.index_gather import shard_directory
from visnet.platform.settings import RecommendSettings
from visnet.platform.shard_keys import ranks
from visnet.platform.store import Store


class Runner(Protocol):
    """Holds the shards and computes units."""

    shards: Shards

    def write(self, units: Sequence[Unit], fetch: int, recommendations: str) -> Iterator[tuple[Unit, int]]:
        """Write the units' parts; yields each with its neighbours when it is there, in any order."""


class InProcess:
    """One unit after the other, here."""

    def __init__(self, store: Store, index: IndexManifest, settings: RecommendSettings) -> None:
        self._store, self._settings = store, settings
        self.shards: Shards = ShardsHere([open_shard(store, index, shard, settings) for shard in range(index.shards)])

    def write(self, units: Sequence[Unit], fetch: int, recommendations: str) -> Iterator[tuple[Unit, int]]:
        for unit in units:
            yield unit, write_unit(unit, self.shards, self._settings, fetch, self._store, recommendations)


class OnRay:
    """On the connected cluster; a context, as the actors must go when the pass is over."""

    def __init__(self, store: Store, index: IndexManifest, settings: RecommendSettings) -> None:
        import ray

        self._store, self._settings = store, settings
        actor = ray.remote(
            num_cpus=settings.cpus_per_shard,
            num_gpus=settings.gpus_per_shard,
            max_restarts=-1,
            max_task_retries=-1,
            label_selector=selector() or None,
            concurrency_groups={"search": 1, "read": 1},
        )(ShardActor)
        self._actors = [actor.remote(store, index, shard, settings) for shard in range(index.shards)]
        self.shards: Shards = ShardsOnRay(self._actors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)

    def write(self, units: Sequence[Unit], fetch: int, recommendations: str) -> Iterator[tuple[Unit, int]]:
        import ray

        # No CPU is asked for: on a cluster that the shards fill, a unit that waited for one would wait for ever.
        placed: dict[str, Any] = {"scheduling_strategy": "SPREAD", "label_selector": selector() or None}
        task = ray.remote(num_cpus=0, max_retries=-1, **placed)(write_unit)
        waiting = list(reversed(units))
        running: dict[Any, Unit] = {}
        while waiting or running:
            while waiting and len(running) < self._settings.workers:
                unit = waiting.pop()
                arguments = (unit, self.shards, self._settings, fetch, self._store, recommendations)
                running[task.remote(*arguments)] = unit
            done, _ = ray.wait(list(running), num_returns=1)
            yield running.pop(done[0]), ray.get(done[0])


class ShardsHere:
    """Shards in this process: a call is made at once."""

    def __init__(self, shards: Sequence[RecommendShard]) -> None:
        self._shards = shards
        self.count = len(shards)

    def call(self, shard: int, method: str, *arguments: Any) -> Any:
        return getattr(self._shards[shard], method)(*arguments)

    def get(self, calls: Sequence[Any]) -> list[Any]:
        return list(calls)


class ShardsOnRay:
    """Shards on actors: a call gives a reference. Searches wait for each other; what is only read does not wait."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = actors
        self.count = len(actors)

    def call(self, shard: int, method: str, *arguments: Any) -> Any:
        group = "search" if method == "nearest" else "read"
        return self._actors[shard].call.options(concurrency_group=group).remote(method, *arguments)

    def get(self, calls: Sequence[Any]) -> list[Any]:
        import ray

        answers: list[Any] = ray.get(list(calls))
        return answers


class ShardActor:
    """A shard on an actor."""

    def __init__(self, store: Store, index: IndexManifest, shard: int, settings: RecommendSettings) -> None:
        self._shard = open_shard(store, index, shard, settings)

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._shard, method)(*arguments)


def open_shard(store: Store, index: IndexManifest, shard: int, settings: RecommendSettings) -> RecommendShard:
    """Read a shard of the index and arrange it by the rules.

    Raises:
        StoreError: it is not what the manifest says.
    """
    directory = shard_directory(index.index, shard)
    try:
        read = _read(store, directory)
    except (OSError, ValueError, EOFError) as error:  # gone, cut off, or not what its name says
        raise StoreError(f"can't read {directory}: {error}") from None
    if not len(read.vector_ND) == len(read.rows) == len(read.product_N) == index.shard_rows[shard]:
        raise StoreError(f"{directory} does not have the {index.shard_rows[shard]} rows that its manifest says")
    device = device_for(settings.gpus_per_shard)
    return RecommendShard(shard, read, settings, device=device, threads=max(1, int(settings.cpus_per_shard)))


def _read(store: Store, directory: str) -> ShardRows:
    """Map a shard's files."""
    vector_ND, rows, keys = read_files(store, directory)
    if keys is None:
        return ShardRows(vector_ND, rows, ranks(rows["product_id"]), short_keys(rows["content_hash"]))
    return ShardRows(vector_ND, rows, keys.product_N, keys.content_N)
