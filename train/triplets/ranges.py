"""From which ranks positives and in-class negatives are drawn: the paper's ranges, scaled to a category's size.

The paper draws positives from the nearest 200 and in-class negatives from ranks 500 to 1000, in categories of a large
shop. In a category of 300 pictures rank 200 is nothing alike and rank 500 does not exist, so below a reference size
the ranges shrink in proportion: of 10,000 pictures rank 200 is the nearest 2%, ranks 500 to 1000 are the nearest 5 to
10%. They shrink until one positive is left and keep that proportion from there: with the defaults (1, 3, 5) for
categories of up to 50 pictures. A larger category has the paper's ranks as they are.

Source: Shankar et al. (arXiv:1703.02344), section 4.1; the reference size is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from visnet.platform.settings import TripletSettings


@dataclass(frozen=True)
class Ranges:
    """Ranks, counted from 1, the last ones included; `positive_last` < `negative_first` <= `negative_last`."""

    positive_last: int
    negative_first: int
    negative_last: int


def check_ranges(settings: TripletSettings) -> None:
    """Raises ValueError where positives and in-class negatives would overlap."""
    first, last = settings.in_class_ranks
    if not settings.positive_ranks < first <= last:
        raise ValueError(
            "expected positive_ranks < first of in_class_ranks <= last, got "
            f"positive_ranks={settings.positive_ranks}, in_class_ranks={[first, last]}"
        )


def ranges_for(pictures: int, settings: TripletSettings) -> Ranges:
    """The ranges in a category of so many pictures; it may have fewer ranks than they name."""
    reference = settings.reference_size
    # the share as a fraction, part / whole, so that nothing hangs on how a float is rounded
    part, whole = min(pictures, reference), reference
    if part * settings.positive_ranks < whole:
        part, whole = 1, settings.positive_ranks
    positive_last = settings.positive_ranks * part // whole
    negative_first = -(-settings.in_class_ranks[0] * part // whole)  # rounded up, so beyond the last positive
    negative_last = max(negative_first, settings.in_class_ranks[1] * part // whole)
    return Ranges(positive_last, negative_first, negative_last)
