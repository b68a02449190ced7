"""The metrics against plain loops, and their doctests."""

import doctest

import numpy as np
import pytest

from visnet.platform import metrics
from visnet.platform.metrics import (
    NOT_FOUND,
    ann_recall_at_k,
    cmc,
    map_at_r,
    paired_bootstrap,
    precision_at_k,
    ranks,
    recall_at_k,
    triplet_accuracy,
)

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


def test_ranks_equal_plain_loops_and_the_curve_equals_the_recalls() -> None:
    expected = [
        list(row).index(wanted) + 1 if wanted in row else NOT_FOUND for row, wanted in zip(FOUND, WANTED, strict=True)
    ]
    rank_Q = ranks(FOUND, WANTED)
    assert rank_Q.tolist() == expected
    assert NOT_FOUND in expected
    assert cmc(rank_Q, 9).tolist() == pytest.approx([recall_at_k(FOUND, WANTED, k) for k in range(1, 10)])
    assert cmc(rank_Q, 30)[-1] == cmc(rank_Q, 9)[-1]
    assert ranks(np.empty((2, 0)), ["a", "b"]).tolist() == [NOT_FOUND, NOT_FOUND]


def slow_map_at_r(relevant_QK: np.ndarray, count_Q: np.ndarray) -> float:
    means = []
    for relevant, count in zip(relevant_QK.tolist(), count_Q.tolist(), strict=True):
        precisions = [sum(relevant[: i + 1]) / (i + 1) if relevant[i] else 0.0 for i in range(count)]
        means.append(sum(precisions) / count)
    return sum(means) / len(means)


@pytest.mark.parametrize("seed", range(3))
def test_map_at_r_equals_plain_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    relevant_QK, count_Q = random.random((30, 8)) < 0.4, random.integers(1, 9, 30)
    assert map_at_r(relevant_QK, count_Q) == pytest.approx(slow_map_at_r(relevant_QK, count_Q))


def test_map_at_r_at_its_ends() -> None:
    first = np.array([[True, True, False]])
    assert map_at_r(first, np.array([2])) == 1.0
    assert map_at_r(~first, np.array([2])) == 0.0
    one = np.random.default_rng(0).random((20, 3)) < 0.5
    assert map_at_r(one, np.ones(20, int)) == pytest.approx(one[:, 0].mean())  # R = 1: the recall at 1
    with pytest.raises(ValueError, match="R = 0"):
        map_at_r(first, np.array([0]))
    with pytest.raises(ValueError, match="expected answers"):
        map_at_r(first, np.array([4]))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_triplet_accuracy_equals_a_plain_loop_and_counts_ties_as_errors(higher_is_better: bool) -> None:
    positive, negative = np.random.default_rng(0).integers(0, 4, (2, 200))
    right = sum(p > n if higher_is_better else p < n for p, n in zip(positive, negative, strict=True))
    assert triplet_accuracy(positive, negative, higher_is_better=higher_is_better) == pytest.approx(right / 200)
    with pytest.raises(ValueError, match="as many positives"):
        triplet_accuracy(positive[:3], negative[:2], higher_is_better=True)


def slow_bootstrap(difference: np.ndarray, rounds: int) -> tuple[float, float]:
    random = np.random.default_rng(1)
    means = [random.choice(difference, len(difference)).mean() for _ in range(rounds)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def test_the_bootstrap_interval_is_the_plain_one() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(300) < 0.5, random.random(300) < 0.4
    interval = paired_bootstrap(first, second, seed=0)
    low, high = slow_bootstrap(first.astype(int) - second.astype(int), 4_000)
    assert interval.difference == pytest.approx(first.mean() - second.mean())
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.006)
    turned = paired_bootstrap(second, first, seed=0)
    assert (turned.difference, turned.low) == pytest.approx((-interval.difference, -interval.high), abs=0.006)
    assert paired_bootstrap(first, second, seed=0) == interval


def test_the_interval_is_of_pairs() -> None:
    """Two encoders that hit and miss alike differ for sure, however unsure each recall is."""
    first = np.array([True, False] * 50)
    second = first.copy()
    second[:10] = False
    interval = paired_bootstrap(first, second, seed=0)
    assert 0 < interval.low < interval.difference < interval.high < 0.11


@pytest.mark.parametrize("call", [lambda: cmc(np.array([]), 3), lambda: cmc(np.array([1]), 0)])
def test_a_curve_needs_queries_and_depth(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="expected ranks"):
        call()
