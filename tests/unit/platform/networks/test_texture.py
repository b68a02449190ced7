"""The texture descriptor: it tells patterns apart by kind, direction and width, and does not see light or colour."""

import math

import numpy as np
import pytest
import torch

from visnet.platform.encoder import Encoder
from visnet.platform.imaging import encode_png
from visnet.platform.networks import describe_recipe, make_recipe
from visnet.platform.networks.texture import (
    WAVELENGTH,
    WINDOW,
    Texture,
    gabor_bank,
    local_contrast,
    middle,
    surroundings,
)

SIDE = 224
Y, X = np.mgrid[:SIDE, :SIDE]


def picture(pattern: np.ndarray, *, low: float = 60, high: float = 200, colour: tuple[float, ...] = (1, 1, 1)) -> bytes:
    """A pattern of 0..1 as an encoded picture with sensor noise."""
    noise = np.random.default_rng(0).normal(0, 1, (SIDE, SIDE, 3))
    grey = low + (high - low) * pattern
    return encode_png((grey[..., None] * np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def stripes(along: np.ndarray, width: int) -> np.ndarray:
    return (along // width) % 2.0


def dots(period: int) -> np.ndarray:
    centre = period / 2
    return 1.0 * (np.hypot(X % period - centre, Y % period - centre) < period / 4)


PATTERNS = {
    "plain": np.full((SIDE, SIDE), 0.5),
    "upright": stripes(X, 5),
    "level": stripes(Y, 5),
    "slanted": stripes((X + Y) * 0.7, 5),
    "wide": stripes(X, 18),
    "dots": dots(14),
    "checks": np.abs(stripes(X, 8) - stripes(Y, 8)),
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(make_recipe("texture"))


def test_every_pattern_is_nearest_to_itself_in_other_light_and_colour(encoder: Encoder) -> None:
    shown = encoder.encode([picture(pattern) for pattern in PATTERNS.values()])
    dim_and_red = [picture(p, low=30, high=140, colour=(1, 0.6, 0.5)) for p in PATTERNS.values()]
    score_QK = encoder.encode(dim_and_red) @ shown.T
    assert score_QK.argmax(axis=1).tolist() == list(range(len(PATTERNS)))
    assert np.diag(score_QK).min() > 0.97
    assert (score_QK - np.eye(len(PATTERNS))).max() < 0.95


def test_brightness_alone_changes_nothing(encoder: Encoder) -> None:
    for pattern in PATTERNS.values():
        one, brighter = encoder.encode([picture(pattern), picture(pattern, low=80, high=220)])
        assert one @ brighter > 0.999


def test_a_pattern_that_is_moved_stays_the_same(encoder: Encoder) -> None:
    one, moved = encoder.encode([picture(stripes(X, 5)), picture(stripes(X + 3, 5))])
    assert one @ moved > 0.99


def test_directions_and_scales_are_where_they_should_be(encoder: Encoder) -> None:
    upright, level, wide, plain = (
        encoder.encode([picture(PATTERNS[name])])[0].reshape(25, 4).mean(axis=1)
        for name in ("upright", "level", "wide", "plain")
    )
    assert upright[:24].argmax() % 6 == 0  # changes from left to right
    assert level[:24].argmax() % 6 == 3
    assert wide[:24].argmax() // 6 > upright[:24].argmax() // 6
    assert plain.argmax() == 24
    assert plain[24] > 2 * upright[24]


def test_what_lies_at_the_rim_is_not_seen(encoder: Encoder) -> None:
    framed = PATTERNS["plain"].copy()
    framed[:30], framed[-30:], framed[:, :30], framed[:, -30:] = (
        dots(14)[:30], dots(14)[:30], dots(14)[:, :30], dots(14)[:, :30]
    )  # fmt: skip
    one, with_rim = encoder.encode([picture(PATTERNS["plain"]), picture(framed)])
    assert one @ with_rim > 0.999
    whole = Encoder(make_recipe("texture", centre=1.0))
    one, with_rim = whole.encode([picture(PATTERNS["plain"]), picture(framed)])
    assert one @ with_rim < 0.99


@pytest.mark.parametrize("options", [{}, {"grid": 3, "centre": 0.5}, {"image_size": 32, "scales": 2}])
def test_embeddings_are_of_unit_length_and_of_the_dimension_that_is_said(options: dict[str, float]) -> None:
    recipe = make_recipe("texture", **options)
    size = recipe.preprocessing.crop
    embedding_BD = recipe.build()(torch.rand(3, 3, size, size))
    assert embedding_BD.shape == (3, recipe.dimension)
    assert embedding_BD.norm(dim=1).tolist() == pytest.approx([1] * 3, abs=1e-5)


def test_a_filter_answers_one_to_its_own_wave_and_nothing_to_a_plane() -> None:
    bank = gabor_bank(6)
    assert bank.sum(dim=(1, 2, 3)).abs().max() < 1e-5
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(60.0), indexing="ij")
    for number in range(6):
        angle = math.pi * number / 6
        wave = torch.cos(2 * math.pi * (x * math.cos(angle) - y * math.sin(angle)) / WAVELENGTH)
        even, odd = torch.nn.functional.conv2d(wave[None, None], bank)[0].chunk(2)
        energy = (even.square() + odd.square()).sqrt().mean(dim=(1, 2))
        assert int(energy.argmax()) == number
        assert float(energy[number]) == pytest.approx(1, abs=0.05)


def test_surroundings_are_the_mean_of_the_window_and_contrast_is_in_units_of_its_spread() -> None:
    level = torch.rand(1, 1, 20, 22)
    half = WINDOW // 2
    for row, column in ((0, 0), (3, 21), (10, 11)):
        around = level[0, 0, max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
        assert float(surroundings(level)[0, 0, row, column]) == pytest.approx(float(around.mean()), abs=1e-6)
    assert 0.8 < float(local_contrast(level).std()) < 1.2
    assert float(local_contrast(torch.full((1, 1, 20, 20), 0.7)).abs().max()) < 1e-4


def test_the_middle_is_in_the_middle() -> None:
    assert middle(torch.arange(10.0).expand(1, 1, 10, 10), 0.4)[0, 0, 0].tolist() == [3, 4, 5, 6]
    assert middle(torch.zeros(1, 3, 7, 7), 1.0).shape == (1, 3, 7, 7)


def test_a_description_gives_it_back_and_nonsense_is_refused() -> None:
    recipe = Texture(grid=3, scales=3)
    assert make_recipe(**describe_recipe(recipe)) == recipe
    for wrong in (
        {"scales": 0},
        {"orientations": 1},
        {"grid": 0},
        {"centre": 0.0},
        {"centre": 1.1},
        {"image_size": 64},
    ):
        with pytest.raises(ValueError, match="expected"):
            Texture(**wrong)
