"""Wild views: the same for the same seed, and just as wild as the settings say."""

from typing import Any

import pytest
import torch
from torch import Tensor

from visnet.platform.views import WildViewSettings, foreground_mask, wild_views

CALM = {
    "rotation_deg": 0.0,
    "scale": (1.0, 1.0),
    "shift": 0.0,
    "clutter": (0.0, 0.0),
    "cover": (0.0, 0.0),
    "gain": (1.0, 1.0),
    "noise": 0.0,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def boxes(background: int, batch: int = 4, size: int = 32) -> Tensor:
    """A product of 12 x 8 pixels, each another colour, right of the middle of a plain background."""
    image_BCHW = torch.full((batch, 3, size, size), background, dtype=torch.uint8)
    colour_BC11 = torch.randint(60, 190, (batch, 3, 1, 1), generator=seeded(9), dtype=torch.uint8)
    image_BCHW[:, :, 10:22, 16:24] = colour_BC11
    return image_BCHW


def views(image_BCHW: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    return wild_views(image_BCHW, generator=seeded(seed), settings=WildViewSettings(**{**CALM, **settings}))


@pytest.mark.parametrize("shape", [(1, 3, 28, 28), (5, 3, 40, 32)])
def test_shape_and_kind_are_kept_and_the_input_is_left_alone(shape: tuple[int, ...]) -> None:
    image_BCHW = torch.randint(0, 256, shape, generator=seeded(), dtype=torch.uint8)
    before = image_BCHW.clone()
    view_BCHW = wild_views(image_BCHW, generator=seeded())
    assert (view_BCHW.shape, view_BCHW.dtype) == (image_BCHW.shape, torch.uint8)
    assert torch.equal(image_BCHW, before)
    assert float((view_BCHW.float() - image_BCHW.float()).abs().mean()) > 10


def test_equal_seeds_give_equal_views_and_others_do_not() -> None:
    torch.manual_seed(1)
    first = wild_views(boxes(255), generator=seeded(3))
    torch.manual_seed(2)  # the global state plays no part
    assert torch.equal(wild_views(boxes(255), generator=seeded(3)), first)
    assert not torch.equal(wild_views(boxes(255), generator=seeded(4)), first)
    generator = seeded(3)
    wild_views(boxes(255), generator=generator)
    assert not torch.equal(wild_views(boxes(255), generator=generator), first)


def test_pictures_of_a_batch_are_changed_each_in_its_own_way() -> None:
    same = boxes(255)[:1].expand(4, -1, -1, -1)
    view_BCHW = wild_views(same, generator=seeded())
    assert not any(torch.equal(view_BCHW[0], view_BCHW[other]) for other in (1, 2, 3))


@pytest.mark.parametrize("background", [0, 255])
def test_foreground_is_the_product_on_black_and_on_white(background: int) -> None:
    mask_BMHW = foreground_mask(boxes(background).float() / 255, 0.06)
    expected = torch.zeros(4, 1, 32, 32)
    expected[:, :, 10:22, 16:24] = 1
    assert torch.equal(mask_BMHW, expected)


def test_foreground_is_judged_by_the_border_and_the_threshold() -> None:
    image_BCHW = boxes(255).float() / 255
    image_BCHW[:, :, 0, :10] = 0  # a product may touch the border
    image_BCHW[:, :, 5, 5] = 1 - 0.05
    image_BCHW[:, 2, 5, 6] = 1 - 0.07  # one channel is enough
    mask_BMHW = foreground_mask(image_BCHW, 0.06)
    assert mask_BMHW[0, 0, 0, :11].tolist() == [1.0] * 10 + [0.0]
    assert mask_BMHW[0, 0, 5, 5:8].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("background", [0, 255])
def test_calm_settings_keep_the_product_and_blacken_the_rest(background: int) -> None:
    image_BCHW = boxes(background)
    expected = torch.zeros_like(image_BCHW)
    expected[:, :, 10:22, 16:24] = image_BCHW[:, :, 10:22, 16:24]
    assert (views(image_BCHW).int() - expected.int()).abs().max() <= 1


def centre(view_BCHW: Tensor) -> Tensor:
    """Of all that is not black, in pixels: (B, 2), y and x."""
    bright_BHW = view_BCHW.amax(1) > 30
    return torch.stack([torch.nonzero(bright_HW).float().mean(0) for bright_HW in bright_BHW])


def area(view_BCHW: Tensor) -> Tensor:
    return (view_BCHW.amax(1) > 30).sum((1, 2)).float()


def test_shift_moves_by_up_to_its_share_of_the_side() -> None:
    image_BCHW = boxes(0, batch=64)
    moved_B2 = centre(views(image_BCHW, shift=0.2)) - centre(image_BCHW)
    assert moved_B2.abs().max() <= 0.2 * 32 + 0.6
    assert moved_B2.abs().amax(0).min() > 0.2 * 32 * 0.8
    assert (moved_B2.amin(0) < -3).all()
    assert (moved_B2.amax(0) > 3).all()


def test_scale_changes_the_size_about_the_centre() -> None:
    image_BCHW = boxes(0, batch=16)
    small_BCHW = views(image_BCHW, scale=(0.5, 0.5))
    torch.testing.assert_close(area(small_BCHW), torch.full((16,), 12 * 8 / 4.0), rtol=0.35, atol=0)
    middle = 15.5
    torch.testing.assert_close(centre(small_BCHW) - middle, (centre(image_BCHW) - middle) / 2, rtol=0, atol=0.6)


def test_rotation_turns_about_the_centre() -> None:
    angle_B = []
    for view_BCHW in (boxes(0, batch=64), views(boxes(0, batch=64), rotation_deg=30.0)):
        offset_B2 = centre(view_BCHW) - 15.5
        angle_B.append(torch.rad2deg(torch.atan2(offset_B2[:, 0], offset_B2[:, 1])))
    turned_B = angle_B[1] - angle_B[0]
    assert turned_B.abs().max() < 34
    assert turned_B.min() < -20
    assert turned_B.max() > 20


def test_gain_relights_the_product() -> None:
    image_BCHW = boxes(0)
    expected = image_BCHW.float() * 0.5
    assert (views(image_BCHW, gain=(0.5, 0.5)).float() - expected).abs().max() <= 1


def test_clutter_fills_the_background_only() -> None:
    image_BCHW = boxes(255)
    view_BCHW = views(image_BCHW, clutter=(0.7, 0.7)).int()
    inside = (slice(None), slice(None), slice(11, 21), slice(17, 23))
    assert (view_BCHW[inside] - image_BCHW[inside].int()).abs().max() <= 1
    assert view_BCHW[:, :, :8].float().mean() > 60


def test_cover_hides_a_square_of_its_size() -> None:
    white = torch.full((8, 3, 32, 32), 200, dtype=torch.uint8)
    white[:, :, 0], white[:, :, -1], white[:, :, :, 0], white[:, :, :, -1] = 0, 0, 0, 0
    hidden_BHW = (views(white, cover=(0.5, 0.5)) == 0).all(1)[:, 1:-1, 1:-1]
    for hidden_HW in hidden_BHW:
        high, wide = (int(hidden_HW.any(dim).sum()) for dim in (1, 0))
        assert int(hidden_HW.sum()) == high * wide, "not a rectangle"
        assert 14 <= high <= 16
        assert 14 <= wide <= 16
    assert len({tuple(torch.nonzero(hidden_HW)[0].tolist()) for hidden_HW in hidden_BHW}) > 1


def test_noise_is_at_most_as_strong_as_stated() -> None:
    grey = torch.full((32, 3, 32, 32), 128, dtype=torch.uint8)
    grey[:, :, 0], grey[:, :, -1], grey[:, :, :, 0], grey[:, :, :, -1] = 0, 0, 0, 0
    strength_B = views(grey, noise=0.1)[:, 0, 4:-4, 4:-4].float().std((1, 2)) / 255
    assert strength_B.max() <= 0.11
    assert strength_B.max() > 0.07
    assert strength_B.min() < 0.04
