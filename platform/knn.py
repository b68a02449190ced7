"""Exact nearest neighbours over an array we own, on the CPU or on a GPU.

Both are a brute-force pass by FAISS, with no index object in between: rows can be appended, overwritten and
sliced by whoever owns the array, and a slice of it is searched at the cost of the slice.
"""

from __future__ import annotations

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

    def take(self, row_N: np.ndarray) -> np.ndarray:
        """Some rows, float32 (N, D)."""


class CpuVectors:
    """Kept as float32 (FAISS has no float16 kernel on the CPU): 4 bytes a component."""

    def __init__(self, vector_ND: np.ndarray) -> None:
        self._vector_ND = np.ascontiguousarray(vector_ND, dtype=np.float32)

    def search(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        return block_search(query_QD, self._vector_ND, start, stop, k)

    def take(self, row_N: np.ndarray) -> np.ndarray:
        taken: np.ndarray = self._vector_ND[row_N]
        return taken


class GpuVectors:
    """Kept as float16 in a CUDA tensor: 2 bytes a component; one FAISS resource object for its one user.

    FAISS's GPU resources are not safe for concurrent use: an owner must not search from two threads at once.
    """

    def __init__(self, vector_ND: np.ndarray, *, device: str = "cuda") -> None:
        import faiss.contrib.torch_utils  # teaches faiss.knn_gpu to take tensors
        import torch

        self._torch = torch
        self._device = torch.device(device)
        self._resources: Any = faiss.StandardGpuResources()
        self._vector_ND = torch.empty(vector_ND.shape, dtype=torch.float16, device=self._device)
        for first, last in _blocks(0, len(vector_ND), GPU_BLOCK // vector_ND.shape[1]):  # the host never holds a copy
            block_ND = torch.from_numpy(np.array(vector_ND[first:last], dtype=np.float16))
            self._vector_ND[first:last].copy_(block_ND)

    def search(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        query = self._torch.from_numpy(query_QD.astype(np.float16)).to(self._device)
        if k > FAISS_GPU_MAX_K:
            score_QK, row_QK = deep_search(query, self._vector_ND[start:stop], k)
        else:
            score_QK, row_QK = faiss.knn_gpu(
                self._resources,
                query,
                self._vector_ND[start:stop],
                k,
                metric=faiss.METRIC_INNER_PRODUCT,
                device=-1 if self._device.index is None else self._device.index,
            )
        return score_QK.float().cpu().numpy(), _counted_from(start, row_QK.cpu().numpy())

    def take(self, row_N: np.ndarray) -> np.ndarray:
        rows = self._torch.from_numpy(row_N).to(self._device)
        taken: np.ndarray = self._vector_ND[rows].float().cpu().numpy()
        return taken


def make_vectors(vector_ND: np.ndarray, *, device: str) -> Vectors:
    """Vectors on `device`: "cpu", "cuda" or "cuda:N"."""
    return CpuVectors(vector_ND) if device == "cpu" else GpuVectors(vector_ND, device=device)


def block_search(
    query_QD: np.ndarray, vector_ND: np.ndarray, start: int, stop: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """What `Vectors.search` promises, by one pass on the CPU over vectors of any float type, mapped ones too.

    What is not float32 is converted block by block, so it takes no more memory than a block.
    """
    query_QD = np.ascontiguousarray(query_QD, dtype=np.float32)
    scores, rows = [], []
    for first, last in _blocks(start, stop, CPU_BLOCK // vector_ND.shape[1]):
        block_ND = np.ascontiguousarray(vector_ND[first:last], dtype=np.float32)
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


def _counted_from(first: int, row_QK: np.ndarray) -> np.ndarray:
    return np.where(row_QK < 0, NO_ROW, row_QK + first)
