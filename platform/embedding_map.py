"""A catalogue's shape: a sample of its vectors laid out on a plane, so that what looks alike lies together.

t-SNE keeps who is whose neighbour and nothing else: the distance between two groups says little. A thousand vectors
take a few seconds of one core.
"""

from __future__ import annotations

import numpy as np

# N points, D embedding

METHOD = "t-SNE"
LEAST = 8
"""Points below which there are no neighbourhoods to keep: principal components then."""


def plane(vector_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Places of unit vectors on a plane, float32 (N, 2), each axis from 0 to 1.

    Source: van der Maaten and Hinton, "Visualizing data using t-SNE" (2008), by scikit-learn, from a start by principal
    components.
    """
    vector_ND = np.asarray(vector_ND, np.float32)
    place_N2 = _tsne(vector_ND, seed) if len(vector_ND) >= LEAST else _principal(vector_ND)
    return _unit_square(place_N2)


def _tsne(vector_ND: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE  # half a second, which nobody pays who shows no map
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(vector_ND) - 1) / 3)
    with threadpool_limits(limits=1):
        # the initial state is scaled by its spread, which is 0 where all vectors are equal
        init = "pca" if np.ptp(vector_ND, axis=0).max() > 0 else "random"
        placed = TSNE(perplexity=perplexity, init=init, random_state=seed, n_jobs=1).fit_transform(vector_ND)
    return np.asarray(placed, np.float32)


def _principal(vector_ND: np.ndarray) -> np.ndarray:
    if not len(vector_ND):
        return np.empty((0, 2), np.float32)
    centred_ND = vector_ND - vector_ND.mean(axis=0)
    left_NR, size_R, _ = np.linalg.svd(centred_ND, full_matrices=False)
    place_N2 = np.zeros((len(vector_ND), 2), np.float32)
    kept = min(2, len(size_R))
    place_N2[:, :kept] = left_NR[:, :kept] * size_R[:kept]
    return place_N2


def _unit_square(place_N2: np.ndarray) -> np.ndarray:
    if not len(place_N2):
        return place_N2
    low_2, span_2 = place_N2.min(axis=0), np.ptp(place_N2, axis=0)
    scaled_N2: np.ndarray = np.where(span_2 > 0, (place_N2 - low_2) / np.where(span_2 > 0, span_2, 1), 0.5)
    return scaled_N2.astype(np.float32)
