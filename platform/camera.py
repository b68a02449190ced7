"""What a camera makes of a scene: blur, light, noise and a JPEG."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

# H height, W width, C channels (RGB)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """How bad the photo is. Ranges are drawn from uniformly; shares are 0..1."""

    scene_gain: tuple[float, float] = (0.55, 1.2)
    """Brightness of the whole scene."""
    cast: float = 0.1
    """Each colour channel's gain differs by up to this; in a composed scene, each item's once more by itself."""
    light: float = 0.35
    """The light falls or rises across the scene by up to this share."""
    blur: float = 0.5
    """Share of scenes that are out of focus or moved, in equal parts."""
    blur_radius: float = 0.006
    """Largest radius of the blur relative to the scene's longer side."""
    noise: float = 0.04
    """Largest standard deviation of the noise, on the scale 0..1."""
    jpeg: tuple[int, int] = (35, 95)
    """Quality of the JPEG that the scene goes through; (0, 0): none."""

    def __post_init__(self) -> None:
        check_ranges(self, ("scene_gain", "jpeg"))
        check_shares(self, ("cast", "light", "blur", "blur_radius", "noise"))


def check_ranges(settings: object, names: Iterable[str], *, above_0: bool = False) -> None:
    """Raises ValueError where a field is no (low, high) of numbers from 0 on, or above it."""
    for name in names:
        low, high = getattr(settings, name)
        if not 0 <= low <= high or (low == 0 and above_0):
            least = "0 < low" if above_0 else "0 <= low"
            raise ValueError(f"expected {name} as (low, high) with {least} <= high, got {(low, high)}")


def check_shares(settings: object, names: Iterable[str]) -> None:
    """Raises ValueError where a field is not within 0..1."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"expected {name} to be a share, 0..1, got {getattr(settings, name)}")


def photographed(scene: Image.Image, chosen: CameraSettings, random: np.random.Generator) -> np.ndarray:
    """A photo of the scene, uint8 RGB (h, w, 3)."""
    if random.random() < chosen.blur:
        radius = max(scene.size) * random.uniform(0, chosen.blur_radius)
        blurs = [(radius, radius), (2 * radius, 0), (0, 2 * radius)]
        scene = scene.filter(ImageFilter.BoxBlur(blurs[int(random.integers(3))]))
    gain_C = random.uniform(*chosen.scene_gain) * random.uniform(1 - chosen.cast, 1 + chosen.cast, 3)
    x, y = random.uniform(-chosen.light / 2, chosen.light / 2, 2)
    light_HW = 1 + np.linspace(-x, x, scene.width) + np.linspace(-y, y, scene.height)[:, None]
    pixel_CHW = np.asarray(scene).transpose(2, 0, 1).astype(np.float32, order="C")
    pixel_CHW *= gain_C.astype(np.float32)[:, None, None] * light_HW.astype(np.float32)
    noise = random.standard_normal(light_HW.size + 2 * 997, np.float32) * (255 * random.uniform(0, chosen.noise))
    for channel, pixel_HW in enumerate(pixel_CHW):  # one draw for all three, shifted: drawing is what takes time
        pixel_HW += noise[channel * 997 :][: light_HW.size].reshape(light_HW.shape)
    pixel_HWC = np.ascontiguousarray((pixel_CHW + 0.5).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    if chosen.jpeg[1] == 0:
        return pixel_HWC
    return _through_jpeg(pixel_HWC, int(random.integers(*chosen.jpeg, endpoint=True)))


def _through_jpeg(pixel_HWC: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixel_HWC).save(buffer, format="JPEG", quality=quality)
    return np.array(Image.open(buffer, formats=["JPEG"]))
