"""The losses against obvious loops over single triplets."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from visnet.train.batch import Embedded
from visnet.train.losses import InfoNCE, Negatives, TripletHinge

ROWS = 12


def vectors(rows: int, *, seed: int, unit: bool = True) -> Tensor:
    drawn = torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1) if unit else drawn


def embedded(*, brought: int = 0, unit: bool = True) -> Embedded:
    """Two pictures of each product: never each other's negatives."""
    return Embedded(
        anchor_BD=vectors(ROWS, seed=1, unit=unit),
        positive_BD=vectors(ROWS, seed=2, unit=unit),
        product_B=torch.arange(ROWS) // 2,
        category_B=torch.arange(ROWS) % 3,
        negative_MD=vectors(brought, seed=3, unit=unit),
        negative_product_M=torch.arange(brought) // 2 + 3,  # some are the anchors' own products
        negative_category_M=torch.arange(brought) % 2,
    )


def candidates(batch: Embedded) -> list[tuple[Tensor, int, int]]:
    """(vector, product, category) of every candidate negative: all positives, then what was brought along."""
    positives = zip(batch.positive_BD, batch.product_B.tolist(), batch.category_B.tolist(), strict=True)
    brought = zip(batch.negative_MD, batch.negative_product_M.tolist(), batch.negative_category_M.tolist(), strict=True)
    return [*positives, *brought]


def chosen(batch: Embedded, anchor: int, negatives: Negatives) -> list[tuple[float, bool]]:
    """(squared distance, whether in class) of each negative of an anchor."""
    found = []
    for number, (vector, product, category) in enumerate(candidates(batch)):
        if product == int(batch.product_B[anchor]) or (negatives == "own" and number != ROWS + anchor):
            continue
        distance = float(((batch.anchor_BD[anchor] - vector) ** 2).sum())
        found.append((distance, category == int(batch.category_B[anchor])))
    if negatives == "hardest":
        kinds = [[entry for entry in found if entry[1] == kind] for kind in (True, False)]
        return [min(entries) for entries in kinds if entries]
    return found


def slow_hinge(loss: TripletHinge, batch: Embedded) -> float:
    """Every triplet one by one."""
    hinges: dict[bool, list[float]] = {True: [], False: []}
    for anchor in range(ROWS):
        near = float(((batch.anchor_BD[anchor] - batch.positive_BD[anchor]) ** 2).sum())
        for far, in_class in chosen(batch, anchor, loss.negatives):
            if (hinge := loss.margin + near - far) > 0:
                hinges[in_class].append(hinge)
    means = {kind: sum(values) / len(values) if values else 0.0 for kind, values in hinges.items()}
    return loss.in_class_share * means[True] + (1 - loss.in_class_share) * means[False]


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize(("negatives", "brought"), [("batch", 0), ("batch", 5), ("hardest", 5), ("own", ROWS)])
@pytest.mark.parametrize(("margin", "share"), [(0.0009, 0.5), (0.2, 0.0), (0.2, 0.3), (2.0, 1.0)])
def test_the_hinge_equals_the_triple_loop(
    margin: float, share: float, negatives: Negatives, brought: int, unit: bool
) -> None:
    loss = TripletHinge(margin=margin, in_class_share=share, negatives=negatives)
    batch = embedded(brought=brought, unit=unit)

    value, figures = loss(batch)

    assert float(value) == pytest.approx(slow_hinge(loss, batch), rel=1e-4, abs=1e-6)
    assert 0 <= float(figures["wrong_share"]) <= float(figures["active_share"]) <= 1


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize(("negatives", "brought"), [("batch", 0), ("batch", 5), ("hardest", 5), ("own", ROWS)])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_info_nce_equals_the_sum_over_single_softmaxes(
    temperature: float, negatives: Negatives, brought: int, unit: bool
) -> None:
    batch = embedded(brought=brought, unit=unit)
    losses = []
    for anchor, positive, number in zip(batch.anchor_BD, batch.positive_BD, range(ROWS), strict=True):
        allowed = {distance for distance, _ in chosen(batch, number, negatives)}
        scores = [float(torch.cosine_similarity(anchor, positive, dim=0)) / temperature]
        for vector, _, _ in candidates(batch):
            if float(((anchor - vector) ** 2).sum()) in allowed:
                scores.append(float(torch.cosine_similarity(anchor, vector, dim=0)) / temperature)
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[0])

    value, _ = InfoNCE(temperature=temperature, negatives=negatives)(batch)

    assert float(value) == pytest.approx(sum(losses) / ROWS, rel=1e-3)


