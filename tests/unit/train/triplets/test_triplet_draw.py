"""The drawing of one anchor's triplets: from the right candidates, in the right ratio, no two the same."""

import numpy as np
import pytest

from visnet.platform.merge import NO_ROW
from visnet.train.triplets.draw import (
    Candidates,
    Drawn,
    Ranked,
    Rules,
    candidates_of,
    draw,
    random_of,
    street_candidates,
)
from visnet.train.triplets.ranges import Ranges

RANGES = Ranges(3, 6, 9)
ROWS = [np.arange(100, 110), np.array([108, 107, 106, 105, 104, 103, 102, 101, 100, NO_ROW])]
NONE = np.empty(0, np.int64)
CATEGORY = 4


def outsider(random: np.random.Generator) -> tuple[int, int]:
    return 7, int(random.integers(10_000))


def drawn_of(
    candidates: Candidates,
    *,
    anchors: int = 1,
    per_anchor: int = 10,
    own: float = 0.5,
    inside: float = 0.3,
    others: bool = True,
) -> list[Drawn]:
    rules = Rules(per_anchor=per_anchor, in_class_share=inside, same_product_share=own)
    chosen = outsider if others else (lambda _: None)
    return [
        one
        for number in range(anchors)
        for one in draw(candidates, rules, random_of(0, "catalog", str(number)), category=CATEGORY, outsider=chosen)
    ]


def test_what_any_scorer_finds_near_is_nobodys_negative() -> None:
    found = candidates_of(NONE, ROWS, RANGES)
    assert [near.row_K.tolist() for near in found.near] == [[100, 101, 102], [108, 107, 106]]
    # ranks 6 to 9 are rows 105 to 108 and 103 to 100; 106 to 108 are near to the other scorer, and 102 to 100
    assert [far.row_K.tolist() for far in found.far] == [[105], [103]]
    assert [far.rank_K.tolist() for far in found.far] == [[6], [6]]


def test_ranks_are_the_places_in_the_scorers_list() -> None:
    for one in drawn_of(candidates_of(NONE, ROWS, RANGES), anchors=100):
        assert ROWS[one.scorer][one.positive_rank - 1] == one.positive
        if one.negative_rank is not None:
            assert one.negative == (CATEGORY, ROWS[one.scorer][one.negative_rank - 1])


def test_thirty_in_a_hundred_are_in_class_and_the_scorers_take_turns() -> None:
    wide = [np.arange(1_000), np.arange(1_000, 2_000), np.arange(2_000, 3_000)]
    drawn = drawn_of(candidates_of(NONE, wide, Ranges(200, 500, 1000)), anchors=1_000)
    assert len(drawn) == 10_000
    assert np.mean([one.negative_rank is not None for one in drawn]) == pytest.approx(0.3, abs=0.02)
    assert np.bincount([one.scorer for one in drawn]) / 10_000 == pytest.approx([1 / 3] * 3, abs=0.02)
    assert all(one.in_class_wanted == (one.negative_rank is not None) for one in drawn)
    ranks = [one.positive_rank for one in drawn]
    assert (min(ranks), max(ranks)) == (1, 200)
    assert np.mean(ranks) == pytest.approx(100.5, abs=3)


def test_the_ratio_holds_where_there_are_few_in_class_negatives() -> None:
    few = [np.arange(10), np.arange(10, 20), np.arange(20, 30)]
    drawn = drawn_of(candidates_of(NONE, few, Ranges(1, 3, 5)), anchors=1_000)
    assert np.mean([one.negative_rank is not None for one in drawn]) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_own_pictures_are_positives_of_rank_zero_in_the_share_that_is_asked_for(share: float) -> None:
    found = candidates_of(np.array([55, 56]), [np.arange(1_000)], Ranges(200, 500, 1000))
    drawn = drawn_of(found, anchors=500, own=share)
    assert np.mean([one.positive_rank == 0 for one in drawn]) == pytest.approx(share, abs=0.03)
    assert {one.positive for one in drawn if one.positive_rank == 0} <= {55, 56}


def test_without_near_ones_only_own_pictures_are_positives() -> None:
    alone = candidates_of(np.array([55]), [NONE], RANGES)
    assert {one.positive_rank for one in drawn_of(alone)} == {0}
    assert drawn_of(alone, own=0.0) == []
    assert drawn_of(candidates_of(NONE, [NONE], RANGES)) == []


def test_a_missing_kind_is_made_up_for_by_the_other_and_marked() -> None:
    too_small = candidates_of(NONE, [ROWS[0][:4]], RANGES)
    drawn = drawn_of(too_small, anchors=100)
    assert all(one.negative_rank is None for one in drawn)
    assert any(one.in_class_wanted for one in drawn)
    one_category = drawn_of(candidates_of(NONE, [ROWS[0]], RANGES), anchors=100, others=False)
    assert one_category
    assert all(one.negative_rank is not None for one in one_category)
    assert drawn_of(too_small, others=False) == []


def test_no_triplet_comes_twice_and_more_than_there_are_gives_what_there_is() -> None:
    ranked = Ranked(np.array([1, 2]), np.array([1, 2]))
    candidates = Candidates(NONE, [ranked], [Ranked(np.array([8, 9]), np.array([5, 6]))])
    drawn = drawn_of(candidates, per_anchor=50, inside=1.0, others=False)
    assert sorted((one.positive, one.negative[1]) for one in drawn) == [(1, 8), (1, 9), (2, 8), (2, 9)]


def test_street_negatives_begin_at_rank_one() -> None:
    found = street_candidates(42, ROWS[1], RANGES)
    assert found.own_N.tolist() == [42]
    assert found.far[0].row_K.tolist() == ROWS[1][:9].tolist()
    assert found.far[0].rank_K.tolist() == list(range(1, 10))
    drawn = drawn_of(found, own=1.0, inside=1.0)
    assert {one.positive for one in drawn} == {42}
    assert {one.positive_rank for one in drawn} == {0}


def test_the_same_anchor_draws_the_same_and_another_seed_another() -> None:
    found = candidates_of(NONE, [np.arange(1_000)], Ranges(200, 500, 1000))
    rules = Rules(per_anchor=10, in_class_share=0.3, same_product_share=0.5)

    def draws(seed: int, stage: str, image: str) -> list[Drawn]:
        return draw(found, rules, random_of(seed, stage, image), category=CATEGORY, outsider=outsider)

    assert draws(0, "catalog", "a") == draws(0, "catalog", "a")
    different = [draws(0, "catalog", "a"), draws(1, "catalog", "a"), draws(0, "street", "a"), draws(0, "catalog", "b")]
    assert all(one != other for place, one in enumerate(different) for other in different[:place])
