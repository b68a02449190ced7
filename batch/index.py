"""Building the index on Ray: its stages as tasks, and their blocks through Ray's object store.

The blocks are the embeddings once more; what does not fit into the object store, Ray writes to disk. As many tasks
read as there are CPUs, each a few parts; a task that writes a shard asks for the memory it needs, so that a node runs
no more of them than fit. Blocks that are lost with a node are read again, and a task whose worker dies is repeated.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from visnet.platform.admission_desk import admitted
from visnet.platform.catalog import Catalog
from visnet.platform.cluster import selector
from visnet.platform.embeddings import find_embeddings
from visnet.platform.index import IndexManifest, read_index
from visnet.platform.index_build import build, index_id
from visnet.platform.index_gather import ShardCounts, write_shard
from visnet.platform.index_scatter import GROUP_BYTES, Block, Sources, groups, split
from visnet.platform.manifest import has_manifest
from visnet.platform.progress import progress
from visnet.platform.ray_tasks import at_once, result_of, run_tasks
from visnet.platform.settings import IndexSettings
from visnet.platform.store import Store

J = TypeVar("J")
R = TypeVar("R")

ROW_BYTES = 512
"""What a row takes beside its vector in a gather task: ids, attributes, keys and their order. An estimate."""


def build_index(
    store: Store, catalog: Catalog, encoder: str, settings: IndexSettings
) -> tuple[IndexManifest, dict[str, float]]:
    """Build the shards from the catalogue's embeddings, on a connected Ray cluster.

    Returns:
        The manifest, and `seconds` and `rows_per_s` of the build (0 where it stood already).

    Raises:
        StoreError: the catalogue has not been embedded with this encoder, the counts do not add up, or the recall is
            below its bar.
    """
    embeddings = find_embeddings(store, encoder, catalog.manifest.name, catalog.manifest.version)
    sources = Sources(catalog, embeddings)
    index = index_id(sources, settings)
    with store.lock(f"work/indexes/{index}"):  # a second build would delete what the first one has written
        if has_manifest(store, f"indexes/{index}"):
            return read_index(store, index), {"seconds": 0.0, "rows_per_s": 0.0}
        started = time.monotonic()
        with admitted(kind="index", least=1, most=1, cpus=1, gpus=0):  # tasks of a CPU each, as many as find room
            manifest = build(sources, settings, OnRay())
        seconds = time.monotonic() - started
    return manifest, {"seconds": round(seconds, 1), "rows_per_s": round(manifest.rows / seconds, 1)}


class OnRay:
    """Runs the stages as tasks of the connected cluster."""

    def write_shards(self, sources: Sources, index: str, shards: int) -> Iterator[ShardCounts]:
        import ray

        shared = ray.put(sources)
        counts, blocks = _scatter(shared, sources, shards)
        gather = ray.remote(num_cpus=1, label_selector=selector() or None)(_gather)
        pending: dict[Any, int] = {}
        for shard in range(shards):
            rows = sum(count[shard] for count in counts)
            task = gather.options(memory=_memory(rows * (2 * sources.dimension + ROW_BYTES) + GROUP_BYTES))
            pending[task.remote(shared, index, shard, [group[shard] for group in blocks], rows)] = shard
        with progress("indexing", total=sources.embeddings.rows, unit="images") as bar:
            while pending:
                (done,), _ = ray.wait(list(pending))
                shard, written = pending.pop(done), result_of(done)
                for of_group in blocks:
                    of_group[shard] = None  # the object store may forget it
                bar.update(written.rows)
                yield written

    def map(self, what: str, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        results: dict[int, R] = {}
        with progress(what, total=len(jobs), unit="shards") as bar:
            for number, result in run_tasks(functools.partial(_numbered, function), list(enumerate(jobs))):
                results[number] = result
                bar.update(1)
        return [results[number] for number in range(len(jobs))]


def _scatter(shared: Any, sources: Sources, shards: int) -> tuple[list[list[int]], list[list[Any]]]:
    """Split all parts: the rows, and the references of the blocks, of every group and shard, in the parts' order."""
    import ray

    runs = groups(sources, at_least=at_once())
    task = ray.remote(num_cpus=1, num_returns=shards + 1, label_selector=selector() or None)(_split)
    counts: list[list[int]] = [[] for _ in runs]
    blocks: list[list[Any]] = [[] for _ in runs]
    pending: dict[Any, int] = {}
    waiting = list(enumerate(runs))[::-1]
    with progress("splitting", total=sources.embeddings.rows, unit="images") as bar:
        while waiting or pending:
            while waiting and len(pending) < at_once():
                group, parts = waiting.pop()
                first, *blocks[group] = task.remote(shared, parts, shards)
                pending[first] = group
            (done,), _ = ray.wait(list(pending))
            group = pending.pop(done)
            counts[group] = result_of(done)
            bar.update(sum(counts[group]))
    return counts, blocks


def _split(sources: Sources, parts: Sequence[int], shards: int) -> tuple[Any, ...]:
    """How many rows each shard gets of some parts, and then its block, shard by shard."""
    blocks = split(sources, parts, shards)
    return ([len(block) for block in blocks], *blocks)


def _gather(sources: Sources, index: str, shard: int, references: list[Any], rows: int) -> ShardCounts:
    return write_shard(sources.store, index, shard, _fetched(references), rows)


def _fetched(references: list[Any]) -> Iterator[Block]:
    """The blocks, one at a time."""
    import ray

    for reference in references:
        yield ray.get(reference)


def _numbered(function: Callable[[J], R], job: tuple[int, J]) -> tuple[int, R]:
    number, one = job
    return number, function(one)


def _memory(wanted: int) -> int:
    """The memory that a task asks for; never more than the largest node has, or it would wait for ever."""
    import ray

    largest = max((node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]), default=0)
    return int(min(wanted, largest))
