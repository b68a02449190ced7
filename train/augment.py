"""The changes to pictures on their way into a training step, which bridge the shop and the street.

Pictures come whole, as wide as the recipe's `resize`; each step cuts the network's square out of them anew: moved,
scaled, turned, mirrored, with other light and colours, much so for street photos and a little for shop pictures.
Batched tensor work, on whatever device the pictures are. `platform/views.py` makes whole synthetic photos; this only
changes what is there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# B batch, C channels (RGB), H height, W width, S side of the cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How much a picture may change. Every range is drawn from uniformly, once per picture."""

    area: float
    """The smallest share of the picture's area that is cut out, 0..1; the largest is all of it."""
    stretch: float
    """The cut's sides differ by a factor of up to e to this power."""
    turn_rad: float
    """Turned by up to this angle either way."""
    light: float
    """Brightness, contrast and saturation change by up to this share, each colour channel by a quarter of it."""
    mirror: bool = True

    def scaled(self, strength: float) -> Change:
        """The same change weaker (below 1) or stronger; 0 leaves a picture as it is, but for the central cut."""
        return dataclasses.replace(
            self,
            area=max(0.1, 1 - (1 - self.area) * strength),
            stretch=self.stretch * strength,
            turn_rad=self.turn_rad * strength,
            light=min(0.9, self.light * strength),
            mirror=self.mirror and strength > 0,
        )


STREET = Change(area=0.5, stretch=0.2, turn_rad=0.25, light=0.3)
SHOP = Change(area=0.85, stretch=0.1, turn_rad=0.0, light=0.1)


def central(image_BCHW: Tensor, side: int) -> Tensor:
    """The square of `side` in the middle, just as the encoder's preprocessing cuts it."""
    top, left = (image_BCHW.shape[2] - side) // 2, (image_BCHW.shape[3] - side) // 2
    return image_BCHW[:, :, top : top + side, left : left + side]


def changed(image_BCHW: Tensor, side: int, change: Change, *, generator: torch.Generator) -> Tensor:
    """A changed cut of each picture.

    Args:
        image_BCHW: uint8 RGB.
        side: of the cut, in pixels.
        generator: the source of all randomness; equal state and input give an equal result.

    Returns:
        uint8, (B, 3, side, side).
    """
    if change == change.scaled(0):
        return central(image_BCHW, side)
    batch, device = len(image_BCHW), image_BCHW.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand((batch, *shape), generator=generator, device=generator.device)
        return (drawn * (high - low) + low).to(device)

    cut_B23 = _cuts(change, uniform)
    grid_BSS2 = F.affine_grid(cut_B23, [batch, 3, side, side], align_corners=False)
    cut_BCSS = F.grid_sample(image_BCHW.float() / 255, grid_BSS2, padding_mode="reflection", align_corners=False)
    for centre_of in (_black, _mean, _grey):  # brightness, contrast, saturation
        centre = centre_of(cut_BCSS)
        cut_BCSS = centre + (cut_BCSS - centre) * uniform(1 - change.light, 1 + change.light, 1, 1, 1)
    cut_BCSS = cut_BCSS * uniform(1 - change.light / 4, 1 + change.light / 4, 3, 1, 1)
    return (cut_BCSS.clamp(0, 1) * 255).round().to(torch.uint8)


def _cuts(change: Change, uniform: object) -> Tensor:
    """The affine maps from the cut's to the picture's coordinates (-1..1): (B, 2, 3)."""
    assert callable(uniform)
    size_B, stretch_B = uniform(change.area, 1).sqrt(), uniform(-change.stretch / 2, change.stretch / 2).exp()
    width_B, height_B = (size_B * stretch_B).clamp(max=1), (size_B / stretch_B).clamp(max=1)
    x_B, y_B = uniform(-1, 1) * (1 - width_B), uniform(-1, 1) * (1 - height_B)
    angle_B = uniform(-change.turn_rad, change.turn_rad)
    side_B = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if change.mirror else torch.ones_like(angle_B)
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    across_B3 = torch.stack([width_B * cos_B * side_B, -height_B * sin_B, x_B], dim=1)
    down_B3 = torch.stack([width_B * sin_B * side_B, height_B * cos_B, y_B], dim=1)
    return torch.stack([across_B3, down_B3], dim=1)


def _black(image_BCHW: Tensor) -> Tensor:
    return torch.zeros_like(image_BCHW[:, :, :1, :1])


def _mean(image_BCHW: Tensor) -> Tensor:
    return image_BCHW.mean(dim=(1, 2, 3), keepdim=True)


def _grey(image_BCHW: Tensor) -> Tensor:
    return image_BCHW.mean(dim=1, keepdim=True)
