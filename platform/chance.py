"""How alike products are that have nothing to do with each other: below that, "similar" means nothing."""

from __future__ import annotations

import numpy as np

# N products, D embedding

SHARE = 0.99
"""Of pairs drawn at random, so many score lower."""
LEAST = 16
"""Products below which nothing can be said."""


def chance_score(vector_ND: np.ndarray) -> float | None:
    """The score that pairs of different products seldom exceed; None for too few of them.

    Args:
        vector_ND: unit vectors of products drawn at random.
    """
    if len(vector_ND) < LEAST:
        return None
    vector_ND = vector_ND.astype(np.float32)
    pair_N = (vector_ND @ vector_ND.T)[np.triu_indices(len(vector_ND), k=1)]
    return float(np.quantile(pair_N, SHARE))
