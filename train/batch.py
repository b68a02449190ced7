"""What a training step works on: pixels on their way in, embeddings on their way to the loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# B anchors of this worker, M negatives brought along, C channels, H height, W width, D embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One worker's part of a step: uint8 pixels, preprocessed but for the last cut (see `augment.py`)."""

    positive_BCHW: Tensor
    """A shop picture of each anchor's product, or one that a scorer finds like it."""
    product_B: Tensor
    """int64 product numbers."""
    category_B: Tensor
    """int64 category numbers."""
    anchor_BCHW: Tensor | None = None
    """Street photos or other pictures of the products; None: a wild view of each positive is to be the anchor."""
    negative_MCHW: Tensor | None = None
    """Pictures of other products, if any: one per anchor in a triplet table, or mined."""
    negative_product_M: Tensor | None = None
    negative_category_M: Tensor | None = None

    def __len__(self) -> int:
        return len(self.product_B)

    def negatives(self) -> tuple[Tensor, Tensor, Tensor]:
        """Their pictures, products and categories; empty where none were brought along."""
        if self.negative_MCHW is None or self.negative_product_M is None or self.negative_category_M is None:
            return self.positive_BCHW[:0], self.product_B[:0], self.category_B[:0]
        return self.negative_MCHW, self.negative_product_M, self.negative_category_M


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A batch after the network: float32 embeddings and the numbers that say who may be whose negative."""

    anchor_BD: Tensor
    positive_BD: Tensor
    """Row i is anchor i's positive and a candidate negative of every other product."""
    product_B: Tensor
    category_B: Tensor
    negative_MD: Tensor
    """Candidate negatives that are nobody's positive; M may be 0, else all workers must have equally many."""
    negative_product_M: Tensor
    negative_category_M: Tensor
