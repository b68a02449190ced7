"""Exact nearest neighbours over an array we own, on the CPU or on a GPU.

Both are a brute-force pass by FAISS, with no index object in between: rows can be appended, overwritten and
sliced by whoever owns the array, and a slice of it is searched at the cost of the slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import faiss
import numpy as np

from visnet.platform.merge import NO_ROW, merge

if TYPE_CHECKING:
    from torch import Tensor

# Q queries, N vectors, D embedding, K neighbours

CPU_BLOCK = 2**21
"""Components searched at once on a CPU, 8 MiB: what stays in the cache while a batch of queries passes over it."""
MERGE_BLOCKS = 32
"""Blocks whose answers are kept before they are merged."""
WIDE_BATCH = 512
"""Queries from which on FAISS cuts the work better itself, and every further block means more to select from: 4 % of
2,048 queries in 50,000 x 64 with 20 neighbours, 23 % with 100."""
GPU_BLOCK = 2**28
"""Components copied to a GPU, or scored for a deep search, at once."""
FAISS_GPU_MAX_K = 2_048
"""FAISS's selection on a GPU goes no deeper and throws."""


class Vectors(Protocol):
    """A block of vectors that can be searched."""

    def search(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The `k` rows of `start:stop` with the largest inner product.

        Args:
            query_QD: float32.
            k: at most `stop - start`.

        Returns:
            Scores float32 (Q, K), best first, and row numbers int64 (Q, K) counted from row 0; `NO_ROW` for what has
            no score (a query or a vector that is not a number).
        """

    def search_rows(self, query_QD: np.ndarray, row_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, exactly, among these rows; they are gathered block by block. `k` is at most their number."""

    def take(self, row_N: np.ndarray) -> np.ndarray:
        """Some rows, float32 (N, D)."""

    def forget(self, row_N: np.ndarray) -> None:
        """Rows that nobody wants any more: where the vectors are in memory, they come up no more, or rarely."""


class OwnedVectors(Vectors, Protocol):
    """A block of vectors that its owner fills. Rows that were never written are as if forgotten."""

    def overwrite(self, row_N: np.ndarray, vector_ND: np.ndarray) -> None:
        """Put vectors into these rows."""

    def grow(self, rows: int) -> None:
        """Make room for so many rows, at least as many as there are."""


class CpuVectors:
    """Kept as float32 (FAISS has no float16 kernel on the CPU): 4 bytes a component.

    What is forgotten is not a number: it has no score, so it never comes up and costs a search nothing.
    """

    def __init__(self, vector_ND: np.ndarray) -> None:
        self._vector_ND = np.ascontiguousarray(vector_ND, dtype=np.float32)
        self._borrowed = np.may_share_memory(self._vector_ND, vector_ND)

    def search(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        return block_search(query_QD, self._vector_ND, start, stop, k)

    def search_rows(self, query_QD: np.ndarray, row_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return rows_search(query_QD, self._vector_ND, row_N, k)

    def take(self, row_N: np.ndarray) -> np.ndarray:
        taken: np.ndarray = self._vector_ND[row_N]
        return taken

    def forget(self, row_N: np.ndarray) -> None:
        self.overwrite(row_N, np.full(self._vector_ND.shape[1], np.nan, np.float32))

    def overwrite(self, row_N: np.ndarray, vector_ND: np.ndarray) -> None:
        if self._borrowed:  # the caller's array stays as it is
            self._vector_ND, self._borrowed = self._vector_ND.copy(), False
        self._vector_ND[row_N] = vector_ND

    def grow(self, rows: int) -> None:
        grown_ND = np.full((rows, self._vector_ND.shape[1]), np.nan, np.float32)
        grown_ND[: len(self._vector_ND)] = self._vector_ND
        self._vector_ND, self._borrowed = grown_ND, False


class GpuVectors:
    """Kept as float16 in a CUDA tensor: 2 bytes a component; one FAISS resource object for its one user.

    FAISS's GPU resources are not safe for concurrent use: an owner must not search from two threads at once. What is
    forgotten is zero, and scores 0: what FAISS's selection on a GPU does with what is not a number is nowhere promised.

    Args:
        beside: vectors of the same owner, whose resource object these share.
    """

    def __init__(self, vector_ND: np.ndarray, *, device: str = "cuda", beside: GpuVectors | None = None) -> None:
        import faiss.contrib.torch_utils  # teaches faiss.knn_gpu to take tensors
        import torch

        self._torch = torch
        self._device = torch.device(device)
        self._resources: Any = faiss.StandardGpuResources() if beside is None else beside._resources
        self._vector_ND = torch.empty(vector_ND.shape, dtype=torch.float16, device=self._device)
        for first, last in _blocks(0, len(vector_ND), GPU_BLOCK // vector_ND.shape[1]):  # the host never holds a copy
            block_ND = torch.from_numpy(np.array(vector_ND[first:last], dtype=np.float16))
            self._vector_ND[first:last].copy_(block_ND)

    def search(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        score_QK, row_QK = self._nearest(self._query(query_QD), self._vector_ND[start:stop], k)
        return score_QK, _counted_from(start, row_QK)

    def search_rows(self, query_QD: np.ndarray, row_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        query, scores, rows = self._query(query_QD), [], []
        for first, last in _blocks(0, len(row_N), GPU_BLOCK // self._vector_ND.shape[1]):
            gathered_ND = self._vector_ND[self._rows(row_N[first:last])]
            score_QK, row_QK = self._nearest(query, gathered_ND, min(k, last - first))
            scores.append(score_QK)
            rows.append(_named(row_N, _counted_from(first, row_QK)))
        score_QK, _, row_QK = merge(scores, rows, k, higher_is_better=True)
        return score_QK, row_QK

    def take(self, row_N: np.ndarray) -> np.ndarray:
        taken: np.ndarray = self._vector_ND[self._rows(row_N)].float().cpu().numpy()
        return taken

    def forget(self, row_N: np.ndarray) -> None:
        self._vector_ND[self._rows(row_N)] = 0

    def overwrite(self, row_N: np.ndarray, vector_ND: np.ndarray) -> None:
        given = self._torch.from_numpy(np.ascontiguousarray(vector_ND, np.float16)).to(self._device)
        self._vector_ND[self._rows(row_N)] = given

    def grow(self, rows: int) -> None:
        shape = (rows, self._vector_ND.shape[1])
        grown_ND = self._torch.zeros(shape, dtype=self._torch.float16, device=self._device)
        grown_ND[: len(self._vector_ND)] = self._vector_ND
        self._vector_ND = grown_ND

    def _query(self, query_QD: np.ndarray) -> Tensor:
        return self._torch.from_numpy(query_QD.astype(np.float16)).to(self._device)

    def _rows(self, row_N: np.ndarray) -> Tensor:
        return self._torch.from_numpy(np.ascontiguousarray(row_N, np.int64)).to(self._device)

    def _nearest(self, query: Tensor, vector_ND: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        if k > FAISS_GPU_MAX_K:
            score_QK, row_QK = deep_search(query, vector_ND, k)
        else:
            score_QK, row_QK = faiss.knn_gpu(
                self._resources,
                query,
                vector_ND,
                k,
                metric=faiss.METRIC_INNER_PRODUCT,
                device=-1 if self._device.index is None else self._device.index,
            )
        return score_QK.float().cpu().numpy(), row_QK.cpu().numpy()


def make_vectors(vector_ND: np.ndarray, *, device: str) -> Vectors:
    """Vectors on `device`: "cpu", "cuda" or "cuda:N"."""
    return CpuVectors(vector_ND) if device == "cpu" else GpuVectors(vector_ND, device=device)


def make_owned(dimension: int, *, device: str, beside: Vectors) -> OwnedVectors:
    """Room for no vector yet, on `device`; on a GPU it shares the resources of the vectors it is searched beside."""
    empty_ND = np.empty((0, dimension), np.float32)
    if device == "cpu":
        return CpuVectors(empty_ND)
    return GpuVectors(empty_ND, device=device, beside=beside if isinstance(beside, GpuVectors) else None)


def block_search(
    query_QD: np.ndarray, vector_ND: np.ndarray, start: int, stop: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """What `Vectors.search` promises, by one pass on the CPU over vectors of any float type, mapped ones too.

    What is not float32 is converted block by block, so it takes no more memory than a block.
    """
    blocks = _blocks(start, stop, CPU_BLOCK // vector_ND.shape[1])
    return _search_blocks(query_QD, blocks, k, lambda first, last: vector_ND[first:last])


def rows_search(
    query_QD: np.ndarray, vector_ND: np.ndarray, row_N: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """What `Vectors.search_rows` promises, likewise."""
    blocks = _blocks(0, len(row_N), CPU_BLOCK // vector_ND.shape[1])
    score_QK, row_QK = _search_blocks(query_QD, blocks, k, lambda first, last: vector_ND[row_N[first:last]])
    return score_QK, _named(row_N, row_QK)


def _search_blocks(
    query_QD: np.ndarray, blocks: list[tuple[int, int]], k: int, block_at: Callable[[int, int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    query_QD = np.ascontiguousarray(query_QD, dtype=np.float32)
    scores, rows = [], []
    for first, last in blocks:
        block_ND = np.ascontiguousarray(block_at(first, last), dtype=np.float32)
        score_QK, row_QK = faiss.knn(query_QD, block_ND, min(k, last - first), metric=faiss.METRIC_INNER_PRODUCT)
        scores.append(score_QK)
        rows.append(_counted_from(first, row_QK))
        if len(scores) == MERGE_BLOCKS:  # what waits does not grow with the number of blocks
            score_QK, _, row_QK = merge(scores, rows, k, higher_is_better=True)
            scores, rows = [score_QK], [row_QK]
    score_QK, _, row_QK = merge(scores, rows, k, higher_is_better=True)
    return score_QK, row_QK


def deep_search(query_QD: Tensor, vector_ND: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` rows with the largest inner product, however large `k`, on whatever device the tensors are.

    Slower than FAISS, which can't go as deep on a GPU; needed where thousands of rows collapse into one product.

    Returns:
        Scores float32 (Q, K), best first, and row numbers int64 (Q, K).
    """
    import torch

    best_QK = torch.empty((len(query_QD), 0), device=query_QD.device)
    row_QK = torch.empty((len(query_QD), 0), dtype=torch.int64, device=query_QD.device)
    for first, last in _blocks(0, len(vector_ND), max(1, GPU_BLOCK // (4 * max(1, len(query_QD))))):
        score_QN = query_QD.float() @ vector_ND[first:last].float().T
        number_QN = torch.arange(first, last, device=query_QD.device).expand(score_QN.shape)
        score_QN, number_QN = torch.cat([best_QK, score_QN], 1), torch.cat([row_QK, number_QN], 1)
        best_QK, place_QK = score_QN.topk(min(k, score_QN.shape[1]), dim=1)
        row_QK = number_QN.gather(1, place_QK)
    return best_QK, row_QK


def _blocks(start: int, stop: int, rows: int) -> list[tuple[int, int]]:
    """`start:stop` in runs of so many rows; one empty run if there are none."""
    rows = max(1, rows)
    return [(first, min(first + rows, stop)) for first in range(start, stop, rows)] or [(start, stop)]


def _named(row_N: np.ndarray, place_QK: np.ndarray) -> np.ndarray:
    """The rows at these places of `row_N`; `NO_ROW` stays what it is."""
    if not len(row_N):
        return np.full(place_QK.shape, NO_ROW, np.int64)
    return np.where(place_QK < 0, NO_ROW, row_N[place_QK])


def _counted_from(first: int, row_QK: np.ndarray) -> np.ndarray:
    return np.where(row_QK < 0, NO_ROW, row_QK + first)
