"""Composed scenes: products cut out of their shop pictures, laid on clutter, with the box of each for free.

A detector needs photos with boxes around the products, and a shop has none. It has pictures on a plain background,
which `cutouts` frees of it; here several are laid over a cluttered background, turned, scaled, relit, partly hidden
and blurred. Where each one is, and how much of it can be seen, is known to the pixel. What a detector learns from
such scenes is to be measured on real photos. A scene of 256 pixels costs about 7 ms, one of 128 about 4 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage  # type: ignore[import-untyped]

from visnet.platform.backdrops import Backdrop, up_to
from visnet.platform.camera import CameraSettings, check_ranges, check_shares, photographed
from visnet.platform.layers import Layer, overlap, seen, tight_layer

# H height, W width, C channels (RGB), N items that are visible, 4 left, top, right, bottom

PLACES = 12
"""How often a place is sought for an item, each time a little smaller, before the scene goes without it."""
CROWD = 1.4
"""The largest items of a scene of n items are at most this / sqrt(n) of its longer side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSettings(CameraSettings):
    """How wild the scenes are. Ranges are drawn from uniformly unless they say otherwise; shares are 0..1."""

    most_items: int = 6
    """A scene that is not empty holds 1 to this many items."""
    empty: float = 0.06
    """Share of scenes without an item."""
    same: float = 0.2
    """Share of scenes whose items all show the same cutout, as on a shelf."""
    aspect: tuple[float, float] = (0.5, 2.0)
    """Width of the scene divided by its height; log-uniform."""
    size: tuple[float, float] = (0.16, 0.95)
    """Longer side of an item relative to the scene's longer side; log-uniform."""
    stretch: float = 1.12
    """An item's width is stretched against its height by up to this factor, either way."""
    rotation_deg: float = 20.0
    """Items are turned by up to this many degrees either way ..."""
    any_rotation: float = 0.2
    """... but for this share of them, which are turned by any angle."""
    flip: float = 0.5
    """Share of items that are mirrored."""
    beyond: float = 0.25
    """Share of an item's width and height that may lie beyond the scene's edges."""
    overlap: float = 0.4
    """Share of an item's box that another one's box may cover when it is placed."""
    least_visible: float = 0.3
    """An item of which a smaller share of its area can be seen is taken out of the scene."""
    plain: float = 0.15
    """Share of scenes on one colour or a gradient instead of clutter."""
    chroma: float = 0.35
    """How far the colours of backgrounds and occluders are from grey, at most; 0: all of them are grey."""
    occluders: int = 2
    """Up to this many strips and blobs lie over the items."""
    item_gain: tuple[float, float] = (0.75, 1.2)
    """Brightness of each item relative to its shop picture."""
    shadow: float = 0.5
    """Largest darkness of the soft shadow below an item, 0..1."""

    def __post_init__(self) -> None:
        CameraSettings.__post_init__(self)
        check_ranges(self, ("aspect", "size"), above_0=True)
        check_ranges(self, ("item_gain",))
        check_shares(self, ("empty", "same", "any_rotation", "flip", "beyond", "overlap", "least_visible"))
        check_shares(self, ("plain", "chroma", "shadow"))
        if self.most_items < 1 or self.stretch < 1 or self.occluders < 0:
            given = f"most_items={self.most_items}, stretch={self.stretch}, occluders={self.occluders}"
            raise ValueError(f"expected most_items >= 1, stretch >= 1 and occluders >= 0, got {given}")


AS_TAKEN = SceneSettings(
    same=0.0,
    empty=0.0,
    flip=0.0,
    any_rotation=0.0,
    rotation_deg=10.0,
    stretch=1.0,
    size=(0.25, 0.8),
    item_gain=(0.9, 1.1),
    scene_gain=(0.8, 1.1),
    cast=0.03,
    occluders=1,
)
"""As a shopper takes a photo: products upright and not mirrored, in fair light. What is trained on is wilder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture and what is in it."""

    pixel_HWC: np.ndarray
    """uint8 RGB; the longer side is as asked for."""
    box_N4: np.ndarray
    """float32: left, top, right, bottom as shares 0..1 of the scene, around what is visible of the item."""
    cutout_N: np.ndarray
    """int64: which of the cutouts each box shows."""
    visible_N: np.ndarray
    """float32: share of the item's own area that is neither hidden nor beyond the scene's edges, 0..1."""


def compose(
    cutouts: Sequence[np.ndarray],
    clutter: Sequence[np.ndarray],
    *,
    side: int,
    random: np.random.Generator,
    settings: SceneSettings | None = None,
    items: int | None = None,
) -> Scene:
    """One scene.

    Args:
        cutouts: uint8 RGBA (h, w, 4), as `cutouts.cut_out` returns; without any, all scenes are empty.
        clutter: uint8 RGB (h, w, 3) of any sizes, whose close-ups become backgrounds; may be empty.
        side: the scene's longer side in pixels.
        random: the source of all randomness; equal state and input give an equal scene.
        settings: how wild.
        items: how many items; fewer only if no place is found for one or too little of it can be seen.

    Returns:
        Picture and boxes; the items in the order in which they were laid down, so later ones hide earlier ones.

    Raises:
        ValueError: `side` is below 1 or `items` negative.
    """
    if side < 1 or (items or 0) < 0:
        raise ValueError(f"expected side >= 1 and items >= 0, got side={side}, items={items}")
    chosen = settings or SceneSettings()
    aspect = _log_uniform(chosen.aspect, random)
    width, height = max(1, round(side * min(1, aspect))), max(1, round(side / max(1, aspect)))
    studio = _Studio((width, height), chosen, random)
    layers = studio.placed(cutouts, studio.numbers(len(cutouts), items))
    backdrop = Backdrop(studio.size, chosen.chroma, random)
    over = studio.occluders(layers, backdrop)
    layers, owner_HW, visible_N = seen(layers, over, studio.size, chosen.least_visible)
    scene = backdrop.background(clutter, plain=chosen.plain)
    for layer in [*layers, *over]:
        studio.shade(scene, layer)
        scene.paste(layer.image, (layer.left, layer.top), layer.image)
    found = ndimage.find_objects(owner_HW, max_label=len(layers))
    box_N4 = np.array([(x.start, y.start, x.stop, y.stop) for y, x in found], np.float32).reshape(-1, 4)
    return Scene(
        pixel_HWC=photographed(scene, chosen, random),
        box_N4=box_N4 / np.array([width, height, width, height], np.float32),
        cutout_N=np.array([layer.cutout for layer in layers], np.int64),
        visible_N=visible_N,
    )


