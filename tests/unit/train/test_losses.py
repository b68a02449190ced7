"""The triplet hinge against the obvious triple loop."""

import itertools

import pytest
import torch
from torch import Tensor

from visnet.train.losses import TripletHinge


def slow_twin(loss: TripletHinge, anchor: Tensor, positive: Tensor, product: Tensor, category: Tensor) -> float:
    """Every triplet one by one."""
    hinges: dict[bool, list[float]] = {True: [], False: []}
    for a, n in itertools.product(range(len(anchor)), range(len(positive))):
        if product[a] == product[n]:
            continue
        near = float(((anchor[a] - positive[a]) ** 2).sum())
        far = float(((anchor[a] - positive[n]) ** 2).sum())
        hinge = loss.margin + near - far
        if hinge > 0:
            hinges[bool(category[a] == category[n])].append(hinge)
    means = {kind: sum(values) / len(values) if values else 0.0 for kind, values in hinges.items()}
    return loss.in_class_share * means[True] + (1 - loss.in_class_share) * means[False]


def unit_vectors(rows: int, *, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("margin", [0.0009, 0.2, 2.0])
def test_equals_the_triple_loop(share: float, margin: float) -> None:
    loss = TripletHinge(margin=margin, in_class_share=share)
    anchor, positive = unit_vectors(12, seed=1), unit_vectors(12, seed=2)
    product = torch.arange(12) // 2  # two pictures of each product: never each other's negatives
    category = torch.arange(12) % 3

    value, figures = loss(anchor, positive, product, category)

    assert float(value) == pytest.approx(slow_twin(loss, anchor, positive, product, category), rel=1e-4, abs=1e-6)
    assert 0 <= figures["active_share"] <= 1


def test_no_negatives_is_no_loss_and_no_nan() -> None:
    same = torch.zeros(4, dtype=torch.long)
    value, figures = TripletHinge()(unit_vectors(4, seed=1), unit_vectors(4, seed=2), same, same)
    assert float(value) == 0.0
    assert figures["active_share"] == 0.0


def test_pulls_the_positive_and_pushes_the_negative() -> None:
    anchor = unit_vectors(2, seed=1).requires_grad_()
    positive = unit_vectors(2, seed=2)
    value, _ = TripletHinge(margin=4.0)(anchor, positive, torch.arange(2), torch.zeros(2, dtype=torch.long))
    value.backward()
    stepped = (anchor - 0.1 * anchor.grad).detach()

    def gap(vectors: Tensor) -> Tensor:
        distance = ((vectors[:, None] - positive[None]) ** 2).sum(2)
        return distance.diagonal() - distance.flip(1).diagonal()

    assert (gap(stepped) < gap(anchor.detach())).all()


@pytest.mark.parametrize(("margin", "share"), [(0.0, 0.5), (-1.0, 0.5), (0.2, 1.5), (0.2, -0.1)])
def test_refuses_settings_out_of_range(margin: float, share: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        TripletHinge(margin=margin, in_class_share=share)
