"""Pattern and texture as an embedding: no learning, only how much there is of which stripe width and direction.

A bank of oriented filters over a pyramid of the luminance: at four scales and six directions, how strongly does the
picture oscillate? Contrast is first divided by the local contrast, so that a fine weave counts as much as a hard edge
and light and shade do not count at all. For each cell of a coarse grid the energies become shares of a whole, to which
plainness belongs as a share of its own: a plain shirt is near another plain shirt, not near nothing. Stripes put their
share into one direction, checks into two, dots and prints into all. The square root of the shares makes the inner
product of two embeddings the mean Bhattacharyya coefficient of their cells. Some 4 ms for an image of 224 pixels on
one core.

Source: Manjunath and Ma, "Texture Features for Browsing and Retrieval of Image Data" (1996), whose filters these are
(Gabor, half-octave bandwidth, octave steps); Malik and Perona, "Preattentive texture discrimination with early vision
mechanisms" (1990) for local contrast normalisation; Arandjelovic and Zisserman (2012) for the square root. It stands
for the VisNet paper's PatternNet (arXiv:1703.02344, section 4.1), whose training labels are not public.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from visnet.platform.imaging import Preprocessing

# B batch, C channels, H height, W width, S scales, O orientations, F filters, D embedding

KERNEL = 13
WAVELENGTH = 4.5
"""In pixels of a level of the pyramid; on the picture itself it doubles with every level."""
SIGMA = 2.5
LEAST = 8
"""Side in pixels of the smallest level; its reflection at the border has to fill half a filter."""
WINDOW = 15
"""Side in pixels of the surroundings that contrast is measured against."""
NOISE = 0.03
"""Contrast, on the scale 0..1, that counts as half: sensor noise and JPEG's blocks are below it."""
PLAINNESS = 0.6
"""Sum of the energies at which a cell is half plain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture:
    """Which directions and scales the picture's pattern has, by the cells of a coarse grid."""

    name: ClassVar[str] = "texture"

    image_size: int = 224
    """Side in pixels of the square that is looked at; with the defaults at least 107."""
    scales: int = 4
    """Levels of the pyramid, each of half the size of the one before."""
    orientations: int = 6
    """Directions, evenly spread over the half circle; at least 2."""
    grid: int = 2
    """Shares are made for each of grid x grid cells: 1 ignores where a pattern is."""
    centre: float = 0.6
    """Share of each side, in the middle, that is looked at, above 0 to 1: the floor beside a shirt has patterns too."""

    def __post_init__(self) -> None:
        for field, least in (("scales", 1), ("orientations", 2), ("grid", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"expected {field} >= {least}, got {getattr(self, field)}")
        if not 0 < self.centre <= 1:
            raise ValueError(f"expected centre above 0 to 1, got {self.centre}")
        least = math.ceil(LEAST * 2 ** (self.scales - 1) / self.centre)
        if self.image_size < max(least, self.grid):
            raise ValueError(f"expected image_size >= {least} for {self.scales} scales, got {self.image_size}")

    @property
    def dimension(self) -> int:
        return self.grid**2 * (self.scales * self.orientations + 1)

    @property
    def preprocessing(self) -> Preprocessing:
        unscaled = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        return Preprocessing(resize=self.image_size, crop=self.image_size, **unscaled)

    def build(self) -> nn.Module:
        return TextureNetwork(scales=self.scales, orientations=self.orientations, grid=self.grid, centre=self.centre)


class TextureNetwork(nn.Module):
    """`image_BCHW` (sRGB, 0..1) -> square roots of the shares of scales and directions, float32, unit length.

    Of length D = grid * grid * (S * O + 1), the last share of each cell its plainness; every cell weighs the same.
    """

    def __init__(self, *, scales: int, orientations: int, grid: int, centre: float) -> None:
        super().__init__()
        self.scales, self.grid, self.centre = scales, grid, centre
        self.register_buffer("filter_F1HW", gabor_bank(orientations))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        level_B1HW = luminance(middle(image_BCHW, self.centre).float())
        energies = []
        for scale in range(self.scales):
            if scale:
                level_B1HW = nn.functional.avg_pool2d(level_B1HW, 2)
            energy_BOHW = self._energy(local_contrast(level_B1HW))
            energies.append(nn.functional.adaptive_avg_pool2d(energy_BOHW, self.grid))
        energy_BFHW = torch.cat(energies, dim=1)
        whole_B1HW = energy_BFHW.sum(dim=1, keepdim=True) + PLAINNESS
        share_BFHW = torch.cat([energy_BFHW, torch.full_like(whole_B1HW, PLAINNESS)], dim=1) / whole_B1HW
        return (share_BFHW.flatten(1) / self.grid**2).sqrt()

    def _energy(self, contrast_B1HW: Tensor) -> Tensor:
        """The amplitude of the oscillation in each direction, wherever in its period: (B, O, H, W)."""
        bank_F1HW = cast(Tensor, self.filter_F1HW)
        padded = nn.functional.pad(contrast_B1HW, (KERNEL // 2,) * 4, mode="reflect")
        even_BOHW, odd_BOHW = nn.functional.conv2d(padded, bank_F1HW).chunk(2, dim=1)
        return (even_BOHW.square() + odd_BOHW.square() + 1e-12).sqrt()


def middle(image_BCHW: Tensor, share: float) -> Tensor:
    """The square in the middle of square pictures, with `share` of their side."""
    side = image_BCHW.shape[-1]
    kept = math.ceil(share * side)
    first = (side - kept) // 2
    return image_BCHW[..., first : first + kept, first : first + kept]


def luminance(image_BCHW: Tensor) -> Tensor:
    """sRGB, 0..1 -> its luma (Rec. 601), (B, 1, H, W)."""
    weight_C11 = image_BCHW.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    return (image_BCHW * weight_C11).sum(dim=1, keepdim=True)


def local_contrast(level_B1HW: Tensor) -> Tensor:
    """How far each pixel is from its surroundings, in units of how much those vary: about -2..2, 0 where plain."""
    off_B1HW = level_B1HW - surroundings(level_B1HW)
    return off_B1HW * torch.rsqrt(surroundings(off_B1HW.square()) + NOISE**2)


def surroundings(level_B1HW: Tensor) -> Tensor:
    """The mean of the WINDOW x WINDOW pixels around each, fewer at the border; by rows, then by columns."""
    half = WINDOW // 2
    for side, padding in (((WINDOW, 1), (half, 0)), ((1, WINDOW), (0, half))):
        level_B1HW = nn.functional.avg_pool2d(level_B1HW, side, stride=1, padding=padding, count_include_pad=False)
    return level_B1HW


def gabor_bank(orientations: int) -> Tensor:
    """Even filters, then odd ones, each of mean 0 and of gain 1 on its own wave: (2 * O, 1, KERNEL, KERNEL).

    Orientation 0 answers to a change from left to right, so to upright stripes; the angle grows towards the top.
    """
    axis = torch.arange(KERNEL) - KERNEL // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    envelope = torch.exp(-(x**2 + y**2) / (2 * SIGMA**2))
    filters = []
    for phase in (0.0, -math.pi / 2):
        for number in range(orientations):
            angle = math.pi * number / orientations
            along = x * math.cos(angle) - y * math.sin(angle)
            wave = torch.cos(2 * math.pi * along / WAVELENGTH + phase)
            weight = envelope * wave
            weight = weight - envelope * (weight.sum() / envelope.sum())
            filters.append(weight / (weight * wave).sum())
    return torch.stack(filters)[:, None]
