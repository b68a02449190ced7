"""VisNet's idea for pictures of 28 to 64 pixels: trains from scratch on two CPU cores in minutes.

A deep trunk sees the picture at full size; two shallow paths see it shrunk, with few layers, and keep what a deep
network forgets: plain colour, outline and coarse pattern. All three are fused into one unit vector.

Source: Shankar et al., "Deep Learning based Large Scale Visual Recommendation and Search for E-Commerce",
arXiv:1703.02344, section 3 (deep and shallow paths, fused by a linear layer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from visnet.platform.imaging import Preprocessing

# B batch, C channels, H height, W width, D embedding

GRID = 4
"""Every path ends in a grid of GRID x GRID cells, so that the fusion sees where a thing is, not only that it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisNetTiny:
    """Deep trunk beside two shallow paths, at small size."""

    name: ClassVar[str] = "visnet-tiny"

    image_size: int = 32
    """Side in pixels of the square input; 28 to 64."""
    width: int = 32
    """Channels of the trunk's first layer; the others are multiples of it."""
    dimension: int = 128
    """Length of the embedding."""
    shallow: bool = True
    """False: the deep path alone, to see what the shallow ones add."""

    def __post_init__(self) -> None:
        if not 28 <= self.image_size <= 64:
            raise ValueError(f"visnet-tiny takes pictures of 28 to 64 pixels, got image_size={self.image_size}")

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(resize=self.image_size, crop=self.image_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def build(self) -> nn.Module:
        return TinyNetwork(width=self.width, dimension=self.dimension, shallow=self.shallow)


class TinyNetwork(nn.Module):
    """`image_BCHW` -> `embedding_BD`, float32, unit length."""

    def __init__(self, *, width: int, dimension: int, shallow: bool = True) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            _convolution(3, width, stride=2),
            _convolution(width, 2 * width, stride=2),
            _convolution(2 * width, 2 * width),
            _convolution(2 * width, 4 * width, stride=2),
            _convolution(4 * width, 4 * width),
            nn.AdaptiveAvgPool2d(GRID),
            nn.Flatten(),
        )
        self.shallow_half = _shallow_path(shrink=2, width=width) if shallow else None
        self.shallow_quarter = _shallow_path(shrink=4, width=width) if shallow else None
        fused_channels = 4 * width + (width + width if shallow else 0)
        self.fusion = nn.Sequential(
            nn.Linear(fused_channels * GRID * GRID, dimension, bias=False),
            nn.BatchNorm1d(dimension, affine=False),
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        present = (path for path in (self.deep, self.shallow_half, self.shallow_quarter) if path is not None)
        paths = [path(image_BCHW) for path in present]
        embedding_BD: Tensor = self.fusion(torch.cat(paths, dim=1))
        return nn.functional.normalize(embedding_BD.float(), dim=1)


def _convolution(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def _shallow_path(*, shrink: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AvgPool2d(shrink),
        _convolution(3, width, stride=1),
        nn.AdaptiveMaxPool2d(GRID),
        nn.Flatten(),
    )
