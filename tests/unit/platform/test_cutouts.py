"""Cutouts: the product and nothing else, against drawn shapes whose mask is known."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from visnet.platform.cutouts import cut_out

RED = (190, 40, 30)


def drawn(*ellipses: tuple[int, ...], side: int = 224, background: int = 255, colour: object = RED) -> Image.Image:
    image = Image.new("RGB", (side, side), (background,) * 3)
    for ellipse in ellipses:
        ImageDraw.Draw(image).ellipse(ellipse, fill=colour)  # type: ignore[arg-type]
    return image


def iou(cutout: np.ndarray | None, image: Image.Image) -> float:
    """Of the opaque part with all that is not the corner's colour, both cut to their bounds."""
    assert cutout is not None
    pixel_HWC = np.asarray(image).astype(int)
    true_HW = np.abs(pixel_HWC - pixel_HWC[0, 0]).max(2) > 60
    rows, columns = np.flatnonzero(true_HW.any(1)), np.flatnonzero(true_HW.any(0))
    true_HW = true_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    found = Image.fromarray(cutout[:, :, 3]).resize((true_HW.shape[1], true_HW.shape[0]))
    found_HW = np.asarray(found) > 127
    return float((found_HW & true_HW).sum() / (found_HW | true_HW).sum())


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("side", [200, 224, 1000])
@pytest.mark.parametrize("background", [0, 200, 250, 255])
def test_the_mask_is_that_of_the_shape(side: int, background: int) -> None:
    image = drawn((side // 5, side // 4, side // 2, side * 4 // 5), side=side, background=background)
    cutout = cut_out(image, longest=side)
    assert cutout is not None
    assert (cutout.dtype, cutout.shape[2]) == (np.uint8, 4)
    assert iou(cutout, image) > 0.95
    assert abs(cutout.shape[0] - (side * 4 // 5 - side // 4)) <= side / 60
    assert (cutout[cutout.shape[0] // 2, cutout.shape[1] // 2] == (*RED, 255)).all()


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_what_jpeg_does_near_an_edge_is_no_product(quality: int) -> None:
    image = drawn((50, 40, 170, 190))
    cutout = cut_out(through_jpeg(image, quality), longest=224)
    assert iou(cutout, image) > 0.95


def test_no_colour_of_the_background_is_left_at_the_edge() -> None:
    large = drawn((200, 160, 680, 760), side=896)  # reduced: the edge is a mixture, as in a photo
    cutout = cut_out(large.resize((224, 224), Image.Resampling.BOX), longest=224)
    assert cutout is not None
    seen_NC = cutout[cutout[:, :, 3] > 25][:, :3].astype(int)
    assert np.abs(seen_NC - RED).max() <= 12


def test_the_edge_is_soft_and_the_inside_is_opaque() -> None:
    cutout = cut_out(drawn((50, 50, 170, 170)), longest=224)
    assert cutout is not None
    opacity_W = cutout[60, :, 3].astype(int)
    assert 0 < opacity_W[0] < 255
    assert (opacity_W[4:-4] == 255).all()


def test_a_hole_of_the_backgrounds_colour_stays_product() -> None:
    image = drawn((40, 40, 180, 180))
    ImageDraw.Draw(image).rectangle((80, 80, 140, 140), fill=(255, 255, 255))
    cutout = cut_out(image, longest=224)
    assert cutout is not None
    assert (cutout[70, 70] == 255).all()


def test_pinholes_stay_product_and_the_inside_keeps_its_colours() -> None:
    image = drawn((40, 40, 180, 180))
    for x in range(70, 150, 8):
        ImageDraw.Draw(image).rectangle((x, 80, x + 2, 140), fill=(255, 255, 255))
    cutout = cut_out(image, longest=224)
    assert cutout is not None
    inside_HWC = np.asarray(image)[80:140, 70:150]
    top, left = 80 - 40, 70 - 40
    assert cutout.shape[:2] == (141, 141)
    assert (cutout[top : top + 60, left : left + 80, 3] == 255).all()
    assert np.array_equal(cutout[top : top + 60, left : left + 80, :3], inside_HWC)


def test_a_narrow_gap_in_the_outline_does_not_empty_the_inside() -> None:
    image = drawn()
    ImageDraw.Draw(image).rectangle((60, 40, 160, 190), outline=RED, width=4)
    ImageDraw.Draw(image).rectangle((60, 100, 64, 103), fill=(255, 255, 255))
    cutout = cut_out(image, longest=224)
    assert cutout is not None
    assert (cutout[20:-20, 20:-20, 3] == 255).all()


@pytest.mark.parametrize("shape", [(0, 60, 150, 160), (60, 90, 150, 224), (-40, -40, 90, 90)])
def test_a_product_may_touch_the_border(shape: tuple[int, ...]) -> None:
    image = drawn()
    ImageDraw.Draw(image).rectangle(shape, fill=RED)  # type: ignore[arg-type]
    cutout = cut_out(image, longest=224)
    assert cutout is not None
    width, height = min(shape[2], 223) - max(shape[0], 0) + 1, min(shape[3], 223) - max(shape[1], 0) + 1
    assert abs(cutout.shape[1] - width) <= 1
    assert abs(cutout.shape[0] - height) <= 1
    assert (cutout[:, :, 3] > 127).mean() > 0.97


def test_all_pieces_are_kept_and_specks_are_not() -> None:
    plums = [(30, 30, 90, 90), (120, 40, 180, 100), (40, 120, 100, 180), (130, 130, 190, 190)]
    cutout = cut_out(drawn(*plums, (208, 208, 212, 212)), longest=224)
    assert iou(cutout, drawn(*plums)) > 0.95


def test_grey_of_28_pixels_on_black() -> None:
    pixel_HW = np.zeros((28, 28), np.uint8)
    pixel_HW[4:24, 8:20] = np.linspace(40, 220, 12).astype(np.uint8)
    cutout = cut_out(Image.fromarray(pixel_HW), longest=64)
    assert cutout is not None
    assert cutout.shape == (20, 12, 4)
    assert (cutout[:, :, 3] > 127).all()
    assert (cutout[10, 3:9, 0] == pixel_HW[14, 11:17]).all()


@pytest.mark.parametrize("longest", [1, 17, 64, 150, 1000])
def test_the_longer_side_is_at_most_longest_and_nothing_is_enlarged(longest: int) -> None:
    cutout = cut_out(drawn((20, 60, 200, 150)), longest=longest)
    assert cutout is not None
    assert abs(max(cutout.shape[:2]) - min(longest, 181)) <= (1 if longest > 181 else 0)
    assert cutout.shape[1] >= cutout.shape[0]
    with pytest.raises(ValueError, match="longest"):
        cut_out(drawn(), longest=0)


@pytest.mark.parametrize("background", [0, 255])
def test_nothing_or_everything_is_none(background: int) -> None:
    assert cut_out(drawn(background=background), longest=224) is None
    assert cut_out(drawn((100, 100, 104, 104), background=background), longest=224) is None, "a speck"
    frame = drawn(background=background)
    ImageDraw.Draw(frame).rectangle((1, 1, 222, 222), fill=RED)
    assert cut_out(frame, longest=224) is None


def test_a_picture_whose_border_is_not_plain_is_none() -> None:
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8))
    room = coarse.resize((224, 224), Image.Resampling.BICUBIC)
    grain_HWC = np.clip(random.normal(160, 12, (224, 224, 3)), 0, 255).astype(np.uint8)
    for photo in (room, Image.fromarray(grain_HWC)):
        ImageDraw.Draw(photo).ellipse((60, 60, 160, 160), fill=RED)
        assert cut_out(photo, longest=224) is None
    shaded_HW = np.linspace(195, 215, 224).astype(np.uint8)[:, None].repeat(224, axis=1)
    assert cut_out(Image.fromarray(shaded_HW), longest=224) is None
    half = drawn()
    half.paste(room.crop((0, 0, 224, 150)))  # most of the border
    assert cut_out(half, longest=224) is None
