"""The metrics against plain loops, and their doctests."""

import doctest

import numpy as np
import pytest

from visnet.platform import metrics
from visnet.platform.metrics import ann_recall_at_k, precision_at_k, recall_at_k

FOUND = np.random.default_rng(0).integers(0, 12, (20, 9))
WANTED = list(np.random.default_rng(1).integers(0, 12, 20))


def test_doctests() -> None:
    assert doctest.testmod(metrics).failed == 0


@pytest.mark.parametrize("k", [1, 3, 9])
def test_recall_and_precision_equal_plain_loops(k: int) -> None:
    inside = [wanted in list(row[:k]) for row, wanted in zip(FOUND, WANTED, strict=True)]
    assert recall_at_k(FOUND, WANTED, k) == pytest.approx(sum(inside) / len(inside))
    same = [sum(label == wanted for label in row[:k]) / k for row, wanted in zip(FOUND, WANTED, strict=True)]
    assert precision_at_k(FOUND, WANTED, k) == pytest.approx(sum(same) / len(same))


def test_ann_recall_ignores_order_and_counts_overlap() -> None:
    exact = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert ann_recall_at_k(exact[:, ::-1], exact, 4) == 1.0
    assert ann_recall_at_k(np.array([[1, 2, 9, 9], [0, 0, 0, 0]]), exact, 4) == 0.25


@pytest.mark.parametrize(("found", "wanted", "k"), [(FOUND, WANTED, 10), (FOUND, WANTED, 0), (FOUND[:3], WANTED, 1)])
def test_refuses_what_does_not_fit(found: np.ndarray, wanted: list[int], k: int) -> None:
    with pytest.raises(ValueError, match="expected answers"):
        recall_at_k(found, wanted, k)
