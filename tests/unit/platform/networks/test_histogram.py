"""The colour histogram: LAB as published, shares against plain loops, and an embedding that knows colour alone."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from visnet.platform.encoder import Encoder
from visnet.platform.imaging import encode_png
from visnet.platform.networks import describe_recipe, make_recipe
from visnet.platform.networks.histogram import CHROMA, Histogram, HistogramNetwork, soft_histogram, srgb_to_lab

# the CIE L*a*b* of sRGB's corners under D65, as every colour calculator gives them
KNOWN = {
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
    (0.0, 1.0, 0.0): (87.73, -86.18, 83.18),
    (0.0, 0.0, 1.0): (32.30, 79.19, -107.86),
    (0.5, 0.5, 0.5): (53.39, 0.0, 0.0),
}


def plain(*colour: int, side: int = 48) -> bytes:
    return encode_png(np.full((side, side, 3), colour, np.uint8))


@pytest.mark.parametrize(("rgb", "lab"), KNOWN.items())
def test_lab_is_the_published_one(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    converted = srgb_to_lab(torch.tensor(rgb)[None, :, None, None])[0, :, 0, 0]
    assert converted.tolist() == pytest.approx(lab, abs=0.02)


def slow_shares(places: Tensor, bins: tuple[int, int, int]) -> np.ndarray:
    share = np.zeros(bins)
    for place in places.T.tolist():
        for cell in itertools.product(*(range(count) for count in bins)):
            share[cell] += np.prod([max(0.0, 1 - abs(at - where)) for at, where in zip(cell, place, strict=True)])
    return share.ravel() / places.shape[1]


def test_shares_equal_plain_loops() -> None:
    bins = (3, 4, 5)
    last = torch.tensor(bins)[:, None] - 1
    place_B3P = torch.rand((2, 3, 30), generator=torch.Generator().manual_seed(0)) * last
    place_B3P[0, :, 0], place_B3P[0, :, 1] = 0, last[:, 0]  # both ends
    share_BN = soft_histogram(place_B3P, bins)
    for number in range(2):
        np.testing.assert_allclose(share_BN[number], slow_shares(place_B3P[number], bins), atol=1e-6)


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_unit_vectors_of_the_stated_length(grid: int) -> None:
    recipe = Histogram(image_size=17, lightness_bins=3, chroma_bins=5, grid=grid)
    image_BCHW = torch.rand((4, 3, 17, 17), generator=torch.Generator().manual_seed(1))
    embedding_BD = recipe.build()(image_BCHW)
    assert embedding_BD.shape == (4, recipe.dimension) == (4, 75 * grid**2)
    torch.testing.assert_close(embedding_BD.norm(dim=1), torch.ones(4))


def test_the_inner_product_is_the_bhattacharyya_coefficient() -> None:
    image_BCHW = torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(2))
    network = HistogramNetwork((4, 6, 6), grid=1)
    first, second = network(image_BCHW)
    places = network._places(srgb_to_lab(image_BCHW))
    one, other = (slow_shares(place, (4, 6, 6)) for place in places)
    assert float(first @ second) == pytest.approx(np.sqrt(one * other).sum(), abs=1e-5)


def test_it_knows_colour_and_the_nearness_of_colours() -> None:
    encoder = Encoder(make_recipe("histogram"))
    red, darker_red, blue = encoder.encode([plain(200, 30, 30), plain(185, 25, 35), plain(30, 30, 200)])
    assert red @ darker_red > 0.5
    assert red @ blue < 0.01


def test_only_a_grid_knows_where_a_colour_is() -> None:
    half = np.zeros((48, 48, 3), np.uint8)
    half[:24] = (220, 40, 40)
    pictures = [encode_png(half), encode_png(half[::-1].copy())]
    upright, turned = Encoder(make_recipe("histogram")).encode(pictures)
    assert upright @ turned == pytest.approx(1, abs=1e-5)
    upright, turned = Encoder(make_recipe("histogram", grid=2)).encode(pictures)
    assert upright @ turned < 0.1


def test_colours_beyond_the_bins_count_as_the_outermost() -> None:
    blue = srgb_to_lab(torch.tensor([0.0, 0.0, 1.0])[None, :, None, None])
    assert float(blue[0, 2]) < -CHROMA
    embedding = HistogramNetwork((2, 3, 3), grid=1)(torch.tensor([0.0, 0.0, 1.0])[None, :, None, None])
    assert float(embedding.norm()) == pytest.approx(1, abs=1e-5)


def test_a_description_gives_it_back_and_nonsense_is_refused() -> None:
    recipe = Histogram(grid=2)
    assert make_recipe(**describe_recipe(recipe)) == recipe
    for wrong in ({"lightness_bins": 1}, {"chroma_bins": 1}, {"grid": 0}, {"image_size": 2, "grid": 3}):
        with pytest.raises(ValueError, match="expected"):
            Histogram(**wrong)
