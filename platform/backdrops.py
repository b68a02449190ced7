"""What is in a composed scene besides the items: cluttered backgrounds, and strips and blobs that hide a part of them.

Clutter is made of close-ups of other pictures, so much enlarged that no product can be told, and of textures that cost
a few random numbers each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from visnet.platform.layers import Layer, tight_layer

# H height, W width, C channels (RGB)


def up_to(most: int, random: np.random.Generator) -> int:
    """A whole number from 0 to `most`."""
    return int(random.integers(most + 1))


@dataclass(frozen=True, slots=True)
class Backdrop:
    """Makes what is no item, for one scene."""

    size: tuple[int, int]
    """Width and height of the scene in pixels."""
    chroma: float
    """How far colours are from grey, at most; 0..1."""
    random: np.random.Generator

    def background(self, clutter: Sequence[np.ndarray], *, plain: float) -> Image.Image:
        """A colour or a gradient; or texture and close-ups of other pictures, in rectangles and under strips.

        Args:
            clutter: uint8 RGB (h, w, 3) of any sizes; may be empty.
            plain: how likely it is a colour or a gradient, 0..1.
        """
        if self.random.random() < plain:
            return self._texture(self.size, finest=2)
        scene = self._patch(clutter, self.size)
        for _ in range(up_to(5, self.random)):
            left, top = (self.random.uniform(-0.1, 0.8, 2) * self.size).astype(int).tolist()
            width, height = (self.random.uniform(0.1, 0.6, 2) * self.size).astype(int).tolist()
            patch = self._patch(clutter, (width + 1, height + 1))
            scene.paste(patch, (left, top), Image.new("L", patch.size, 80 + up_to(175, self.random)))
        for _ in range(up_to(3, self.random)):
            strips = self.strips(self.random.random(2) * self.size)
            if strips is not None:
                scene.paste(strips.image, (strips.left, strips.top), strips.image)
        return scene

    def strips(self, centre: np.ndarray) -> Layer | None:
        """One to four strips with round ends side by side: a rail, a hand's fingers; short ones are blobs."""
        random, longer = self.random, max(self.size)
        angle, length = random.uniform(0, math.tau), longer * random.uniform(0, 0.3)
        width = max(3, round(longer * random.uniform(0.02, 0.1)))
        along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
        mask = Image.new("L", self.size)
        draw = ImageDraw.Draw(mask)
        for number in range(1 + up_to(1, random) * up_to(3, random)):
            start = centre + across * width * number
            length *= random.uniform(0.7, 1.2)
            draw.line([*start, *(start + along * length)], fill=255, width=width)
            for x, y in (start, start + along * length):
                draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
        left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
        image = self._texture((right - left, bottom - top), finest=6)
        image.putalpha(mask.crop((left, top, right, bottom)))
        return tight_layer(image, left, top)

    def _patch(self, clutter: Sequence[np.ndarray], size: tuple[int, int]) -> Image.Image:
        if len(clutter) > 0 and self.random.random() < 0.6:
            return close_up(clutter[up_to(len(clutter) - 1, self.random)], size, self.random)
        return self._texture(size)

    def _texture(self, size: tuple[int, int], finest: int = 32) -> Image.Image:
        """Blotches, stripes, wood or tiles: a few columns and rows of shades of one colour, enlarged."""
        random = self.random
        long, short = 1 + up_to(finest - 1, random), 1 + up_to(min(finest - 1, 3), random)
        columns, rows = [(long, short), (short, long), (long, long), (short, short)][up_to(3, random)]
        contrast, chroma = random.uniform(0, 90), self.chroma
        tone_HWC = random.uniform(20, 235) + random.uniform(-1, 1, 3) * (255 * chroma * random.random())
        tone_HWC = tone_HWC + random.normal(0, contrast / 2, (rows, columns, 1))
        tone_HWC = tone_HWC + random.normal(0, contrast * chroma / 2, (rows, columns, 3))
        sharp = min(columns, rows) < 5 and random.random() < 0.4
        sampling = Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC
        return Image.fromarray(tone_HWC.clip(0, 255).astype(np.uint8)).resize(size, sampling)


def close_up(pixel_HWC: np.ndarray, size: tuple[int, int], random: np.random.Generator) -> Image.Image:
    """A small part of a picture, turned, recoloured and much enlarged from few pixels: no product can be told."""
    side = max(1, int(min(pixel_HWC.shape[:2]) * random.uniform(0.08, 0.3)))
    y, x = (up_to(whole - side, random) for whole in pixel_HWC.shape[:2])
    part_HWC = pixel_HWC[y : y + side, x : x + side]
    if random.random() < 0.5:
        part_HWC = part_HWC[:, :, random.permutation(3)]
    detail = 12 + up_to(40, random)
    part = Image.fromarray(np.ascontiguousarray(part_HWC)).resize((detail, detail), Image.Resampling.BOX)
    part = part.rotate(random.uniform(0, 360), Image.Resampling.BILINEAR)
    inside = (0.15 * detail, 0.15 * detail, 0.85 * detail, 0.85 * detail)
    return part.resize(size, Image.Resampling.BICUBIC, box=inside)
