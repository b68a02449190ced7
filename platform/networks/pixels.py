"""No network at all: the image's own pixels as its embedding. The baseline that every encoder must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from visnet.platform.imaging import Preprocessing

# B batch, C channels, H height, W width, D embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Raw pixels, mean-centred per image so that brightness alone makes no two images alike."""

    name: ClassVar[str] = "pixels"

    size: int = 32
    """Side in pixels the image is scaled to."""

    @property
    def dimension(self) -> int:
        return 3 * self.size * self.size

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(resize=self.size, crop=self.size)

    def build(self) -> nn.Module:
        return PixelNetwork()


class PixelNetwork(nn.Module):
    """`image_BCHW` -> its centred pixels, unit length."""

    def forward(self, image_BCHW: Tensor) -> Tensor:
        pixel_BD = image_BCHW.flatten(1)
        return nn.functional.normalize(pixel_BD - torch.mean(pixel_BD, dim=1, keepdim=True), dim=1)
