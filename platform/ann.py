"""Approximate search of a shard: an inverted file of product-quantized codes (IVF-PQ), its finds ranked exactly.

FAISS maps the lists and codes, numpy maps the vectors: memory holds only what queries touch. A query looks into
`nprobe` lists, takes `refine` candidates for every result by their codes, and the stored vectors decide between them.
It promises what exact search does: `k` results if `k` exist, of any slice. Where the lists that were looked into hold
too few, and for slices so small that looking at all of it is as fast, it is exact.

On the CPU only: FAISS ignores id selectors on a GPU, where a slice could then not be searched.

Source: Jégou, Douze, Schmid, "Product quantization for nearest neighbor search" (2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from visnet.platform.knn import block_search, rows_search
from visnet.platform.merge import NO_ROW
from visnet.platform.settings import IndexSettings
from visnet.platform.store import Store

# Q queries, N rows, D embedding, K results, C candidates

ANN = "ann.faiss"
ROWS_PER_CENTROID = 39
"""What k-means wants to train a list or a code with, at least; the sample has no more."""
CODES = 256
"""Centroids of a byte of a code; a shard with fewer rows can't train them and stays exact."""
BLOCK_BYTES = 2**24
"""Vectors as float32 that are held at once, for adding and for ranking."""
EXACT_COMPONENTS = 2**23
"""A slice up to so many components, 32,768 rows of 256, is searched exactly. With 200,000 rows on one core, a slice
of 12,000 took 4 ms exactly and 6 ms by the lists for one query, 14 and 26 ms for 64; one of 80,000 took 27 and 2 ms,
96 and 79 ms. In a small slice the lists that are looked into often hold too few, and the exact pass comes on top."""
SEED = 20170307


@dataclass(frozen=True, kw_only=True)
class AnnParameters:
    """How one shard is searched approximately."""

    nlist: int
    """0: the shard is too small to be, and exact."""
    pq_bytes: int
    nprobe: int
    refine: int