def _log_uniform(bounds: tuple[float, float], random: np.random.Generator) -> float:
    return math.exp(random.uniform(math.log(bounds[0]), math.log(bounds[1])))


@dataclass(frozen=True, slots=True)
class _Studio:
    """What every step of one scene needs."""

    size: tuple[int, int]
    """Width and height of the scene in pixels."""
    chosen: SceneSettings
    random: np.random.Generator

    def numbers(self, count: int, items: int | None) -> list[int]:
        """Which of `count` cutouts the scene is to hold; few are more likely than many."""
        if items is None:
            is_empty = self.random.random() < self.chosen.empty
            items = 0 if is_empty else 1 + int(self.chosen.most_items * self.random.random() ** 1.5)
        if count == 0 or items == 0:
            return []
        drawn = self.random.integers(count, size=items).tolist()
        return [drawn[0]] * items if self.random.random() < self.chosen.same else drawn

    def placed(self, cutouts: Sequence[np.ndarray], numbers: Sequence[int]) -> list[Layer]:
        """The items one upon the other, each where it covers little enough of the earlier ones."""
        layers: list[Layer] = []
        low, high = self.chosen.size
        high = min(high, max(low, CROWD / math.sqrt(max(1, len(numbers)))))
        for number in numbers:
            share = _log_uniform((low, high), self.random)
            layer = self.item(cutouts[number], number, share * max(self.size), layers)
            if layer is not None:
                layers.append(layer)
        return layers

    def item(self, cutout: np.ndarray, number: int, longest: float, others: Sequence[Layer]) -> Layer | None:
        """A cutout mirrored, turned, scaled to at most `longest` pixels and relit, if there is room for it."""
        chosen, random = self.chosen, self.random
        most = 180.0 if random.random() < chosen.any_rotation else chosen.rotation_deg
        angle = random.uniform(-most, most)
        stretch = math.sqrt(_log_uniform((1 / chosen.stretch, chosen.stretch), random))
        width, height = cutout.shape[1] * stretch, cutout.shape[0] / stretch
        cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
        turned = np.array([width * cos + height * sin, width * sin + height * cos])
        scale = min(longest / max(width, height), *(self.size / turned))
        for _ in range(PLACES):
            beyond = chosen.beyond * turned * scale
            corner = random.uniform(-beyond, np.maximum(self.size - turned * scale, 0) + beyond)
            if all(overlap(corner, turned * scale, other) <= chosen.overlap for other in others):
                break
            scale *= 0.92
        else:
            return None
        gain_C = random.uniform(*chosen.item_gain) * random.uniform(1 - chosen.cast, 1 + chosen.cast, 3)
        image = Image.fromarray(cutout)
        if random.random() < chosen.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = image.convert("RGBa").resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        if angle:
            image = image.rotate(angle, Image.Resampling.BILINEAR, expand=True)
        pixel_HWC = np.array(image.convert("RGBA"))
        pixel_HWC[:, :, :3] = np.minimum(pixel_HWC[:, :, :3] * gain_C.astype(np.float32) + 0.5, 255)
        return tight_layer(Image.fromarray(pixel_HWC), round(corner[0]), round(corner[1]), number)

    def shade(self, scene: Image.Image, layer: Layer) -> None:
        """A soft shadow beside and below a layer that is about to be laid down."""
        reach = max(4, round(0.12 * max(layer.image.size)))
        dark = Image.new("L", ((layer.image.width + 2 * reach) // 2, (layer.image.height + 2 * reach) // 2))
        small = layer.image.getchannel("A").reduce(2)
        dark.paste(round(255 * self.random.uniform(0, self.chosen.shadow)), (reach // 2, reach // 2), small)
        dark = dark.filter(ImageFilter.BoxBlur(reach / 4)).resize((dark.width * 2, dark.height * 2))
        x, y = up_to(reach, self.random) - reach // 2, up_to(reach // 2, self.random)
        scene.paste((0, 0, 0), (layer.left - reach + x, layer.top - reach + y), dark)

    def occluders(self, layers: Sequence[Layer], backdrop: Backdrop) -> list[Layer]:
        """Strips and blobs, each over an item."""
        count = up_to(self.chosen.occluders, self.random) if layers else 0
        hidden = [layers[up_to(len(layers) - 1, self.random)] for _ in range(count)]
        centres = [self.random.random(2) * item.image.size + (item.left, item.top) for item in hidden]
        return [layer for layer in map(backdrop.strips, centres) if layer is not None]
