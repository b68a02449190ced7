"""The recommendation pass on Ray: every product's most similar others, by searching the shards in large batches.

One actor holds each shard and searches it; the products' vectors come from the same actors. A batch of products goes
to all shards at once, the answers are merged, and each product's own entry is left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.index import load_shard, read_index
from visnet.platform.manifest import digest_of, has_manifest, read_manifest, write_manifest
from visnet.platform.merge import NO_ROW, merge
from visnet.platform.progress import progress
from visnet.platform.recommendations import SCHEMA, RecommendationsManifest, write_neighbours
from visnet.platform.settings import RecommendSettings
from visnet.platform.shard import HIGHER_IS_BETTER
from visnet.platform.store import Store

# Q products asked for, K neighbours, D embedding


def recommend(
    store: Store, index: str, settings: RecommendSettings, *, gpus_per_shard: float = 0.0
) -> tuple[RecommendationsManifest, dict[str, float]]:
    """Compute the recommendations of all products, on a connected Ray cluster.

    Args:
        gpus_per_shard: GPU share of the actor that holds a shard; 0 searches on the CPU.

    Returns:
        The manifest, and `seconds` and `products_per_s` of the pass (0 where it stood already).
    """
    import ray

    built = read_index(store, index)
    recommendations = f"{index}-{digest_of(settings.k)}"
    directory = f"recommendations/{recommendations}"
    if has_manifest(store, directory):
        return read_manifest(store, directory, RecommendationsManifest), {"seconds": 0.0, "products_per_s": 0.0}
    started = time.monotonic()
    actor = ray.remote(num_cpus=1, num_gpus=gpus_per_shard)(ShardSearch)
    device = "cuda" if gpus_per_shard else "cpu"
    searches = [actor.remote(store, index, shard, device) for shard in range(built.shards)]
    products = 0
    with progress("recommending", total=built.products, unit="products") as bar:
        for shard in range(built.shards):
            tables = [SCHEMA.empty_table()]
            for table in _neighbours_of_shard(searches, shard, settings):
                tables.append(table)
                bar.update(len(table))
            whole = pa.concat_tables(tables)
            write_neighbours(store, recommendations, shard, whole)
            products += len(whole)
    for search in searches:
        ray.kill(search)
    seconds = time.monotonic() - started
    manifest = RecommendationsManifest(
        recommendations=recommendations,
        index=index,
        encoder_digest=built.encoder_digest,
        products=products,
        k=settings.k,
    )
    write_manifest(store, directory, manifest)
    return manifest, {"seconds": round(seconds, 1), "products_per_s": round(products / seconds, 1), **asdict(settings)}


def _neighbours_of_shard(searches: list[Any], shard: int, settings: RecommendSettings) -> Iterator[pa.Table]:
    """The neighbours of one shard's products, a batch at a time; the next batch is searched meanwhile."""
    import ray

    products = ray.get(searches[shard].product_count.remote())
    starts = range(0, products, settings.batch_size)
    ahead: list[tuple[Any, list[Any]]] = []

    def ask(start: int) -> None:
        asked = searches[shard].queries.remote(start, settings.batch_size)
        # one more than wanted: the product itself is among them
        ahead.append((asked, [search.search.remote(asked, settings.k + 1) for search in searches]))

    for start in starts:
        ask(start)
        if len(ahead) == 2:
            yield _merge_batch(*ahead.pop(0), settings.k)
    while ahead:
        yield _merge_batch(*ahead.pop(0), settings.k)


def _merge_batch(asked: Any, answers: list[Any], k: int) -> pa.Table:
    import ray

    product_ids, _ = ray.get(asked)
    found = ray.get(answers)
    score_QK, shard_QK, column_QK = merge(
        [score for score, _ in found],
        [np.where(np.isfinite(score), np.arange(score.shape[1])[None], NO_ROW) for score, _ in found],
        k + 1,
        higher_is_better=HIGHER_IS_BETTER,
    )
    neighbours, scores = [], []
    for query, product_id in enumerate(product_ids):
        pairs = [
            (found[shard][1][query][column], float(score))
            for shard, column, score in zip(shard_QK[query], column_QK[query], score_QK[query], strict=True)
            if shard != NO_ROW
        ]
        others = [(neighbour, score) for neighbour, score in pairs if neighbour != product_id][:k]
        neighbours.append([neighbour for neighbour, _ in others])
        scores.append([score for _, score in others])
    return pa.table({"product_id": product_ids, "neighbour_ids": neighbours, "scores": scores}, schema=SCHEMA)


class ShardSearch:
    """One shard, on an actor."""

    def __init__(self, store: Store, index: str, shard: int, device: str) -> None:
        self._shard = load_shard(store, index, shard, device=device)
        product_ids = np.array(self._shard.rows["product_id"].to_pylist(), dtype=object)
        self._product_ids = product_ids
        unique, inverse = np.unique(product_ids.astype(str), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        self._products = unique
        self._rows = np.split(order, np.cumsum(np.bincount(inverse))[:-1]) if len(unique) else []

    def product_count(self) -> int:
        return len(self._products)

    def queries(self, start: int, count: int) -> tuple[list[str], np.ndarray]:
        """The ids and the vectors (float32, (Q, D)) of some of the shard's products."""
        chosen = slice(start, start + count)
        return list(self._products[chosen]), self._shard.product_vectors(self._rows[chosen])

    def search(self, asked: tuple[list[str], np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores (Q, K) and product ids (Q, K); -inf and None where there is nothing more."""
        hits = self._shard.search(asked[1], k)
        ids_QK = np.full(hits.row_QK.shape, None)
        found_QK = hits.row_QK != NO_ROW
        ids_QK[found_QK] = self._product_ids[hits.row_QK[found_QK]]
        return hits.score_QK, ids_QK
