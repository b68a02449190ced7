"""The triplet hinge over a batch: every other product in it is a negative, in its class and out of it.

The workers' candidates are gathered first, so that an anchor's negatives come from the whole batch, however many
workers share it; sums and counts are taken over all workers too. So the mean of the workers' losses (and, after
DDP's averaging, the gradient) is just what one process would get from the same batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from visnet.train.gather import gather, gather_with_gradient, sum_over_workers, world

# B anchors of this worker, N candidates of all workers, D embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class TripletHinge:
    """max(0, margin + |a - p|^2 - |a - n|^2), the mean over the triplets of the batch that are active.

    Source: arXiv:1703.02344, section 3; in-class and out-of-class negatives as there, in a set ratio.
    """

    margin: float = 0.2
    """Squared Euclidean distance, on unit vectors (0..4), that a negative must be farther away than the positive."""
    in_class_share: float = 0.5
    """Weight of the negatives of the anchor's own category, 0..1; the rest is for the other categories."""

    def __post_init__(self) -> None:
        if self.margin <= 0:
            raise ValueError(f"expected margin > 0, got {self.margin}")
        if not 0 <= self.in_class_share <= 1:
            raise ValueError(f"expected in_class_share in 0..1, got {self.in_class_share}")

    def __call__(
        self, anchor_BD: Tensor, positive_BD: Tensor, product_B: Tensor, category_B: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of this worker's anchors against the candidates of all workers.

        Args:
            anchor_BD: unit vectors.
            positive_BD: unit vectors; row i is anchor i's positive and a candidate negative of every other product.
            product_B: int64 product numbers; rows of one product are never each other's negatives.
            category_B: int64 category numbers.

        Returns:
            The loss: a scalar, 0 where no triplet is active; and figures for the log: `active_share` of all triplets,
            `positive_distance` and `negative_distance` (mean squared distances of this worker's anchors).
        """
        candidate_ND = gather_with_gradient(positive_BD)
        rank, _ = world()
        positive_B = torch.arange(len(anchor_BD), device=anchor_BD.device) + rank * len(anchor_BD)
        distance_BN = 2 - 2 * anchor_BD @ candidate_ND.T
        positive_distance_B1 = distance_BN.gather(1, positive_B[:, None])
        hinge_BN = (self.margin + positive_distance_B1 - distance_BN).clamp(min=0)
        negative_BN = product_B[:, None] != gather(product_B)[None]
        same_class_BN = category_B[:, None] == gather(category_B)[None]
        loss = self.in_class_share * _active_mean(hinge_BN, negative_BN & same_class_BN)
        loss = loss + (1 - self.in_class_share) * _active_mean(hinge_BN, negative_BN & ~same_class_BN)
        with torch.no_grad():
            triplets = negative_BN.sum().clamp(min=1)
            figures = {
                "active_share": float(((hinge_BN > 0) & negative_BN).sum() / triplets),
                "positive_distance": float(positive_distance_B1.mean()),
                "negative_distance": float((distance_BN * negative_BN).sum() / triplets),
            }
        return loss, figures


def _active_mean(hinge_BN: Tensor, chosen_BN: Tensor) -> Tensor:
    """The sum over this worker's active triplets, divided by a worker's share of all workers' active triplets."""
    active_BN = (hinge_BN > 0) & chosen_BN
    _, workers = world()
    share = sum_over_workers(active_BN.sum().float()) / workers
    return (hinge_BN * active_BN).sum() / share.clamp(min=1 / workers)
