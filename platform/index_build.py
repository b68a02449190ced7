"""An index build from beginning to end; what runs its stages (this process or a cluster) is an argument.

    scatter   every part is read once and split by shard      a task for each group of parts
    gather    a shard's blocks become its files                a task for each shard
    train     approximate kinds: lists and codes of a shard    a task for each shard
    measure   approximate kinds: `ann_recall_at_k`             a task for each shard

The manifest comes last. A build that was killed is begun anew: what it left is deleted first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Protocol, TypeVar

import numpy as np

from visnet.platform.ann import ANN, AnnParameters, resolve, write_ann
from visnet.platform.errors import StoreError
from visnet.platform.index import IndexManifest
from visnet.platform.index_gather import ROWS, VECTORS, ShardCounts, shard_directory, write_shard
from visnet.platform.index_recall import Drawn, Lookup, draw, look_up, mapped_vectors, read_vectors, recall
from visnet.platform.index_scatter import Sources, groups, split
from visnet.platform.manifest import digest_of, write_manifest
from visnet.platform.settings import IndexSettings
from visnet.platform.shard import HIGHER_IS_BETTER
from visnet.platform.shard_keys import KEYS
from visnet.platform.store import Store

J = TypeVar("J")
R = TypeVar("R")


class Runner(Protocol):
    """Runs the stages."""

    def write_shards(self, sources: Sources, index: str, shards: int) -> Iterator[ShardCounts]:
        """Scatter and gather: write the files of every shard; what was written comes in any order."""

    def map(self, what: str, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        """Call the function with every job; the results are in the jobs' order. `what` says what it does."""


