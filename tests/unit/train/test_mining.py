"""Mined negatives against an obvious ranking."""

import numpy as np
import pytest
import torch
from torch import Tensor

from visnet.train.batch import Batch
from visnet.train.mining import Bank, HardNegatives

ROWS = 30


def bank(products: int = 10) -> Bank:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (ROWS, 2, 2, 3), dtype=np.uint8)
    return Bank(blocks=[pixels[:7], pixels[7:]], product_N=np.arange(ROWS) % products, category_N=np.arange(ROWS) % 3)


def encode(image_BCHW: Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(image_BCHW.float().flatten(1) - 127, dim=1).numpy()


def ranking(held: Bank) -> list[list[int]]:
    """Of every picture the others' rows, nearest first, without its own product."""
    vectors = encode(held.take(np.arange(ROWS)))
    scores = vectors @ vectors.T
    return [
        sorted((o for o in range(ROWS) if held.product_N[o] != held.product_N[row]), key=lambda o: -scores[row, o])
        for row in range(ROWS)
    ]


def batch(products: list[int]) -> Batch:
    numbers = torch.tensor(products)
    return Batch(
        positive_BCHW=torch.zeros(len(products), 3, 2, 2, dtype=torch.uint8), product_B=numbers, category_B=numbers % 3
    )


@pytest.mark.parametrize("ranks", [(0, 4), (3, 9)])
def test_mines_the_ranks_asked_for(ranks: tuple[int, int]) -> None:
    negatives = HardNegatives(bank(), encode, ranks=ranks)
    negatives.mine()
    assert negatives.neighbour_NK.tolist() == [order[ranks[0] : ranks[1]] for order in ranking(bank())]


def test_what_is_too_few_is_left_open() -> None:
    held = bank(products=2)  # fifteen others each
    negatives = HardNegatives(held, encode, ranks=(10, 20))
    negatives.mine()
    for row, order in zip(negatives.neighbour_NK, ranking(held), strict=True):
        assert row.tolist() == order[10:20] + [-1] * 5


def test_each_anchor_gets_a_mined_picture_of_another_product() -> None:
    held = bank()
    negatives = HardNegatives(held, encode, ranks=(0, 2))
    negatives.mine()
    allowed = {p: {o for row in range(p, ROWS, 10) for o in ranking(held)[row][:2]} for p in range(10)}
    generator = torch.Generator().manual_seed(0)
    seen: dict[int, set[int]] = {p: set() for p in range(10)}
    for _ in range(60):
        extended = negatives.extend(batch(list(range(10))), generator=generator)
        pictures, products, categories = extended.negatives()
        for anchor in range(10):
            rows = [r for r in range(ROWS) if torch.equal(held.take(np.array([r]))[0], pictures[anchor])]
            assert rows[0] in allowed[anchor]
            assert products[anchor] == held.product_N[rows[0]] != anchor
            assert categories[anchor] == held.category_N[rows[0]]
            seen[anchor].add(rows[0])
    assert seen == allowed  # every picture of the product, and every rank, has its turn


def test_a_product_without_a_picture_gets_any() -> None:
    negatives = HardNegatives(bank(), encode, ranks=(0, 2))
    negatives.mine()
    extended = negatives.extend(batch([777, 3]), generator=torch.Generator().manual_seed(0))
    assert len(extended.negatives()[1]) == 2


@pytest.mark.parametrize("ranks", [(3, 3), (5, 2), (-1, 2)])
def test_refuses_ranks_that_hold_nothing(ranks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="mine_ranks"):
        HardNegatives(bank(), encode, ranks=ranks)


def test_refuses_a_single_product() -> None:
    with pytest.raises(ValueError, match="just one"):
        HardNegatives(bank(products=1), encode, ranks=(0, 2))
