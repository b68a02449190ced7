"""The losses: each anchor's positive against negatives that all workers of the step bring together.

The workers' candidates are gathered first, so that an anchor's negatives come from the whole batch, however many
workers share it; sums and counts are taken over all workers too. So the mean of the workers' losses (and, after
DDP's averaging, the gradient) is just what one process would get from the same batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from visnet.train.batch import Embedded
from visnet.train.gather import gather, gather_with_gradient, sum_over_workers, world

# B anchors of this worker, M negatives brought along by it, N candidates of all workers, D embedding

Negatives = Literal["batch", "hardest", "own"]
"""Whom an anchor is compared with: every other product of the whole batch, the nearest of them in its class and out of
it, or only the negative brought along at its own place."""


class Loss(Protocol):
    """What the loop calls."""

    def __call__(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of this worker's anchors: a scalar, 0 where there is nothing to compare with; and figures.

        The figures are scalars without gradient: `wrong_share` of the negatives that are nearer than the positive;
        `positive_distance` and `negative_distance`, mean squared distances; `spread`, the latter relative to what
        unrelated vectors of these lengths have, about 1, and 0 where all embeddings are the same.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TripletHinge:
    """max(0, margin + |a - p|^2 - |a - n|^2), the mean over the triplets of the batch that are active.

    Source: arXiv:1703.02344, section 3; in-class and out-of-class negatives as there, in a set ratio. The paper's
    margin is 0.0009 with its soft normalisation (`networks/visnet_vgg16.py`); 0.2 suits unit vectors.
    """

    margin: float = 0.2
    """Squared Euclidean distance that a negative must be farther away than the positive; 0..4 for unit vectors."""
    in_class_share: float = 0.5
    """Weight of the negatives of the anchor's own category, 0..1; the rest is for the other categories."""
    negatives: Negatives = "batch"

    def __post_init__(self) -> None:
        if self.margin <= 0:
            raise ValueError(f"expected margin > 0, got {self.margin}")
        if not 0 <= self.in_class_share <= 1:
            raise ValueError(f"expected in_class_share in 0..1, got {self.in_class_share}")
        _check(self.negatives)

    def __call__(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Loss`; one figure more: `active_share`, of the triplets whose hinge is not 0."""
        pairs = _pairs(embedded, self.negatives)
        hinge_BN = (self.margin + pairs.positive_B1 - pairs.distance_BN).clamp(min=0)
        in_class_BN, out_of_class_BN = pairs.negative_BN & pairs.same_class_BN, pairs.negative_BN & ~pairs.same_class_BN
        if self.negatives == "hardest":
            in_class_BN = _nearest(pairs.distance_BN, in_class_BN)
            out_of_class_BN = _nearest(pairs.distance_BN, out_of_class_BN)
        loss = self.in_class_share * _active_mean(hinge_BN, in_class_BN)
        loss = loss + (1 - self.in_class_share) * _active_mean(hinge_BN, out_of_class_BN)
        active = ((hinge_BN > 0) & pairs.negative_BN).sum() / pairs.negative_BN.sum().clamp(min=1)
        return loss, {**pairs.figures(), "active_share": active}


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoNCE:
    """-log of the positive's softmax share among positive and negatives, the mean over the anchors.

    Other pictures of the anchor's own product are neither positive nor negative here. The score is the cosine over
    the temperature. Source: van den Oord et al. 2018, arXiv:1807.03748, equation 4; with cosine and temperature as
    in SimCLR, arXiv:2002.05709, equation 1.
    """

    temperature: float = 0.1
    """Small: only the nearest negatives count; large: all do."""
    negatives: Negatives = "batch"

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"expected temperature > 0, got {self.temperature}")
        _check(self.negatives)

    def __call__(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        pairs = _pairs(embedded, self.negatives)
        chosen_BN = pairs.negative_BN
        if self.negatives == "hardest":
            chosen_BN = _nearest(pairs.distance_BN, chosen_BN & pairs.same_class_BN) | _nearest(
                pairs.distance_BN, chosen_BN & ~pairs.same_class_BN
            )
        chosen_BN = chosen_BN.scatter(1, pairs.index_B1, True)
        score_BN = (pairs.cosine_BN / self.temperature).masked_fill(~chosen_BN, float("-inf"))
        return F.cross_entropy(score_BN, pairs.index_B1[:, 0]), pairs.figures()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Every anchor of this worker against every candidate of all workers."""

    distance_BN: Tensor
    """Squared Euclidean."""
    cosine_BN: Tensor
    index_B1: Tensor
    """The column of each anchor's positive."""
    negative_BN: Tensor
    """Whether the candidate is a negative of the anchor."""
    same_class_BN: Tensor
    unrelated: Tensor
    """The mean squared distance that vectors of these lengths have at right angles."""

    @property
    def positive_B1(self) -> Tensor:
        return self.distance_BN.gather(1, self.index_B1)

    @torch.no_grad()
    def figures(self) -> dict[str, Tensor]:
        count = self.negative_BN.sum().clamp(min=1)
        negative_distance = (self.distance_BN * self.negative_BN).sum() / count
        return {
            "wrong_share": ((self.distance_BN < self.positive_B1) & self.negative_BN).sum() / count,
            "positive_distance": self.positive_B1.mean(),
            "negative_distance": negative_distance,
            "spread": negative_distance / self.unrelated.clamp(min=1e-12),
        }


def _pairs(embedded: Embedded, negatives: Negatives) -> _Pairs:
    """Candidates in the order: all workers' positives by rank, then all workers' brought-along negatives."""
    anchor_BD, rows, brought = embedded.anchor_BD, len(embedded.anchor_BD), len(embedded.negative_MD)
    if negatives == "own" and brought != rows:
        raise ValueError(f'negatives="own" needs one negative for each of {rows} anchors, got {brought}')
    candidate_ND = torch.cat([gather_with_gradient(embedded.positive_BD), gather_with_gradient(embedded.negative_MD)])
    product_N = torch.cat([gather(embedded.product_B), gather(embedded.negative_product_M)])
    category_N = torch.cat([gather(embedded.category_B), gather(embedded.negative_category_M)])
    rank, workers = world()
    place_B = torch.arange(rows, device=anchor_BD.device)
    anchor_square_B1, candidate_square_N = anchor_BD.square().sum(1, keepdim=True), candidate_ND.square().sum(1)
    product_BN = anchor_BD @ candidate_ND.T
    lengths_BN = (anchor_square_B1.clamp(min=1e-12) * candidate_square_N.clamp(min=1e-12)).sqrt()
    negative_BN = embedded.product_B[:, None] != product_N[None]
    if negatives == "own":
        own_B1 = (rows * workers + rank * brought + place_B)[:, None]
        negative_BN = negative_BN & torch.zeros_like(negative_BN).scatter(1, own_B1, True)
    return _Pairs(
        distance_BN=anchor_square_B1 + candidate_square_N - 2 * product_BN,
        cosine_BN=product_BN / lengths_BN,
        index_B1=(rank * rows + place_B)[:, None],
        negative_BN=negative_BN,
        same_class_BN=embedded.category_B[:, None] == category_N[None],
        unrelated=(anchor_square_B1.mean() + candidate_square_N.mean()).detach(),
    )


def _nearest(distance_BN: Tensor, chosen_BN: Tensor) -> Tensor:
    """Of each row's chosen candidates the nearest alone."""
    nearest_B1 = distance_BN.masked_fill(~chosen_BN, float("inf")).argmin(dim=1, keepdim=True)
    return chosen_BN & torch.zeros_like(chosen_BN).scatter(1, nearest_B1, True)


def _active_mean(hinge_BN: Tensor, chosen_BN: Tensor) -> Tensor:
    """The sum over this worker's active triplets, divided by a worker's share of all workers' active triplets."""
    active_BN = (hinge_BN > 0) & chosen_BN
    _, workers = world()
    share = sum_over_workers(active_BN.sum().float()) / workers
    return (hinge_BN * active_BN).sum() / share.clamp(min=1 / workers)


def _check(negatives: str) -> None:
    if negatives not in get_args(Negatives):
        raise ValueError(f"expected negatives to be one of {', '.join(get_args(Negatives))}, got {negatives!r}")