class InProcess:
    """One after the other, here; holds all blocks at once."""

    def write_shards(self, sources: Sources, index: str, shards: int) -> Iterator[ShardCounts]:
        blocks = [split(sources, parts, shards) for parts in groups(sources)]
        for shard in range(shards):
            mine = [of_group[shard] for of_group in blocks]
            yield write_shard(sources.store, index, shard, mine, sum(map(len, mine)))

    def map(self, what: str, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        return [function(job) for job in jobs]


def index_id(sources: Sources, settings: IndexSettings) -> str:
    """The name of the index that these make: equal sources and settings, equal name."""
    embeddings = sources.embeddings
    made = (embeddings.encoder_digest, sources.catalog.reference, settings.shards)
    further = () if embeddings.attempt == 1 else (embeddings.attempt,)
    approximate = () if settings.kind == "exact" else (asdict(settings),)
    return f"{embeddings.encoder}-{digest_of(*made, *further, *approximate)}"


def build(sources: Sources, settings: IndexSettings, runner: Runner) -> IndexManifest:
    """Build and publish the index; it must not be there yet.

    Raises:
        StoreError: there is nothing to index, the counts do not add up, or the recall is below its bar.
        ValueError: the settings do not fit the vectors.
    """
    index, store = index_id(sources, settings), sources.store
    resolve(settings, rows=sources.embeddings.rows, dimension=sources.dimension)  # wrong settings fail here, not late
    if not sources.embeddings.rows:
        raise StoreError(f"catalogue {sources.catalog.reference} has no image with a vector: there is nothing to index")
    store.delete_directory(f"indexes/{index}")
    counts = sorted(runner.write_shards(sources, index, settings.shards), key=lambda written: written.shard)
    if sum(written.rows for written in counts) != sources.embeddings.rows:
        found = sum(written.rows for written in counts)
        raise StoreError(f"{sources.embeddings.rows} images were embedded, but {found} rows were indexed")
    manifest = _manifest(index, sources, settings, counts)
    if settings.kind != "exact":
        manifest = _approximate(sources, manifest, settings, runner)
    _sweep(store, manifest)
    write_manifest(store, f"indexes/{index}", manifest)
    return manifest


def _manifest(index: str, sources: Sources, settings: IndexSettings, counts: Sequence[ShardCounts]) -> IndexManifest:
    exact = settings.kind == "exact"
    return IndexManifest(
        index=index,
        encoder=sources.embeddings.encoder,
        encoder_digest=sources.embeddings.encoder_digest,
        dimension=sources.dimension,
        metric="inner_product" if HIGHER_IS_BETTER else "distance",
        catalog=sources.catalog.manifest.name,
        catalog_version=sources.catalog.manifest.version,
        embeddings_attempt=sources.embeddings.attempt,
        journal_sequence=sources.catalog.manifest.journal_sequence,
        rows=sum(written.rows for written in counts),
        products=sum(written.products for written in counts),
        shard_rows=[written.rows for written in counts],
        kind=settings.kind,
        settings={"shards": settings.shards} if exact else asdict(settings),
    )


def _approximate(sources: Sources, manifest: IndexManifest, settings: IndexSettings, runner: Runner) -> IndexManifest:
    """Train the shards and measure them; deletes the index again if it misses its bar."""
    store, index = sources.store, manifest.index
    ann = [resolve(settings, rows=rows, dimension=manifest.dimension) for rows in manifest.shard_rows]
    shards = [(shard, parameters) for shard, parameters in enumerate(ann) if parameters.nlist]
    runner.map("training", functools.partial(_train, store, index), shards)
    manifest = replace(manifest, ann=ann, min_ann_recall=settings.min_ann_recall)
    manifest = _measured(store, manifest, settings, runner)
    if manifest.ann_recall_at_k is not None and manifest.ann_recall_at_k < settings.min_ann_recall:
        store.delete_directory(f"indexes/{index}")
        raise StoreError(_below_the_bar(manifest))
    return manifest


def _train(store: Store, index: str, job: tuple[int, AnnParameters]) -> None:
    shard, parameters = job
    write_ann(store, shard_directory(index, shard), mapped_vectors(store, index, shard), parameters)


def _measured(store: Store, manifest: IndexManifest, settings: IndexSettings, runner: Runner) -> IndexManifest:
    """The manifest with the recall; a single vector has no others, so there is nothing to measure."""
    k = min(settings.recall_k, manifest.rows - 1)
    if not k:
        return manifest
    firsts = np.cumsum(manifest.shard_rows) - manifest.shard_rows
    chosen = list(enumerate(draw(manifest.shard_rows, settings.recall_queries)))
    vectors = runner.map("drawing", functools.partial(_read, store, manifest.index), chosen)
    row_Q = np.concatenate([rows + first for (_, rows), first in zip(chosen, firsts, strict=True)])
    drawn = Drawn(query_QD=np.concatenate(vectors), row_Q=row_Q, k=k)
    lookups = [
        Lookup(shard=shard, first_row=int(first), parameters=manifest.ann[shard])
        for shard, first in enumerate(firsts)
        if manifest.shard_rows[shard]
    ]
    answers = runner.map("measuring", functools.partial(look_up, store, manifest.index, drawn), lookups)
    return replace(manifest, ann_recall_at_k=recall(answers, k), recall_k=k, recall_queries=len(row_Q))


def _read(store: Store, index: str, job: tuple[int, np.ndarray]) -> np.ndarray:
    return read_vectors(store, index, *job)


def _below_the_bar(manifest: IndexManifest) -> str:
    largest = max(manifest.ann, key=lambda parameters: parameters.nlist)
    return (
        f"ann_recall_at_{manifest.recall_k} is {manifest.ann_recall_at_k:.4f} over {manifest.recall_queries} queries, "
        f"below the {manifest.min_ann_recall} that was asked for; no index was made. Raise --nprobe (now "
        f"{largest.nprobe} of {largest.nlist} lists), --refine (now {largest.refine}) or --pq-bytes (now "
        f"{largest.pq_bytes} for {manifest.dimension} dimensions), lower --min-ann-recall, or build --kind exact"
    )


def _sweep(store: Store, manifest: IndexManifest) -> None:
    """Check that every file is there, and delete what workers that died have left beside them."""
    for shard in range(manifest.shards):
        directory = shard_directory(manifest.index, shard)
        wanted = {VECTORS, ROWS, KEYS}
        if manifest.ann and manifest.ann[shard].nlist:
            wanted.add(ANN)
        found = set(store.names(directory))
        if missing := wanted - found:
            raise StoreError(f"{directory} lost {', '.join(sorted(missing))} while it was built: build the index anew")
        for stray in found - wanted:
            store.filesystem.delete_file(store.path(f"{directory}/{stray}"))
