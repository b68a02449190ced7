"""Composed scenes: products cut out of their shop pictures, laid on clutter, with the box of each for free.

A detector needs photos with boxes around the products, and a shop has none. It has pictures on a plain background,
which `cutouts` frees of it; here several are laid over a cluttered background, turned, scaled, relit, partly hidden
and blurred. Where each one is, and how much of it can be seen, is known to the pixel. What a detector learns from
such scenes is to be measured on real photos. A scene of 256 pixels costs about 7 ms, one of 128 about 4 ms.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage  # type: ignore[import-untyped]

# H height, W width, C channels (RGB), N items that are visible, 4 left, top, right, bottom

OPAQUE = 128
"""From this opacity on a pixel of a cutout belongs to the item and hides what is below it."""
PLACES = 12
"""How often a place is sought for an item, each time a little smaller, before the scene goes without it."""
SHARES = (
    *("empty", "same", "any_rotation", "flip", "beyond", "overlap", "least_visible", "plain", "chroma"),
    *("cast", "light", "shadow", "blur", "blur_radius", "noise"),
)
"""Fields of the settings that lie within 0..1."""
CROWD = 1.4
"""The largest items of a scene of n items are at most this / sqrt(n) of its longer side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSettings:
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
    scene_gain: tuple[float, float] = (0.55, 1.2)
    """Brightness of the whole scene."""
    cast: float = 0.1
    """Each colour channel's gain differs by up to this, for each item and once more for the scene."""
    light: float = 0.35
    """The light falls or rises across the scene by up to this share."""
    shadow: float = 0.5
    """Largest darkness of the soft shadow below an item, 0..1."""
    blur: float = 0.5
    """Share of scenes that are out of focus or moved, in equal parts."""
    blur_radius: float = 0.006
    """Largest radius of the blur relative to the scene's longer side."""
    noise: float = 0.04
    """Largest standard deviation of the noise, on the scale 0..1."""
    jpeg: tuple[int, int] = (35, 95)
    """Quality of the JPEG that the scene goes through; (0, 0): none."""

    def __post_init__(self) -> None:
        for name in ("aspect", "size", "item_gain", "scene_gain", "jpeg"):
            low, high = getattr(self, name)
            if not 0 <= low <= high or (low == 0 and name in ("aspect", "size")):
                raise ValueError(f"expected {name} as (low, high) with 0 < low <= high, got {(low, high)}")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected {name} to be a share, 0..1, got {getattr(self, name)}")
        if self.most_items < 1 or self.stretch < 1 or self.occluders < 0:
            given = f"most_items={self.most_items}, stretch={self.stretch}, occluders={self.occluders}"
            raise ValueError(f"expected most_items >= 1, stretch >= 1 and occluders >= 0, got {given}")


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
    over = studio.occluders(layers)
    layers, owner_HW, visible_N = _seen(layers, over, studio.size, chosen.least_visible)
    scene = studio.background(clutter)
    for layer in [*layers, *over]:
        studio.shade(scene, layer)
        scene.paste(layer.image, (layer.left, layer.top), layer.image)
    found = ndimage.find_objects(owner_HW, max_label=len(layers))
    box_N4 = np.array([(x.start, y.start, x.stop, y.stop) for y, x in found], np.float32).reshape(-1, 4)
    return Scene(
        pixel_HWC=studio.photographed(scene),
        box_N4=box_N4 / np.array([width, height, width, height], np.float32),
        cutout_N=np.array([layer.cutout for layer in layers], np.int64),
        visible_N=visible_N,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """An item or an occluder, and where its top left corner lies in the scene, in pixels."""

    image: Image.Image
    left: int
    top: int
    opaque_HW: np.ndarray
    cutout: int = -1
    """Which of the cutouts; -1: an occluder."""


def _layer(image: Image.Image, left: int, top: int, cutout: int = -1) -> _Layer | None:
    """Cut down to what is opaque; None if nothing is."""
    opaque_HW = np.asarray(image.getchannel("A")) >= OPAQUE
    found = ndimage.find_objects(opaque_HW.view(np.uint8))
    if not found:
        return None
    rows, columns = found[0]
    tight = image.crop((columns.start, rows.start, columns.stop, rows.stop))
    return _Layer(tight, left + columns.start, top + rows.start, opaque_HW[rows, columns], cutout)


def _seen(
    layers: Sequence[_Layer], over: Sequence[_Layer], size: tuple[int, int], least: float
) -> tuple[list[_Layer], np.ndarray, np.ndarray]:
    """The items of which enough can be seen, their number (from 1) at each of their pixels, their visible share.

    The least visible item is taken out first: without it, enough may be seen of another.
    """
    layers = list(layers)
    while True:
        owner_HW = np.zeros((size[1], size[0]), np.int16)
        for number, layer in enumerate([*layers, *over], start=1):
            top, left = max(layer.top, 0), max(layer.left, 0)
            part_HW = layer.opaque_HW[top - layer.top : size[1] - layer.top, left - layer.left : size[0] - layer.left]
            owned_HW = owner_HW[top : top + part_HW.shape[0], left : left + part_HW.shape[1]]
            owned_HW[part_HW] = number if number <= len(layers) else 0
        seen_N = np.bincount(owner_HW.ravel(), minlength=len(layers) + 1)[1:]
        visible_N = (seen_N / np.array([layer.opaque_HW.sum() for layer in layers])).astype(np.float32)
        if not layers or visible_N.min() >= max(least, 1e-6):
            return layers, owner_HW, visible_N
        del layers[int(visible_N.argmin())]


def _log_uniform(bounds: tuple[float, float], random: np.random.Generator) -> float:
    return math.exp(random.uniform(math.log(bounds[0]), math.log(bounds[1])))


@dataclass(frozen=True, slots=True)
class _Studio:
    """What every step of one scene needs."""

    size: tuple[int, int]
    """Width and height of the scene in pixels."""
    chosen: SceneSettings
    random: np.random.Generator

    def up_to(self, most: int) -> int:
        return int(self.random.integers(most + 1))

    def numbers(self, count: int, items: int | None) -> list[int]:
        """Which of `count` cutouts the scene is to hold; few are more likely than many."""
        if items is None:
            is_empty = self.random.random() < self.chosen.empty
            items = 0 if is_empty else 1 + int(self.chosen.most_items * self.random.random() ** 1.5)
        if count == 0 or items == 0:
            return []
        drawn = self.random.integers(count, size=items).tolist()
        return [drawn[0]] * items if self.random.random() < self.chosen.same else drawn

    def placed(self, cutouts: Sequence[np.ndarray], numbers: Sequence[int]) -> list[_Layer]:
        """The items one upon the other, each where it covers little enough of the earlier ones."""
        layers: list[_Layer] = []
        low, high = self.chosen.size
        high = min(high, max(low, CROWD / math.sqrt(max(1, len(numbers)))))
        for number in numbers:
            share = _log_uniform((low, high), self.random)
            layer = self.item(cutouts[number], number, share * max(self.size), layers)
            if layer is not None:
                layers.append(layer)
        return layers

    def item(self, cutout: np.ndarray, number: int, longest: float, others: Sequence[_Layer]) -> _Layer | None:
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
            if all(_overlap(corner, turned * scale, other) <= chosen.overlap for other in others):
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
        return _layer(Image.fromarray(pixel_HWC), round(corner[0]), round(corner[1]), number)

    def shade(self, scene: Image.Image, layer: _Layer) -> None:
        """A soft shadow beside and below a layer that is about to be laid down."""
        reach = max(4, round(0.12 * max(layer.image.size)))
        dark = Image.new("L", ((layer.image.width + 2 * reach) // 2, (layer.image.height + 2 * reach) // 2))
        small = layer.image.getchannel("A").reduce(2)
        dark.paste(round(255 * self.random.uniform(0, self.chosen.shadow)), (reach // 2, reach // 2), small)
        dark = dark.filter(ImageFilter.BoxBlur(reach / 4)).resize((dark.width * 2, dark.height * 2))
        x, y = self.up_to(reach) - reach // 2, self.up_to(reach // 2)
        scene.paste((0, 0, 0), (layer.left - reach + x, layer.top - reach + y), dark)

    def occluders(self, layers: Sequence[_Layer]) -> list[_Layer]:
        """Strips and blobs, each over an item."""
        count = self.up_to(self.chosen.occluders) if layers else 0
        hidden = [layers[self.up_to(len(layers) - 1)] for _ in range(count)]
        centres = [self.random.random(2) * item.image.size + (item.left, item.top) for item in hidden]
        return [layer for layer in map(self.strips, centres) if layer is not None]

    def strips(self, centre: np.ndarray) -> _Layer | None:
        """One to four strips with round ends side by side: a rail, a hand's fingers; short ones are blobs."""
        random, longer = self.random, max(self.size)
        angle, length = random.uniform(0, math.tau), longer * random.uniform(0, 0.3)
        width = max(3, round(longer * random.uniform(0.02, 0.1)))
        along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
        mask = Image.new("L", self.size)
        draw = ImageDraw.Draw(mask)
        for number in range(1 + self.up_to(1) * self.up_to(3)):
            start = centre + across * width * number
            length *= random.uniform(0.7, 1.2)
            draw.line([*start, *(start + along * length)], fill=255, width=width)
            for x, y in (start, start + along * length):
                draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
        left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
        image = self.texture((right - left, bottom - top), finest=6)
        image.putalpha(mask.crop((left, top, right, bottom)))
        return _layer(image, left, top)

    def background(self, clutter: Sequence[np.ndarray]) -> Image.Image:
        """A colour or a gradient; or texture and close-ups of other pictures, in rectangles and under strips."""
        if self.random.random() < self.chosen.plain:
            return self.texture(self.size, finest=2)
        scene = self.backdrop(clutter, self.size)
        for _ in range(self.up_to(5)):
            left, top = (self.random.uniform(-0.1, 0.8, 2) * self.size).astype(int).tolist()
            width, height = (self.random.uniform(0.1, 0.6, 2) * self.size).astype(int).tolist()
            patch = self.backdrop(clutter, (width + 1, height + 1))
            scene.paste(patch, (left, top), Image.new("L", patch.size, 80 + self.up_to(175)))
        for _ in range(self.up_to(3)):
            strips = self.strips(self.random.random(2) * self.size)
            if strips is not None:
                scene.paste(strips.image, (strips.left, strips.top), strips.image)
        return scene

    def backdrop(self, clutter: Sequence[np.ndarray], size: tuple[int, int]) -> Image.Image:
        use_clutter = len(clutter) > 0 and self.random.random() < 0.6
        return self.close_up(clutter[self.up_to(len(clutter) - 1)], size) if use_clutter else self.texture(size)

    def close_up(self, pixel_HWC: np.ndarray, size: tuple[int, int]) -> Image.Image:
        """A small part of a picture, turned, recoloured and much enlarged from few pixels: no product can be told."""
        random = self.random
        side = max(1, int(min(pixel_HWC.shape[:2]) * random.uniform(0.08, 0.3)))
        y, x = (self.up_to(whole - side) for whole in pixel_HWC.shape[:2])
        part_HWC = pixel_HWC[y : y + side, x : x + side]
        if random.random() < 0.5:
            part_HWC = part_HWC[:, :, random.permutation(3)]
        detail = 12 + self.up_to(40)
        part = Image.fromarray(np.ascontiguousarray(part_HWC)).resize((detail, detail), Image.Resampling.BOX)
        part = part.rotate(random.uniform(0, 360), Image.Resampling.BILINEAR)
        inside = (0.15 * detail, 0.15 * detail, 0.85 * detail, 0.85 * detail)
        return part.resize(size, Image.Resampling.BICUBIC, box=inside)

    def texture(self, size: tuple[int, int], finest: int = 32) -> Image.Image:
        """Blotches, stripes, wood or tiles: a few columns and rows of shades of one colour, enlarged."""
        random = self.random
        long, short = 1 + self.up_to(finest - 1), 1 + self.up_to(min(finest - 1, 3))
        columns, rows = [(long, short), (short, long), (long, long), (short, short)][self.up_to(3)]
        contrast, chroma = random.uniform(0, 90), self.chosen.chroma
        tone_HWC = random.uniform(20, 235) + random.uniform(-1, 1, 3) * (255 * chroma * random.random())
        tone_HWC = tone_HWC + random.normal(0, contrast / 2, (rows, columns, 1))
        tone_HWC = tone_HWC + random.normal(0, contrast * chroma / 2, (rows, columns, 3))
        sharp = min(columns, rows) < 5 and random.random() < 0.4
        sampling = Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC
        return Image.fromarray(tone_HWC.clip(0, 255).astype(np.uint8)).resize(size, sampling)

    def photographed(self, scene: Image.Image) -> np.ndarray:
        """What a camera makes of the scene: blur, light, noise and a JPEG."""
        chosen, random = self.chosen, self.random
        if random.random() < chosen.blur:
            radius = max(self.size) * random.uniform(0, chosen.blur_radius)
            scene = scene.filter(
                ImageFilter.BoxBlur([(radius, radius), (2 * radius, 0), (0, 2 * radius)][self.up_to(2)])
            )
        gain_C = random.uniform(*chosen.scene_gain) * random.uniform(1 - chosen.cast, 1 + chosen.cast, 3)
        x, y = random.uniform(-chosen.light / 2, chosen.light / 2, 2)
        light_HW = 1 + np.linspace(-x, x, scene.width) + np.linspace(-y, y, scene.height)[:, None]
        pixel_CHW = np.asarray(scene).transpose(2, 0, 1).astype(np.float32, order="C")
        pixel_CHW *= gain_C.astype(np.float32)[:, None, None] * light_HW.astype(np.float32)
        noise = random.standard_normal(light_HW.size + 2 * 997, np.float32) * (255 * random.uniform(0, chosen.noise))
        for channel, pixel_HW in enumerate(pixel_CHW):  # one draw for all three, shifted: drawing is what takes time
            pixel_HW += noise[channel * 997 :][: light_HW.size].reshape(light_HW.shape)
        pixel_HWC = np.ascontiguousarray((pixel_CHW + 0.5).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        return (
            pixel_HWC
            if chosen.jpeg[1] == 0
            else _through_jpeg(pixel_HWC, int(random.integers(*chosen.jpeg, endpoint=True)))
        )


def _through_jpeg(pixel_HWC: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixel_HWC).save(buffer, format="JPEG", quality=quality)
    return np.array(Image.open(buffer, formats=["JPEG"]))


def _overlap(corner: np.ndarray, extent: np.ndarray, other: _Layer) -> float:
    """Share of the smaller of two rectangles that lies in the other."""
    low, own = np.array([other.left, other.top]), np.array(other.image.size)
    common = np.minimum(corner + extent, low + own) - np.maximum(corner, low)
    return float(np.prod(np.maximum(common, 0)) / min(np.prod(extent), np.prod(own)))
