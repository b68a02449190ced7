"""Exact nearest neighbours over an array we own, on the CPU or on a GPU.

Both are one brute-force pass by FAISS, with no index object in between: rows can be appended, overwritten and
sliced by whoever owns the array, and a slice of it is searched at the cost of the slice.
"""

from __future__ import annotations

from typing import Any, Protocol

import faiss
import numpy as np

from visnet.platform.merge import NO_ROW

# Q queries, N vectors, D embedding, K neighbours


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
        query_QD = np.ascontiguousarray(query_QD, dtype=np.float32)
        score_QK, row_QK = faiss.knn(query_QD, self._vector_ND[start:stop], k, metric=faiss.METRIC_INNER_PRODUCT)
        return score_QK, _from_row_0(row_QK, start)

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
        self._vector_ND = torch.from_numpy(np.array(vector_ND, dtype=np.float16)).to(self._device)

    def search(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        query = self._torch.from_numpy(query_QD.astype(np.float16)).to(self._device)
        score_QK, row_QK = faiss.knn_gpu(
            self._resources, query, self._vector_ND[start:stop], k, metric=faiss.METRIC_INNER_PRODUCT
        )
        return score_QK.float().cpu().numpy(), _from_row_0(row_QK.cpu().numpy(), start)

    def take(self, row_N: np.ndarray) -> np.ndarray:
        rows = self._torch.from_numpy(row_N).to(self._device)
        taken: np.ndarray = self._vector_ND[rows].float().cpu().numpy()
        return taken


def _from_row_0(row_QK: np.ndarray, start: int) -> np.ndarray:
    return np.where(row_QK < 0, NO_ROW, row_QK + start)


def make_vectors(vector_ND: np.ndarray, *, device: str) -> Vectors:
    """Vectors on `device`: "cpu", "cuda" or "cuda:N"."""
    return CpuVectors(vector_ND) if device == "cpu" else GpuVectors(vector_ND, device=device)
