"""Triplets drawn for an evaluation: query, a picture of its product, a picture of another product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visnet.train.evaluation.gallery import Gallery
from visnet.train.evaluation.query_sets import QuerySet

# Q queries, N gallery pictures, T triplets

NEGATIVES = 20
"""Drawn for each query; those that happen to show its product are dropped."""


@dataclass(frozen=True)
class TripletSample:
    """The same triplets for every encoder."""

    query_T: np.ndarray
    positive_T: np.ndarray
    """Gallery rows that show the query's product, never the query itself."""
    negative_T: np.ndarray
    """Gallery rows that show another product."""

    @classmethod
    def draw(cls, gallery: Gallery, queries: QuerySet, *, seed: int, in_class: bool) -> TripletSample:
        """`NEGATIVES` negatives for every query that has a positive.

        Args:
            in_class: negatives from the query's category; else from all other categories.
        """
        random = np.random.default_rng(seed)
        rows_of = _rows_of(gallery.products)
        class_of = {name: (rows[0], rows[-1] + 1) for name, rows in _rows_of(gallery.categories).items()}
        triplets = [(np.empty(0, np.int64),) * 3]
        for query, (product, category) in enumerate(zip(queries.products, queries.categories, strict=True)):
            positives = rows_of.get(product, np.empty(0, np.int64))
            if queries.leave_out and queries.row_Q is not None:
                positives = positives[positives != queries.row_Q[query]]
            negatives = _negatives(class_of.get(category, (0, 0)), len(gallery.rows), random, in_class=in_class)
            if len(positives):
                negatives = negatives[gallery.products[negatives] != product]
                positive = np.full(len(negatives), random.choice(positives))
                triplets.append((np.full(len(negatives), query), positive, negatives))
        return cls(*(np.concatenate(arrays) for arrays in zip(*triplets, strict=True)))


def _negatives(span: tuple[int, int], rows: int, random: np.random.Generator, *, in_class: bool) -> np.ndarray:
    """Rows inside the slice that a category is, or outside of it; with replacement."""
    start, stop = span
    count = stop - start if in_class else rows - (stop - start)
    if not count:
        return np.empty(0, np.int64)
    drawn = random.integers(count, size=NEGATIVES)
    return drawn + start if in_class else np.where(drawn < start, drawn, drawn + stop - start)


def _rows_of(names: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of each name, rising."""
    order = np.argsort(names, kind="stable")
    distinct, first = np.unique(names[order], return_index=True)
    return dict(zip(distinct, np.split(order, first[1:]), strict=True))
