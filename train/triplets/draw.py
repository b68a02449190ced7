"""Draws the triplets of one anchor from what the rankings allow: plain and seeded by the anchor's own id.

An anchor's triplets depend on its candidates and on its own random numbers, so they are the same whichever task draws
them and in whatever order.

Source: Shankar et al. (arXiv:1703.02344), section 4.1: positives from the union of the scorers' nearest, 30% in-class
and 70% out-of-class negatives. Here the scorers take turns instead, which is the union with what several of them agree
on drawn more often, and each row can name its scorer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from visnet.platform.merge import NO_ROW
from visnet.platform.partition import product_hash
from visnet.train.triplets.ranges import Ranges

# N pictures, K ranks

TRIES = 5
"""Draws for each triplet that is wanted: one that the anchor has already is drawn again, the last time of the other
kind."""

Outsider = Callable[[np.random.Generator], tuple[int, int] | None]
"""Draws a picture of another category, as (category, row in it); None if there is none that may be a negative."""


class Ranked(NamedTuple):
    """Rows of the category with their ranks, by one scorer."""

    row_K: np.ndarray
    rank_K: np.ndarray


@dataclass(frozen=True)
class Candidates:
    """What one anchor's triplets may be made of, rows of its category."""

    own_N: np.ndarray
    """Other pictures of its product: positives of rank 0."""
    near: Sequence[Ranked]
    """Positives by scorer."""
    far: Sequence[Ranked]
    """In-class negatives by scorer."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How triplets are drawn."""

    per_anchor: int
    in_class_share: float
    same_product_share: float


class Drawn(NamedTuple):
    """One triplet of an anchor."""

    scorer: int
    positive: int
    """Row in the anchor's category."""
    positive_rank: int
    negative: tuple[int, int]
    """Category, and row in it."""
    negative_rank: int | None
    """None for out-of-class."""
    in_class_wanted: bool
    """Whether the ratio asked for an in-class negative, got or not."""


def candidates_of(own_N: np.ndarray, row_SK: Sequence[np.ndarray], ranges: Ranges) -> Candidates:
    """The candidates of a shop picture.

    What any scorer finds near enough to be a positive is nobody's negative.

    Args:
        own_N: other pictures of its product.
        row_SK: by scorer, the nearest others, `NO_ROW` behind the last.
    """
    near = [_between(row_K, 1, ranges.positive_last) for row_K in row_SK]
    close_N = np.unique(np.concatenate([ranked.row_K for ranked in near]))
    far = []
    for row_K in row_SK:
        ranked = _between(row_K, ranges.negative_first, ranges.negative_last)
        kept_K = ~np.isin(ranked.row_K, close_N)
        far.append(Ranked(ranked.row_K[kept_K], ranked.rank_K[kept_K]))
    return Candidates(own_N, near, far)


def street_candidates(positive: int, row_K: np.ndarray, ranges: Ranges) -> Candidates:
    """The candidates of a street photo: one picture of its product; negatives from that picture's nearest on.

    Other products are negatives however near they are: the photo shows one product and no other.
    """
    nothing = Ranked(np.empty(0, np.int64), np.empty(0, np.int64))
    return Candidates(np.array([positive]), [nothing], [_between(row_K, 1, ranges.negative_last)])


def _between(row_K: np.ndarray, first: int, last: int) -> Ranked:
    """The rows of ranks `first` to `last`, as far as there are any."""
    kept_K = row_K[first - 1 : last]
    kept_K = kept_K[kept_K != NO_ROW]
    return Ranked(kept_K, np.arange(first, first + len(kept_K)))


def random_of(seed: int, stage: str, image_id: str) -> np.random.Generator:
    """An anchor's own random numbers."""
    return np.random.default_rng(product_hash(f"{seed}/{stage}/{image_id}"))


def draw(
    candidates: Candidates, rules: Rules, random: np.random.Generator, *, category: int, outsider: Outsider
) -> list[Drawn]:
    """Different triplets of one anchor: `rules.per_anchor`, or fewer where there are hardly more.

    Args:
        category: the anchor's, by number.
        outsider: gives its out-of-class negatives.
    """
    found: dict[tuple[int, tuple[int, int]], Drawn] = {}
    scorers = len(candidates.near)
    turn = int(random.integers(scorers))
    for number in range(rules.per_anchor):
        wanted = bool(random.random() < rules.in_class_share)
        for attempt in range(TRIES):
            in_class = wanted if attempt < TRIES - 1 else not wanted
            drawn = _one((turn + number) % scorers, candidates, rules, random, in_class, category, outsider)
            if drawn is not None and (key := (drawn.positive, drawn.negative)) not in found:
                found[key] = drawn._replace(in_class_wanted=wanted)
                break
    return list(found.values())


def _one(
    scorer: int,
    candidates: Candidates,
    rules: Rules,
    random: np.random.Generator,
    in_class: bool,
    category: int,
    outsider: Outsider,
) -> Drawn | None:
    """A triplet with a negative of the kind that is asked for, or of the other where there is none."""
    positive = _positive(candidates.own_N, candidates.near[scorer], rules.same_product_share, random)
    if positive is None:
        return None
    far = candidates.far[scorer]
    other = None if in_class and len(far.row_K) else outsider(random)
    if other is not None:
        return Drawn(scorer, *positive, other, None, in_class)
    if not len(far.row_K):
        return None
    place = random.integers(len(far.row_K))
    return Drawn(scorer, *positive, (category, int(far.row_K[place])), int(far.rank_K[place]), in_class)


def _positive(
    own_N: np.ndarray, near: Ranked, same_product_share: float, random: np.random.Generator
) -> tuple[int, int] | None:
    """The row and the rank of a positive; None if there is none."""
    own = len(own_N) > 0 and same_product_share > 0
    if own and (not len(near.row_K) or random.random() < same_product_share):
        return int(random.choice(own_N)), 0
    if not len(near.row_K):
        return None
    place = random.integers(len(near.row_K))
    return int(near.row_K[place]), int(near.rank_K[place])
