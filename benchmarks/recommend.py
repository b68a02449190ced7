"""The recommendation pass on a cluster of this machine, against bare batched exact search.

    python benchmarks/recommend.py
    python benchmarks/recommend.py --products 1000000 --dimension 256 --shards 4 --only plain
    python benchmarks/recommend.py --device cuda --products 1000000 --dimension 256

What bounds it: every product is compared with every other one. So the bound is `faiss.knn` of the same query batches
over all vectors in one array, for the same k and the product itself, on all cores (`faiss.knn_gpu` and float16 on a
GPU): no shards, nothing to merge, nothing left out, numbers that stay numbers, nothing written. It is measured before
and after every pass. A pass starts actors that load the shards; that is left out, as it does not grow with the
products that are asked for.

Rules cost or save: `same_category` and `price_band` search slices, `in_stock` fewer vectors; `diversity` looks for 5
times as many candidates and compares them with each other. All are held against the same bound. The vectors are
random, which makes their neighbours' ids as costly to look up as can be.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
from timing import machine, report

from visnet.batch.recommend import recommend
from visnet.batch.recommend_cli import resized
from visnet.platform.cluster import session
from visnet.platform.content import short_keys
from visnet.platform.index import IndexManifest
from visnet.platform.index_gather import shard_directory
from visnet.platform.manifest import write_manifest
from visnet.platform.settings import RecommendSettings
from visnet.platform.shard_keys import product_hashes, ranks, write_keys
from visnet.platform.store import Store

# Q queries, N rows, D embedding

CATEGORIES = 10
BOUND_BATCHES = 4
"""On each core."""
RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "same category": {"same_category": True},
    "in stock": {"in_stock": "in_stock"},
    "price band": {"price_band": 0.3},
    "diverse": {"diversity": 0.3},
    "all": {"same_category": True, "in_stock": "in_stock", "price_band": 0.3, "diversity": 0.3},
}
DEFAULT = ("plain", "same category", "diverse", "all")
COLUMNS = {
    "rules": "rules|s",
    "seconds": "seconds|.1f",
    "start_s": "start s|.1f",
    "products_per_s": "products/s|,.0f",
    "beyond_start": "products/s beyond|,.0f",
    "bound": "bare search/s|,.0f",
    "to_bound": "of bound|.2f",
}


def main() -> None:
    options = _options()
    gpus = int(options.device == "cuda")
    with tempfile.TemporaryDirectory() as folder, session(num_cpus=4 * (os.cpu_count() or 1), num_gpus=gpus):
        store = Store(folder)
        vector_ND = write_index(store, options.products, options.images, options.dimension, options.shards)
        settings = RecommendSettings(k=options.k, batch_size=options.batch_size, gpus_per_shard=float(gpus))
        settings = resized(settings, options.shards, cpus=os.cpu_count() or 1, gpus=gpus)
        bound = Bound(vector_ND, options)
        recommend(store, "x", dataclasses.replace(settings, k=1, same_category=True))  # first workers start slowly
        lines = [measure(store, settings, rules, bound, options) for rules in options.only or DEFAULT]
    hardware = machine(options.device)
    report(
        f"recommendation pass over {options.products:,} products of {options.images} x {options.dimension} in "
        f"{options.shards} shards, k={options.k}; {hardware}",
        COLUMNS,
        lines,
        benchmark="recommend",
        machine=hardware,
        **{key: value for key, value in vars(options).items() if key != "only"},
    )


def measure(
    store: Store, settings: RecommendSettings, rules: str, bound: Bound, options: argparse.Namespace
) -> dict[str, float | str]:
    """One line of the table: a pass by some rules, between two looks at the bound."""
    before = bound.products_per_s()
    _, figures = recommend(store, "x", dataclasses.replace(settings, **RULES[rules]))
    bare = 2 / (1 / before + 1 / bound.products_per_s())
    beyond = options.products / (figures.seconds - figures.start_s)
    return {
        "rules": rules,
        "seconds": figures.seconds,
        "start_s": figures.start_s,
        "products_per_s": figures.products_per_s,
        "beyond_start": beyond,
        "bound": bare,
        "to_bound": beyond / bare,
    }


class Bound:
    """All vectors in one array, and batches of them searched in it."""

    def __init__(self, vector_ND: np.ndarray, options: argparse.Namespace) -> None:
        self._vector_ND: Any = vector_ND
        self._query_QD: Any = vector_ND[:: options.images]
        self._options = options
        self._cores = 1 if options.device == "cuda" else os.cpu_count() or 1
        if options.device == "cuda":
            import torch

            importlib.import_module("faiss.contrib.torch_utils")  # teaches faiss.knn_gpu to take tensors
            self._vector_ND = torch.from_numpy(vector_ND.astype(np.float16)).cuda()
            self._query_QD = self._vector_ND[:: options.images]
            self._resources = faiss.StandardGpuResources()

    def products_per_s(self) -> float:
        """The faster of a batch on all cores at a time, and a batch on each core."""
        return max(self._rate(at_once) for at_once in {1, self._cores})

    def _rate(self, at_once: int) -> float:
        """Over a sample of the batches, after one on every thread to warm up."""
        size = self._options.batch_size
        last = max(0, self._options.products - size)
        starts = np.linspace(0, last, BOUND_BATCHES * self._cores).astype(int).tolist()
        threads = self._cores // at_once
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda start: self._search(start, threads), starts[:at_once]))
            started = time.perf_counter()
            searched = sum(pool.map(lambda start: self._search(start, threads), starts))
            return searched / (time.perf_counter() - started)

    def _search(self, start: int, threads: int) -> int:
        k = self._options.k + 1
        query_QD = self._query_QD[start : start + self._options.batch_size]
        if self._options.device == "cuda":
            score_QK, _ = faiss.knn_gpu(
                self._resources, query_QD, self._vector_ND, k, metric=faiss.METRIC_INNER_PRODUCT
            )
            score_QK.cpu()
        else:
            faiss.omp_set_num_threads(threads)  # holds for the calling thread only
            faiss.knn(query_QD, self._vector_ND, k, metric=faiss.METRIC_INNER_PRODUCT)
        return len(query_QD)


def write_index(store: Store, products: int, images: int, dimension: int, shards: int) -> np.ndarray:
    """An index of random unit vectors with categories, prices and stock; returns its vectors, float32."""
    dice = np.random.default_rng(0)
    vector_ND = dice.standard_normal((products * images, dimension), np.float32)
    vector_ND /= np.linalg.norm(vector_ND, axis=1, keepdims=True)
    ids = pa.array([f"product-{number:08d}" for number in range(products)])
    hash_P = product_hashes(ids)
    price_P, stock_P = np.exp(dice.normal(3, 0.7, products)).round(2), dice.random(products) < 0.8
    shard_rows = []
    for shard in range(shards):
        product_S = np.flatnonzero(hash_P % np.uint64(shards) == shard)
        product_N = np.repeat(product_S[np.argsort(product_S * CATEGORIES // products, kind="stable")], images)
        row_N = product_N * images + np.tile(np.arange(images), len(product_S))
        rows = pa.table(
            {
                "image_id": pa.array(row_N).cast(pa.string()),
                "product_id": ids.take(pa.array(product_N)),
                "category": pa.array(product_N * CATEGORIES // products).cast(pa.string()),
                "price": price_P[product_N],
                "in_stock": stock_P[product_N],
                "content_hash": pa.array([f"{row:016x}{0:016x}" for row in row_N]),
            }
        )
        directory = shard_directory("x", shard)
        with store.writer(f"{directory}/vectors.npy") as file:
            np.save(file, vector_ND[row_N].astype(np.float16))
        write_keys(store, directory, ranks(rows["product_id"]), short_keys(rows["content_hash"]), hash_P[product_N])
        with store.writer(f"{directory}/rows.arrow") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)
        shard_rows.append(len(rows))
    manifest = IndexManifest(
        index="x",
        encoder="generated",
        encoder_digest="0" * 64,
        dimension=dimension,
        metric="inner_product",
        catalog="generated",
        catalog_version="1",
        rows=len(vector_ND),
        products=products,
        shard_rows=shard_rows,
        settings={},
    )
    write_manifest(store, "indexes/x", manifest)
    return vector_ND


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=1, help="of each product")
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--only", action="append", choices=RULES, help=f"may be repeated; default: {', '.join(DEFAULT)}"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