def resolve(settings: IndexSettings, *, rows: int, dimension: int) -> AnnParameters:
    """The settings for a shard of so many rows, with what they leave open worked out.

    Raises:
        ValueError: `pq_bytes` does not divide the dimension.
    """
    pq_bytes = settings.pq_bytes or max(size for size in divisors(dimension) if size <= max(1, dimension // 4))
    if dimension % pq_bytes:
        sizes = ", ".join(map(str, divisors(dimension)))
        raise ValueError(f"pq_bytes = {pq_bytes} does not divide the dimension {dimension}; it may be one of {sizes}")
    most = max(1, rows // ROWS_PER_CENTROID)
    nlist = min(settings.nlist or round(4 * rows**0.5), most) if rows >= CODES else 0
    nprobe = min(settings.nprobe or max(8, nlist // 16), nlist)
    return AnnParameters(nlist=nlist, pq_bytes=pq_bytes, nprobe=nprobe, refine=settings.refine)


def divisors(number: int) -> list[int]:
    """All of them, ascending."""
    return [size for size in range(1, number + 1) if number % size == 0]


def write_ann(store: Store, directory: str, vector_ND: np.ndarray, parameters: AnnParameters) -> None:
    """Train on a sample of a shard's vectors, add them all block by block, and write the file.

    Holds the sample (float32) about three times, which grows with the root of the rows, and then the codes: `pq_bytes`
    + 8 bytes a row.
    """
    index = _trained(_sample(vector_ND, parameters), parameters)
    step = max(1, BLOCK_BYTES // (4 * vector_ND.shape[1]))
    for first in range(0, len(vector_ND), step):
        index.add(np.ascontiguousarray(vector_ND[first : first + step], dtype=np.float32))
    with store.writer(f"{directory}/{ANN}") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]


def read_ann(store: Store, directory: str) -> Any:
    """Map the lists of a shard; raises RuntimeError if the file is not what it should be."""
    return faiss.read_index(str(store.local_path(f"{directory}/{ANN}")), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)


def _sample(vector_ND: np.ndarray, parameters: AnnParameters) -> np.ndarray:
    rows = min(len(vector_ND), ROWS_PER_CENTROID * max(parameters.nlist, CODES))
    row_N = np.sort(np.random.default_rng(SEED).choice(len(vector_ND), rows, replace=False))
    return np.ascontiguousarray(vector_ND[row_N], dtype=np.float32)


def _trained(sample_ND: np.ndarray, parameters: AnnParameters) -> Any:
    kind = f"IVF{parameters.nlist},PQ{parameters.pq_bytes}x8"
    index: Any = faiss.index_factory(sample_ND.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True
    index.do_polysemous_training = False  # the factory switches it on; it costs most of the time and helps nothing here
    for clustering in (index.cp, index.pq.cp):
        clustering.min_points_per_centroid = 1  # small shards are few to a centroid; FAISS would print so
        clustering.seed = SEED
    index.train(sample_ND)
    return index


class AnnVectors:
    """The vectors of a shard, searched through its lists.

    Args:
        vector_ND: float16, mapped.
        index: as `read_ann` gives it; its row n is `vector_ND[n]`.
        parameters: `nprobe` and `refine` go with each query; change them by making another of these.
    """

    def __init__(self, vector_ND: np.ndarray, index: Any, parameters: AnnParameters) -> None:
        if index.ntotal != len(vector_ND):
            raise ValueError(f"{ANN} has {index.ntotal} rows for {len(vector_ND)} vectors")
        self._vector_ND = vector_ND
        self._index = index
        self._parameters = parameters

    def search(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        query_QD = np.ascontiguousarray(query_QD, dtype=np.float32)
        count = self._parameters.refine * k
        exact_rows = count if self._is_all(start, stop) else max(count, EXACT_COMPONENTS // query_QD.shape[1])
        if stop - start <= exact_rows:
            return block_search(query_QD, self._vector_ND, start, stop, k)
        candidate_QC = self._candidates(query_QD, start, stop, count)
        score_QK, row_QK = self._ranked(query_QD, candidate_QC, k)
        few_Q = (row_QK == NO_ROW).any(axis=1) & np.isfinite(query_QD).all(axis=1)
        if few_Q.any():
            score_QK[few_Q], row_QK[few_Q] = block_search(query_QD[few_Q], self._vector_ND, start, stop, k)
        return score_QK, row_QK

    def search_rows(self, query_QD: np.ndarray, row_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return rows_search(query_QD, self._vector_ND, row_N, k)

    def take(self, row_N: np.ndarray) -> np.ndarray:
        return self._vector_ND[row_N].astype(np.float32)

    def forget(self, row_N: np.ndarray) -> None:
        """They are mapped and stay as they are: who asks has to drop them."""

    def _is_all(self, start: int, stop: int) -> bool:
        return (start, stop) == (0, len(self._vector_ND))

    def _candidates(self, query_QD: np.ndarray, start: int, stop: int, count: int) -> np.ndarray:
        """The best rows of `start:stop` by their codes, from the lists nearest to the query."""
        selector = None  # or a range: the lists are ascending, so its ends are found by halving
        if not self._is_all(start, stop):
            selector = faiss.IDSelectorRange(start, stop, True)
        make: Any = faiss.SearchParametersIVF
        chosen = make(nprobe=self._parameters.nprobe, sel=selector)
        candidate_QC: np.ndarray = self._index.search(query_QD, count, params=chosen)[1]
        return candidate_QC

    def _ranked(self, query_QD: np.ndarray, candidate_QC: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The `k` best of the candidates by the vectors themselves."""
        step = max(1, BLOCK_BYTES // (4 * query_QD.shape[1] * candidate_QC.shape[1]))
        ranked = [
            self._ranked_block(query_QD[first : first + step], candidate_QC[first : first + step], k)
            for first in range(0, max(1, len(query_QD)), step)
        ]
        return np.concatenate([score for score, _ in ranked]), np.concatenate([row for _, row in ranked])

    def _ranked_block(self, query_QD: np.ndarray, candidate_QC: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        vector_QCD = self._vector_ND[candidate_QC].astype(np.float32)
        score_QC = np.matmul(vector_QCD, query_QD[:, :, None])[:, :, 0]
        score_QC[(candidate_QC == NO_ROW) | np.isnan(score_QC)] = -np.inf
        order_QK = np.argsort(-score_QC, axis=1, kind="stable")[:, :k]
        score_QK, row_QK = (np.take_along_axis(array, order_QK, axis=1) for array in (score_QC, candidate_QC))
        return score_QK, np.where(np.isneginf(score_QK), NO_ROW, row_QK)
