"""Composed scenes: a box is where the item's colour is, and what cannot be seen has none."""

from typing import Any

import numpy as np
import pytest

from visnet.platform.scenes import Scene, SceneSettings, compose

CALM = {
    "same": 0.0,
    "plain": 1.0,
    "chroma": 0.0,
    "occluders": 0,
    "item_gain": (1.0, 1.0),
    "scene_gain": (1.0, 1.0),
    "cast": 0.0,
    "light": 0.0,
    "shadow": 0.0,
    "blur": 0.0,
    "noise": 0.0,
    "jpeg": (0, 0),
}
MAGENTA, GREEN = (255, 0, 255), (0, 255, 0)


def shape(colour: tuple[int, int, int], height: int = 60, width: int = 40) -> np.ndarray:
    """An opaque ellipse, transparent around."""
    y_H, x_W = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    pixel_HWC = np.full((height, width, 4), (*colour, 255), np.uint8)
    pixel_HWC[:, :, 3] *= y_H**2 + x_W**2 <= 1
    return pixel_HWC


def square(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((50, 50, 4), (*colour, 255), np.uint8)


CUTOUTS = [shape(MAGENTA), shape(GREEN)]
CLUTTER = [
    np.random.default_rng(5).integers(0, 256, size, np.uint8) for size in ((50, 80, 3), (300, 200, 3), (1, 1, 3))
]


def scene(seed: int, *, side: int = 160, items: int | None = None, cutouts: Any = None, **settings: Any) -> Scene:
    chosen = SceneSettings(**{**CALM, **settings})
    random = np.random.default_rng(seed)
    return compose(CUTOUTS if cutouts is None else cutouts, [], side=side, random=random, settings=chosen, items=items)


def pixels_of(made: Scene, cutout: int) -> np.ndarray:
    """True where a cutout covers half of a pixel or more: over grey, red minus green is 255 times its opacity."""
    magenta_HW = made.pixel_HWC[:, :, 0].astype(int) - made.pixel_HWC[:, :, 1]
    return (magenta_HW if cutout == 0 else -magenta_HW) >= 128


def bounds(mask_HW: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def box_in_pixels(made: Scene, item: int) -> np.ndarray:
    height, width = made.pixel_HWC.shape[:2]
    return made.box_N4[item] * (width, height, width, height)


@pytest.mark.parametrize("beyond", [0.0, 0.4])
@pytest.mark.parametrize("aspect", [0.2, 0.5, 1.0, 2.0, 5.0])
def test_a_box_fits_the_pixels_of_its_item(aspect: float, beyond: float) -> None:
    for seed in range(30):
        made = scene(seed, items=1, aspect=(aspect, aspect), beyond=beyond, size=(0.15, 0.9), any_rotation=0.5)
        cutout = int(made.cutout_N[0])
        seen = pixels_of(made, cutout)
        np.testing.assert_allclose(box_in_pixels(made, 0), bounds(seen), atol=0.01)
        if beyond == 0:
            assert made.visible_N[0] == 1


def test_under_another_item_a_box_surrounds_what_is_left() -> None:
    hidden = 0
    sharp = {"cutouts": [square(MAGENTA), square(GREEN)], "rotation_deg": 0.0, "any_rotation": 0.0}
    for seed in range(150):
        made = scene(seed, items=2, size=(0.4, 0.6), overlap=0.9, least_visible=0.2, **sharp)
        if set(made.cutout_N.tolist()) != {0, 1}:
            continue
        for item, cutout in enumerate(made.cutout_N.tolist()):
            np.testing.assert_allclose(box_in_pixels(made, item), bounds(pixels_of(made, cutout)), atol=0.01)
        hidden += bool(made.visible_N[0] < 0.8)
    assert hidden >= 5, "the case was not tried"


def test_the_visible_share_is_what_is_left_of_the_items_area() -> None:
    own = (CUTOUTS[0][:, :, 3] > 0).mean() * 80 * 53
    shares = []
    for seed in range(60):
        made = scene(seed, items=1, beyond=0.5, stretch=1.0, size=(0.5, 0.5), aspect=(1.0, 1.0))
        seen = pixels_of(made, int(made.cutout_N[0])).sum()
        assert made.visible_N[0] == pytest.approx(seen / own, abs=0.03)
        shares.append(float(made.visible_N[0]))
    assert min(shares) < 0.7


def test_nothing_that_shows_is_without_a_box() -> None:
    """Also where items are taken out because too little of them can be seen."""
    taken_out = 0
    for seed in range(150):
        made = scene(seed, items=4, size=(0.4, 0.7), overlap=1.0, beyond=0.6, least_visible=0.6, occluders=2)
        covered = np.zeros(made.pixel_HWC.shape[:2], bool)
        for item in range(len(made.box_N4)):
            left, top, right, bottom = box_in_pixels(made, item).round().astype(int)
            covered[top:bottom, left:right] = True
        shows = pixels_of(made, 0) | pixels_of(made, 1)
        assert not (shows & ~covered).any()
        assert (made.visible_N >= 0.6).all()
        taken_out += len(made.box_N4) < 4
    assert taken_out >= 20, "the case was not tried"


def test_what_is_hidden_is_taken_out_and_what_hides_it_stays() -> None:
    taken_out = 0
    for seed in range(60):
        both = scene(seed, items=2, size=(0.4, 0.7), overlap=1.0, beyond=0.0, least_visible=0.0)
        made = scene(seed, items=2, size=(0.4, 0.7), overlap=1.0, beyond=0.0, least_visible=0.7)
        if len(both.visible_N) == 2 and both.visible_N[0] < 0.7:
            np.testing.assert_array_equal(made.box_N4, both.box_N4[1:])
            taken_out += 1
    assert taken_out >= 5, "the case was not tried"


def test_occluders_hide_items() -> None:
    bare = [scene(seed, items=2, overlap=0.0, beyond=0.0) for seed in range(60)]
    hidden = [scene(seed, items=2, overlap=0.0, beyond=0.0, occluders=3, least_visible=0.1) for seed in range(60)]
    assert all((made.visible_N == 1).all() for made in bare)
    assert np.mean([made.visible_N.min() < 0.95 for made in hidden if len(made.visible_N)]) > 0.3


def wild(seed: int, *, clutter: Any = (), side: int = 96, items: int | None = None, **settings: Any) -> Scene:
    random = np.random.default_rng(seed)
    return compose(CUTOUTS, clutter, side=side, random=random, settings=SceneSettings(**settings), items=items)


@pytest.mark.parametrize("clutter", [[], CLUTTER])
@pytest.mark.parametrize("side", [1, 32, 96])
def test_wild_scenes_are_well_formed(side: int, clutter: list[np.ndarray]) -> None:
    for seed in range(60):
        made = wild(seed, clutter=clutter, side=side, beyond=0.5)
        count = len(made.cutout_N)
        assert (made.pixel_HWC.dtype, max(made.pixel_HWC.shape[:2]), made.pixel_HWC.shape[2]) == (np.uint8, side, 3)
        assert (made.box_N4.dtype, made.box_N4.shape) == (np.float32, (count, 4))
        assert (made.cutout_N.dtype, made.visible_N.dtype, made.visible_N.shape) == (np.int64, np.float32, (count,))
        assert ((made.box_N4 >= 0) & (made.box_N4 <= 1)).all()
        assert (made.box_N4[:, 2:] > made.box_N4[:, :2]).all()
        assert ((made.visible_N >= 0.3) & (made.visible_N <= 1)).all()
        assert set(made.cutout_N.tolist()) <= {0, 1}
        assert made.pixel_HWC.flags.writeable


def test_equal_states_give_equal_scenes_and_others_do_not() -> None:
    first, again, other = wild(3, clutter=CLUTTER, items=3), wild(3, clutter=CLUTTER, items=3), wild(4, clutter=CLUTTER)
    for name in ("pixel_HWC", "box_N4", "cutout_N", "visible_N"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.pixel_HWC.shape != other.pixel_HWC.shape or (first.pixel_HWC != other.pixel_HWC).any()


def test_the_input_is_left_alone() -> None:
    before = [array.copy() for array in [*CUTOUTS, *CLUTTER]]
    wild(0, clutter=CLUTTER, items=4)
    assert all(np.array_equal(a, b) for a, b in zip(before, [*CUTOUTS, *CLUTTER], strict=True))


def test_how_many_items() -> None:
    for items in (0, 1, 3):
        made = [scene(seed, items=items, size=(0.1, 0.2), overlap=0.3) for seed in range(20)]
        assert {len(one.box_N4) for one in made} == {items}
    counts = [len(scene(seed, size=(0.1, 0.2), most_items=3, empty=0.3, side=64).box_N4) for seed in range(300)]
    assert set(counts) == {0, 1, 2, 3}
    assert 0.2 < np.mean(np.array(counts) == 0) < 0.4
    assert len(scene(0, cutouts=[], items=2).box_N4) == 0


def test_all_alike_on_demand() -> None:
    for seed in range(20):
        assert len(set(scene(seed, items=3, same=1.0, size=(0.1, 0.2)).cutout_N.tolist())) == 1


def test_sizes_keep_to_their_range() -> None:
    longest = []
    for seed in range(100):
        made = scene(seed, items=1, size=(0.2, 0.6), beyond=0.0, rotation_deg=0, any_rotation=0, aspect=(1.0, 1.0))
        left, top, right, bottom = made.box_N4[0]
        longest.append(max(right - left, bottom - top))
    assert min(longest) >= 0.2 - 0.02
    assert max(longest) <= 0.6 + 0.02
    assert max(longest) - min(longest) > 0.3


def test_a_cutout_with_nothing_opaque_is_no_item() -> None:
    ghost = np.zeros((20, 20, 4), np.uint8)
    assert len(scene(0, cutouts=[ghost], items=2).box_N4) == 0


@pytest.mark.parametrize(
    "settings", [{"size": (0.5, 0.2)}, {"aspect": (0.0, 1.0)}, {"plain": 1.5}, {"most_items": 0}, {"stretch": 0.5}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SceneSettings(**settings)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="side=0"):
        scene(0, side=0)
    with pytest.raises(ValueError, match="items=-1"):
        scene(0, items=-1)
