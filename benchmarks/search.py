"""Exact search of one shard, against one pass over its vectors.

    python benchmarks/search.py
    python benchmarks/search.py --device cuda --rows 50000000 --dimension 256

What bounds it: a search must read every vector once and multiply it with every query. So the bound is the bare matrix
product of the queries and all vectors on all cores, in the type the vectors are kept in: float32 by numpy on a CPU
(at batch 1 three times as fast as torch), float16 by torch on a GPU. Its scores are thrown away block by block. At
batch 1 the bound is memory bandwidth, at batch 256 arithmetic. What comes on top is choosing the k best (bare
`faiss.knn`, likewise measured) and what a shard adds: collapsing to products and numbering rows. A category of a
tenth of the rows is searched as a slice of them.

All in one run, in turns, after a warm-up. Needs no Ray. On a GPU the vectors are there twice, the shard's and the
bare ones: 51 GB for 50 million of 256; on the host they are float16, made a block at a time, and GpuVectors copies
them once.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable

import faiss
import numpy as np
import pyarrow as pa
import torch
from timing import in_turns, machine, report

from visnet.platform.shard import Shard

# Q queries, N rows, D embedding

CATEGORIES = 10
BLOCK_ROWS = {"cpu": 2**14, "cuda": 2**20}
COLUMNS = {
    "batch": "batch|d",
    "product_ms": "bare product ms|.2f",
    "gigabytes_per_s": "GB/s|.1f",
    "faiss_ms": "bare faiss ms|.2f",
    "shard_ms": "shard ms|.2f",
    "to_bound": "shard/product|.2f",
    "to_faiss": "shard/faiss|.2f",
    "queries_per_s": "queries/s|,.0f",
    "slice_ms": "category ms|.2f",
    "slice_share": "category/all|.2f",
}


def main() -> None:
    options = _options()
    vector_ND = unit_vectors(options.rows, options.dimension, device=options.device)
    started = time.perf_counter()
    shard = Shard(vector_ND, catalogue_rows(options.rows, options.images_per_product), device=options.device)
    build_s = time.perf_counter() - started
    bare = Bare(vector_ND, device=options.device)
    del vector_ND
    lines = [measure(shard, bare, batch, options.k, options.budget_s) for batch in options.batches]
    hardware = machine(options.device)
    report(
        f"exact search of a shard of {options.rows:,} x {options.dimension}, k={options.k}, built in {build_s:.1f} s; "
        f"{hardware}",
        COLUMNS,
        lines,
        benchmark="search",
        machine=hardware,
        build_s=round(build_s, 2),
        **{key: value for key, value in vars(options).items() if key != "batches"},
    )


def measure(shard: Shard, bare: Bare, batch: int, k: int, budget_s: float) -> dict[str, float]:
    """One line of the table: a batch of queries, by the bound, by FAISS, by the shard and by one category of it."""
    query_QD = unit_vectors(batch, shard.dimension, seed=batch).astype(np.float32)
    category = f"category-{CATEGORIES // 2}"
    works: dict[str, Callable[[], object]] = {
        "product": bare.product(query_QD),
        "faiss": bare.knn(query_QD, k),
        "shard": lambda: shard.search(query_QD, k),
        "slice": lambda: shard.search(query_QD, k, categories=[category]),
    }
    taken = in_turns(works, budget_s=budget_s)
    return {
        "batch": batch,
        **{f"{name}_ms": 1000 * seconds for name, seconds in taken.items()},
        "gigabytes_per_s": bare.size_bytes / taken["product"] / 1e9,
        "to_bound": taken["shard"] / taken["product"],
        "to_faiss": taken["shard"] / taken["faiss"],
        "queries_per_s": batch / taken["shard"],
        "slice_share": taken["slice"] / taken["shard"],
    }


class Bare:
    """The same vectors with nothing around them: what a search can't be faster than."""

    def __init__(self, vector_ND: np.ndarray, *, device: str) -> None:
        self._device = torch.device(device)
        self._on_cpu = self._device.type == "cpu"
        self._vector_ND = torch.from_numpy(vector_ND.astype(np.float32) if self._on_cpu else vector_ND).to(device)
        self._block_rows = min(BLOCK_ROWS[self._device.type], len(vector_ND))
        self.size_bytes = self._vector_ND.nbytes

    def product(self, query_QD: np.ndarray) -> Callable[[], object]:
        """Every query times every vector; a block's scores overwrite those of the block before."""
        query = self._like_vectors(query_QD)
        blocks = self._vector_ND.split(self._block_rows)
        if self._on_cpu:
            transposed = [block_BD.numpy().T for block_BD in blocks]
            return lambda: [query_QD @ block_DB for block_DB in transposed]
        score_QB = torch.empty((len(query), self._block_rows), dtype=query.dtype, device=self._device)

        def work() -> None:
            for block_BD in blocks:
                torch.mm(query, block_BD.T, out=score_QB[:, : len(block_BD)])
            torch.cuda.synchronize(self._device)

        return work

    def knn(self, query_QD: np.ndarray, k: int) -> Callable[[], object]:
        """FAISS's own brute-force search of the same array."""
        if self._on_cpu:
            vector_ND = self._vector_ND.numpy()
            return lambda: faiss.knn(query_QD, vector_ND, k, metric=faiss.METRIC_INNER_PRODUCT)
        importlib.import_module("faiss.contrib.torch_utils")  # teaches faiss.knn_gpu to take tensors
        query, resources = self._like_vectors(query_QD), faiss.StandardGpuResources()

        def work() -> None:
            faiss.knn_gpu(resources, query, self._vector_ND, k, metric=faiss.METRIC_INNER_PRODUCT)
            torch.cuda.synchronize(self._device)

        return work

    def _like_vectors(self, query_QD: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(query_QD).to(self._device, self._vector_ND.dtype)


def unit_vectors(count: int, dimension: int, *, seed: int = 0, device: str = "cpu") -> np.ndarray:
    """Random unit vectors, float16 as an index stores them; made in blocks, on `device`."""
    vector_ND = np.empty((count, dimension), np.float16)
    dice = torch.Generator(device).manual_seed(seed)
    for start in range(0, count, 2**18):
        block_BD = torch.randn((min(2**18, count - start), dimension), generator=dice, device=device)
        unit_BD = torch.nn.functional.normalize(block_BD).half().cpu()
        vector_ND[start : start + len(unit_BD)] = unit_BD.numpy()
    return vector_ND


def catalogue_rows(count: int, images_per_product: int) -> pa.Table:
    """A shard's rows, sorted into categories of equal size."""
    number_N = np.arange(count)
    category_N = pa.array([f"category-{name}" for name in range(CATEGORIES)])
    return pa.table(
        {
            "image_id": pa.array(number_N).cast(pa.string()),
            "product_id": pa.array(number_N // images_per_product).cast(pa.string()),
            "category": category_N.take(pa.array(number_N * CATEGORIES // count)),
            "content_hash": pa.array(number_N).cast(pa.string()),
        }
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--images-per-product", type=int, default=1, help="above 1, hits are collapsed to products")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--budget-s", type=float, default=5.0, help="seconds of measuring for each batch size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