def test_figures_are_what_they_say() -> None:
    batch = embedded()
    _, figures = TripletHinge()(batch)
    triplets = [
        (float(((batch.anchor_BD[a] - batch.positive_BD[a]) ** 2).sum()), float(((batch.anchor_BD[a] - p) ** 2).sum()))
        for a, (n, p) in itertools.product(range(ROWS), enumerate(batch.positive_BD))
        if batch.product_B[a] != batch.product_B[n]
    ]
    assert float(figures["wrong_share"]) == pytest.approx(sum(far < near for near, far in triplets) / len(triplets))
    assert float(figures["negative_distance"]) == pytest.approx(sum(far for _, far in triplets) / len(triplets))
    assert float(figures["spread"]) == pytest.approx(float(figures["negative_distance"]) / 2)  # unit vectors


@pytest.mark.parametrize("loss", [TripletHinge(), TripletHinge(negatives="hardest"), InfoNCE()])
def test_no_negatives_is_no_loss_and_no_nan(loss: TripletHinge | InfoNCE) -> None:
    same = torch.zeros(4, dtype=torch.long)
    batch = Embedded(
        anchor_BD=vectors(4, seed=1).requires_grad_(),
        positive_BD=vectors(4, seed=2),
        product_B=same,
        category_B=same,
        negative_MD=vectors(0, seed=3),
        negative_product_M=same[:0],
        negative_category_M=same[:0],
    )
    value, figures = loss(batch)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)
    assert all(math.isfinite(float(figure)) for figure in figures.values())
    assert bool(torch.isfinite(batch.anchor_BD.grad).all())


@pytest.mark.parametrize("loss", [TripletHinge(margin=4.0), InfoNCE(temperature=1.0)])
def test_pulls_the_positive_and_pushes_the_negative(loss: TripletHinge | InfoNCE) -> None:
    anchor, positive = vectors(2, seed=1).requires_grad_(), vectors(2, seed=2)
    nothing = torch.zeros(0, dtype=torch.long)
    batch = Embedded(
        anchor_BD=anchor,
        positive_BD=positive,
        product_B=torch.arange(2),
        category_B=torch.zeros(2, dtype=torch.long),
        negative_MD=vectors(0, seed=3),
        negative_product_M=nothing,
        negative_category_M=nothing,
    )
    loss(batch)[0].backward()
    stepped = (anchor - 0.1 * anchor.grad).detach()

    def gap(rows: Tensor) -> Tensor:
        distance = ((rows[:, None] - positive[None]) ** 2).sum(2)
        return distance.diagonal() - distance.flip(1).diagonal()

    assert (gap(stepped) < gap(anchor.detach())).all()


def test_own_negatives_need_one_for_each_anchor() -> None:
    with pytest.raises(ValueError, match="one negative for each of 12 anchors, got 5"):
        TripletHinge(negatives="own")(embedded(brought=5))


@pytest.mark.parametrize(
    "wrong", [{"margin": 0.0}, {"margin": -1.0}, {"in_class_share": 1.5}, {"in_class_share": -0.1}, {"negatives": "x"}]
)
def test_the_hinge_refuses_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TripletHinge(**wrong)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"negatives": "x"}])
def test_info_nce_refuses_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        InfoNCE(**wrong)
