"""A predicted category narrows a search softly: its products come forward, and nobody is left out.

A product is ranked by its score plus `weight` times the share that the detector gives its category. A confident and
right category lifts the product over look-alikes of other kinds; a wrong one can be overruled by a score that is higher
by the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

LEAST_SHARE = 0.1
MOST_CATEGORIES = 3


class Scored(Protocol):
    """Something found."""

    @property
    def score(self) -> float:
        """Higher is more similar."""

    @property
    def product_id(self) -> str: ...


S = TypeVar("S", bound=Scored)


def likely(categories: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The categories of a found item that are worth a search of their own, with their shares, best first."""
    return [(name, share) for name, share in categories if share >= LEAST_SHARE][:MOST_CATEGORIES]


def narrowed(everywhere: Sequence[S], within: Sequence[tuple[float, Sequence[S]]], *, weight: float, k: int) -> list[S]:
    """The `k` best by score and category.

    Exact, if each list holds the `k` best of where it was searched: whoever is among the `k` best here is among the
    best of its category, or, without a share, among the best everywhere; and a product of `everywhere` that has a share
    is in its category's list too.

    Args:
        everywhere: found in the whole index, best first.
        within: for each likely category, its share and what was found in it, best first.
        weight: score that a share of 1 is worth.
    """
    best: dict[str, tuple[float, S]] = {one.product_id: (one.score, one) for one in everywhere}
    for share, found in within:
        for one in found:
            ranked = one.score + weight * share
            if one.product_id not in best or ranked > best[one.product_id][0]:
                best[one.product_id] = ranked, one
    return [one for _, one in sorted(best.values(), key=lambda item: -item[0])[:k]]
