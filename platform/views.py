"""Synthetic "wild" views of product pictures: what a shopper's photo does to a plain shop picture.

The product is cut from its plain background, turned, scaled, moved and relit, laid on a cluttered background made of
other pictures, partly covered and made noisy. Training uses such views as anchors, evaluation as queries (with its
own seed, and of products that training never saw); whatever is measured on them is to be reported as synthetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# B batch, C channels (RGB), H height, W width, M one mask channel


@dataclass(frozen=True, slots=True, kw_only=True)
class WildViewSettings:
    """How wild the views are. Every range is drawn from uniformly, once per picture."""

    rotation_deg: float = 25.0
    """Turned by up to this many degrees either way."""
    scale: tuple[float, float] = (0.6, 1.0)
    """Size of the product relative to the original."""
    shift: float = 0.15
    """Moved by up to this share of the picture's side, in x and in y."""
    clutter: tuple[float, float] = (0.2, 0.7)
    """Strength of the background, 0 (black) to 1 (as bright as the pictures it is made of)."""
    cover: tuple[float, float] = (0.2, 0.45)
    """Side of the square that covers a part of the picture, relative to the picture's side."""
    gain: tuple[float, float] = (0.7, 1.2)
    """Brightness of the product relative to the original."""
    noise: float = 0.06
    """Largest standard deviation of the noise, on the scale 0..1."""
    foreground_threshold: float = 0.06
    """A pixel belongs to the product if a channel differs from the border's median by more than this (0..1)."""


def wild_views(image_BCHW: Tensor, *, generator: torch.Generator, settings: WildViewSettings | None = None) -> Tensor:
    """One wild view of each picture of a batch.

    Args:
        image_BCHW: uint8 RGB on a plain background. Pictures of the batch serve as each other's clutter, so a batch
            of one gets itself as background.
        generator: the source of all randomness; equal state and input give an equal result.
        settings: how wild.

    Returns:
        uint8, the input's shape.
    """
    chosen = settings or WildViewSettings()
    device = image_BCHW.device
    image_BCHW = image_BCHW.float() / 255
    mask_BMHW = foreground_mask(image_BCHW, chosen.foreground_threshold)
    batch = len(image_BCHW)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand((batch, *shape), generator=generator, device=generator.device)
        return (drawn * (high - low) + low).to(device)

    product_BCHW = image_BCHW * uniform(*chosen.gain, 1, 1, 1)
    layers_BCHW = _affine(
        torch.cat([product_BCHW, mask_BMHW], dim=1),
        angle_B=uniform(-chosen.rotation_deg, chosen.rotation_deg) * math.pi / 180,
        scale_B=uniform(*chosen.scale),
        shift_B2=uniform(-2 * chosen.shift, 2 * chosen.shift, 2),
    )
    product_BCHW, mask_BMHW = layers_BCHW[:, :3], layers_BCHW[:, 3:]
    others = torch.randperm(batch, generator=generator, device=generator.device).to(device)
    clutter_BCHW = _affine(  # a close-up of another picture: texture and edges, rarely a whole product
        image_BCHW[others],
        angle_B=uniform(-math.pi, math.pi),
        scale_B=uniform(1.5, 3.0),
        shift_B2=uniform(-0.8, 0.8, 2),
        padding="reflection",
    )
    blotches_BCHW = F.interpolate(uniform(0, 0.5, 1, 4, 4), size=image_BCHW.shape[2:], mode="bilinear")
    background_BCHW = (clutter_BCHW + blotches_BCHW) * uniform(*chosen.clutter, 1, 1, 1)
    view_BCHW = product_BCHW * mask_BMHW + background_BCHW * (1 - mask_BMHW)
    cover_BMHW = _squares(uniform(0, 1, 2), uniform(*chosen.cover), image_BCHW.shape[2], image_BCHW.shape[3])
    view_BCHW = torch.where(cover_BMHW, background_BCHW.roll(1, dims=0), view_BCHW)
    grain_BMHW = torch.randn(mask_BMHW.shape, generator=generator, device=generator.device).to(device)
    view_BCHW = view_BCHW + grain_BMHW * uniform(0, chosen.noise, 1, 1, 1)
    return (view_BCHW.clamp(0, 1) * 255).round().to(torch.uint8)


def foreground_mask(image_BCHW: Tensor, threshold: float) -> Tensor:
    """1 where a pixel differs from the median of the picture's border, else 0.

    Args:
        image_BCHW: float, 0..1, on a plain background.

    Returns:
        float, (B, 1, H, W).
    """
    border_BCN = torch.cat(
        [image_BCHW[:, :, 0], image_BCHW[:, :, -1], image_BCHW[:, :, :, 0], image_BCHW[:, :, :, -1]], dim=2
    )
    background_BC11 = border_BCN.median(dim=2).values[:, :, None, None]
    return ((image_BCHW - background_BC11).abs().amax(dim=1, keepdim=True) > threshold).float()


def _affine(
    image_BCHW: Tensor, *, angle_B: Tensor, scale_B: Tensor, shift_B2: Tensor, padding: str = "zeros"
) -> Tensor:
    """Turn by `angle_B` (radians), scale by `scale_B` and move by `shift_B2` (half sides), about the centre."""
    cos_B, sin_B = torch.cos(angle_B) / scale_B, torch.sin(angle_B) / scale_B
    rotation_B22 = torch.stack([torch.stack([cos_B, -sin_B], 1), torch.stack([sin_B, cos_B], 1)], 1)
    offset_B21 = -(rotation_B22 @ shift_B2[:, :, None])
    grid = F.affine_grid(torch.cat([rotation_B22, offset_B21], 2), list(image_BCHW.shape), align_corners=False)
    return F.grid_sample(image_BCHW, grid, padding_mode=padding, align_corners=False)


def _squares(corner_B2: Tensor, side_B: Tensor, height: int, width: int) -> Tensor:
    """True inside one square per picture: `side_B` and `corner_B2` are shares of the picture and of the free room."""
    low_B2 = corner_B2 * (1 - side_B[:, None])
    high_B2 = low_B2 + side_B[:, None]
    y_H = (torch.arange(height, device=side_B.device) + 0.5) / height
    x_W = (torch.arange(width, device=side_B.device) + 0.5) / width
    inside_y_BH = (y_H >= low_B2[:, :1]) & (y_H < high_B2[:, :1])
    inside_x_BW = (x_W >= low_B2[:, 1:]) & (x_W < high_B2[:, 1:])
    return (inside_y_BH[:, :, None] & inside_x_BW[:, None, :])[:, None]
