"""The ranking of a category against plain loops, whatever it is cut into."""

import numpy as np
import pytest

from visnet.platform.merge import NO_ROW
from visnet.train.triplets import ranks as ranks_module
from visnet.train.triplets.ranks import Groups, rank_others
from visnet.train.triplets.scorers import on_grid


@pytest.fixture
def category() -> tuple[np.ndarray, Groups]:
    """90 pictures, half of them of products with several, some of the same bytes."""
    random = np.random.default_rng(0)
    vector_ND = random.normal(size=(90, 16))
    vector_ND = on_grid(vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True))
    vector_ND[40] = vector_ND[41]  # a tie
    products = [f"p{number if number < 45 else number % 7}" for number in range(90)]
    contents = [f"c{number - number % 3 if number < 9 else number}" for number in range(90)]
    return vector_ND, Groups.of(products, contents)


def slow_ranks(vector_ND: np.ndarray, groups: Groups, row: int) -> list[int]:
    score_N = [float(vector.astype(float) @ vector_ND[row].astype(float)) for vector in vector_ND]
    others = [
        other
        for other in range(len(vector_ND))
        if groups.product_N[other] != groups.product_N[row] and groups.content_N[other] != groups.content_N[row]
    ]
    return sorted(others, key=lambda other: (-score_N[other], other))


@pytest.mark.parametrize("block", [7, 30, 90])
@pytest.mark.parametrize("listed", [50, 2**21])
@pytest.mark.parametrize("depth", [1, 10, 200])
def test_ranks_are_those_of_plain_loops(
    category: tuple[np.ndarray, Groups], block: int, listed: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector_ND, groups = category
    monkeypatch.setattr(ranks_module, "LISTED", listed)
    row_Q = np.arange(10, 60)
    blocks = [vector_ND[first : first + block] for first in range(0, 90, block)]
    ranked_QK = np.concatenate(list(rank_others(row_Q, vector_ND[row_Q], blocks, groups, depth)))
    assert ranked_QK.shape == (50, depth)
    for row, ranked_K in zip(row_Q, ranked_QK, strict=True):
        expected = slow_ranks(vector_ND, groups, row)[:depth]
        assert ranked_K[ranked_K != NO_ROW].tolist() == expected
        assert (ranked_K[len(expected) :] == NO_ROW).all()


def test_own_pictures_are_those_of_the_product_in_other_bytes() -> None:
    groups = Groups.of(["a", "b", "a", "a", "b", "c"], ["1", "2", "3", "1", "4", "5"])
    assert groups.own(0).tolist() == [2]
    assert sorted(groups.own(2).tolist()) == [0, 3]
    assert groups.own(1).tolist() == [4]
    assert groups.own(5).tolist() == []


def test_a_category_of_one_picture_has_no_others() -> None:
    groups = Groups.of(["a"], ["1"])
    ranked = list(rank_others(np.array([0]), np.ones((1, 4)), [np.ones((1, 4))], groups, 5))
    assert (np.concatenate(ranked) == NO_ROW).all()
