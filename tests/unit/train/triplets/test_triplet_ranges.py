"""The ranges of ranks: the paper's in a large category, their proportion in a smaller one, never overlapping."""

import pytest

from visnet.platform.settings import TripletSettings
from visnet.train.triplets.ranges import Ranges, check_ranges, ranges_for

PAPER = TripletSettings()


@pytest.mark.parametrize("pictures", [10_000, 10_001, 5_000_000])
def test_a_large_category_has_the_papers_ranges(pictures: int) -> None:
    assert ranges_for(pictures, PAPER) == Ranges(200, 500, 1000)


def test_a_smaller_one_has_the_same_shares() -> None:
    assert ranges_for(5_000, PAPER) == Ranges(100, 250, 500)
    assert ranges_for(100, PAPER) == Ranges(2, 5, 10)


def test_the_smallest_keep_one_positive_and_the_distance_to_the_negatives() -> None:
    assert {ranges_for(pictures, PAPER) for pictures in range(1, 51)} == {Ranges(1, 3, 5)}


@pytest.mark.parametrize(
    "settings",
    [
        PAPER,
        TripletSettings(positive_ranks=5, in_class_ranks=(6, 6), reference_size=30),
        TripletSettings(positive_ranks=1, in_class_ranks=(2, 900), reference_size=1),
        TripletSettings(positive_ranks=999, in_class_ranks=(1000, 1000), reference_size=1_000_000),
    ],
)
def test_ranges_never_overlap_and_never_shrink_with_size(settings: TripletSettings) -> None:
    before = Ranges(1, 2, 2)
    for pictures in [*range(1, 3_000), 10**5, 10**6, 10**7]:
        found = ranges_for(pictures, settings)
        assert 1 <= found.positive_last < found.negative_first <= found.negative_last
        assert found.positive_last >= before.positive_last
        assert found.negative_last >= before.negative_last
        before = found
    whole = Ranges(settings.positive_ranks, *settings.in_class_ranks)
    assert ranges_for(10**7, settings) == whole


@pytest.mark.parametrize("ranks", [(200, 1000), (100, 1000), (600, 599)])
def test_overlapping_settings_are_refused(ranks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="positive_ranks=200"):
        check_ranges(TripletSettings(in_class_ranks=ranks))
    check_ranges(PAPER)
