"""The triplets of one block of anchors: rank them by every scorer, draw, and name the pictures that were drawn.

Holds the ids of one category, the nearest of the block's pictures by every scorer, and two blocks of vectors.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visnet.platform.partition import product_hash
from visnet.platform.settings import TripletSettings
from visnet.platform.triplets import CATALOG, IN_CLASS, OUT_OF_CLASS, STREET
from visnet.train.triplets.blocks import BLOCK_ROWS, Similarities
from visnet.train.triplets.draw import Candidates, Drawn, Rules, candidates_of, draw, random_of, street_candidates
from visnet.train.triplets.ranges import ranges_for
from visnet.train.triplets.ranks import Groups, rank_others
from visnet.train.triplets.scorers import DEEP

# Q anchors of the block, S scorers, K ranks

OUTSIDER_TRIES = 8
RULES = ("per_anchor", "in_class_share", "same_product_share")

NO_POSITIVE = "anchors: no other product in their category and no other picture of their own"
NO_NEGATIVE = "anchors: no picture that could be a negative"
FEWER = "triplets: fewer different ones than asked for"
FELL_BACK = "triplets: out-of-class for want of an in-class negative"
ONE_PICTURE = "categories: a single picture, so no positive by a scorer"
TOO_SMALL = "categories: too small for in-class negatives"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the blocks of a table have in common."""

    similarities: Similarities
    scorers: tuple[str, ...]
    settings: TripletSettings
    device: str = "cpu"


class BlockDrawing:
    """Draws the triplets whose anchors, or whose photos' positives, are the pictures of one block.

    Args:
        category: its number.
        block: its number in the category.
    """

    def __init__(self, context: Context, category: int, block: int) -> None:
        self._context, self._category = context, category
        self._places = context.similarities.places(category)
        self._groups = Groups.of(self._places["product_id"].to_pylist(), self._places["content_hash"].to_pylist())
        self._ranges = ranges_for(len(self._places), context.settings)
        self._row_Q = np.arange(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, len(self._places)))
        self._ranked_SQK = [self._rank(block, scorer) for scorer in context.scorers]
        rules = Rules(**{name: getattr(context.settings, name) for name in RULES})
        self._rules = {CATALOG: rules, STREET: dataclasses.replace(rules, same_product_share=1.0)}
        self.rows: list[dict[str, Any]] = []
        """The triplets, with the columns of the table."""
        self.photos = 0
        """Street photos that have a positive in this block."""
        self.skipped: collections.Counter[str] = collections.Counter()
        if block == 0:
            self.skipped[ONE_PICTURE] += len(self._places) == 1
            self.skipped[TOO_SMALL] += len(self._places) - 1 < self._ranges.negative_first

    def _rank(self, block: int, scorer: str) -> np.ndarray:
        similarities, depth = self._context.similarities, self._ranges.negative_last
        every = range(similarities.blocks(self._category))
        blocks = [similarities.vectors(self._category, number, scorer) for number in every]
        ranked = rank_others(self._row_Q, blocks[block], blocks, self._groups, depth, device=self._context.device)
        return np.concatenate(list(ranked))

    def draw_pictures(self) -> None:
        """The triplets of the block's own pictures."""
        anchors = self._places.slice(int(self._row_Q[0]), len(self._row_Q)).to_pylist()
        for number, anchor in enumerate(anchors):
            own_N = self._groups.own(int(self._row_Q[number]))
            found = candidates_of(own_N, [row_QK[number] for row_QK in self._ranked_SQK], self._ranges)
            self._draw(CATALOG, {**anchor, "is_photo": False, "box": None}, found, self._context.scorers)

    def draw_photos(self, photos: Sequence[dict[str, Any]]) -> None:
        """The triplets of those photos of the category whose positive is in this block.

        A photo's positive is one of its product's pictures, chosen by its id. Its negatives are ranked by the scorer
        deep, or by the first one without it.
        """
        rows_of = _rows_by_name(self._places["product_id"].to_pylist(), {photo["product_id"] for photo in photos})
        scorers = self._context.scorers
        ranked_QK = self._ranked_SQK[scorers.index(DEEP) if DEEP in scorers else 0]
        for photo in photos:
            rows = rows_of.get(photo["product_id"], [])
            if not rows:
                continue
            positive = rows[product_hash(f"{self._context.settings.seed}/{photo['image_id']}") % len(rows)]
            number = positive - int(self._row_Q[0])
            if 0 <= number < len(self._row_Q):
                self.photos += 1
                found = street_candidates(positive, ranked_QK[number], self._ranges)
                self._draw(STREET, {**photo, "is_photo": True}, found, (STREET,))

    def _draw(self, stage: str, anchor: dict[str, Any], found: Candidates, scorers: Sequence[str]) -> None:
        """Adds the rows of one anchor, or counts why it has none."""
        rules = self._rules[stage]
        if not any(len(near.row_K) for near in found.near) and not (len(found.own_N) and rules.same_product_share):
            self.skipped[NO_POSITIVE] += 1
            return
        forbidden = (anchor["product_id"], anchor["content_hash"])
        drawn = draw(
            found,
            rules,
            random_of(self._context.settings.seed, stage, anchor["image_id"]),
            category=self._category,
            outsider=lambda random: self._outsider(random, forbidden),
        )
        if not drawn:
            self.skipped[NO_NEGATIVE] += 1
            return
        self.skipped[FEWER] += rules.per_anchor - len(drawn)
        for one in drawn:
            self.skipped[FELL_BACK] += one.in_class_wanted and one.negative_rank is None
            self.rows.append(self._row(stage, scorers[one.scorer], anchor, one))

    def _outsider(self, random: np.random.Generator, forbidden: tuple[str, str]) -> tuple[int, int] | None:
        """A picture of another category that shows another product in other bytes, as (category, row)."""
        similarities = self._context.similarities
        outsiders = similarities.outsiders(self._category)
        for _ in range(OUTSIDER_TRIES if outsiders else 0):
            category, row = similarities.outsider(self._category, int(random.integers(outsiders)))
            place = similarities.place(category, row)
            if place["product_id"] != forbidden[0] and place["content_hash"] != forbidden[1]:
                return category, row
        return None

    def _row(self, stage: str, scorer: str, anchor: dict[str, Any], drawn: Drawn) -> dict[str, Any]:
        similarities = self._context.similarities
        negative = similarities.place(*drawn.negative)
        return {
            "scorer": scorer,
            "stage": stage,
            "category": anchor["category"],
            **_named("anchor", anchor),
            "anchor_is_photo": anchor["is_photo"],
            "anchor_box": anchor["box"],
            **_named("positive", similarities.place(self._category, drawn.positive)),
            "positive_rank": drawn.positive_rank,
            **_named("negative", negative),
            "negative_category": negative["category"],
            "negative_kind": OUT_OF_CLASS if drawn.negative_rank is None else IN_CLASS,
            "negative_rank": drawn.negative_rank,
        }


def _named(side: str, place: dict[str, Any]) -> dict[str, Any]:
    """The columns that say which picture one side of a triplet is."""
    return {f"{side}_{name}": place[name] for name in ("image_id", "product_id", "part", "row")}


def _rows_by_name(names: Sequence[str], wanted: set[str]) -> dict[str, list[int]]:
    """The rows, rising, of each wanted name."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name in wanted:
            rows.setdefault(name, []).append(row)
    return rows
