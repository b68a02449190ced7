"""Search among selected rows against looking at each of them; what is kept of filters, and for how long."""

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform import selection
from visnet.platform.filters import Condition, Filter
from visnet.platform.knn import CpuVectors
from visnet.platform.merge import NO_ROW
from visnet.platform.selection import Selection, Selections, nearest

DIMENSION = 8


def vectors(rows: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, DIMENSION)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


class Counted(CpuVectors):
    """Notes what it is asked for."""

    def __init__(self, vector_ND: np.ndarray) -> None:
        super().__init__(vector_ND)
        self.asked: list[str] = []

    def search(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append("whole")
        return super().search(query_QD, start, stop, k)

    def search_rows(self, query_QD: np.ndarray, row_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(f"rows of {len(query_QD)}")
        return super().search_rows(query_QD, row_N, k)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 1.0])
@pytest.mark.parametrize(("start", "stop"), [(0, 500), (100, 333), (7, 8), (5, 5)])
@pytest.mark.parametrize("k", [1, 20, 600])
def test_finds_what_looking_at_each_finds(share: float, start: int, stop: int, k: int) -> None:
    vector_ND, query_QD = vectors(500), vectors(4, seed=1)
    mask_N = np.random.default_rng(2).random(500) < share
    score_QK, row_QK = nearest(CpuVectors(vector_ND), query_QD, start, stop, Selection(mask_N), k)
    row_N = np.flatnonzero(mask_N[start:stop]) + start
    score_QN = query_QD @ vector_ND[row_N].T
    order_QK = np.argsort(-score_QN, axis=1)[:, :k]
    np.testing.assert_array_equal(row_QK, row_N[order_QK])
    np.testing.assert_allclose(score_QK, np.take_along_axis(score_QN, order_QK, axis=1), atol=1e-5)


def test_what_is_nearest_but_not_selected_costs_two_passes_and_a_gathering() -> None:
    """Half of the rows are selected, and none of the 250 nearest to the first query."""
    vector_ND, query_QD = vectors(5_000), vectors(2, seed=1)
    order_N = np.argsort(-(vector_ND @ query_QD[0]))
    mask_N = np.arange(5_000) % 2 == 0
    mask_N[order_N[:1_000]] = False
    searched = Counted(vector_ND)
    _, row_QK = nearest(searched, query_QD, 0, 5_000, Selection(mask_N), 10)
    assert searched.asked[0] == "whole"
    assert searched.asked[-1] == "rows of 1"
    assert len(searched.asked) == 3
    expected = [row for row in order_N.tolist() if mask_N[row]][:10]
    assert row_QK[0].tolist() == expected
    assert (row_QK[1] != NO_ROW).all()


def test_few_rows_are_gathered_and_many_are_not() -> None:
    for share, queries, expected in ((0.05, 1, "rows of 1"), (0.3, 1, "whole"), (0.3, 64, "rows of 64")):
        searched = Counted(vectors(2_000))
        mask_N = np.arange(2_000) % 100 < 100 * share
        nearest(searched, vectors(queries, seed=1), 0, 2_000, Selection(mask_N), 5)
        assert searched.asked[0] == expected


def test_a_selection_counts_what_is_left() -> None:
    selected = Selection(np.array([True, True, False, True]))
    assert selected.rows_in(0, 4).tolist() == [0, 1, 3]
    selected.remove(np.array([1, 2]))
    assert (selected.count, selected.count_in(0, 4), selected.count_in(1, 4)) == (2, 2, 1)
    assert selected.rows_in(0, 4).tolist() == [0, 3]
    assert selected.rows_in(1, 4).tolist() == [3]
    assert selected.rows_in(0, 4) is selected.rows_in(0, 4)  # kept: it is half of them
    selected.remove(np.array([3]))
    assert selected.rows_in(0, 4).tolist() == [0]


def test_masks_of_filters_are_kept_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Filter] = []
    mask = selection.mask
    monkeypatch.setattr(selection, "mask", lambda filter, rows: made.append(filter) or mask(filter, rows))
    monkeypatch.setattr(selection, "KEPT_BYTES", 25)
    rows = pa.table({"price": list(range(10))})
    kept = Selections(rows)
    first, second, third = (Filter(must=(Condition(field="price", gte=price),)) for price in (1, 2, 3))
    kept.remove(np.array([9]))
    for filter in (first, second, first, third, first, second):
        assert kept.of(filter).count == 9 - filter.must[0].gte  # type: ignore[operator]
    assert made == [first, second, third, second]
    kept.remove(np.array([8, 1]))
    assert (kept.of(first).count, kept.of(second).count, kept.alive.count) == (6, 6, 7)
    assert kept.of(Filter()) is kept.alive
    assert made == [first, second, third, second]
