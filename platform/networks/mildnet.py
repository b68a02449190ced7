"""The lighter rival of VisNet: one trunk, its feature maps pooled at every depth, and no paths beside it.

What the shallow paths of VisNet bring, MILDNet takes from the early layers of the trunk itself, at no cost of its own.
Kept to compare with. Source: Mohan et al. 2019, "MILDNet: A Lightweight Single Scaled Deep Ranking Architecture"
(arXiv:1903.00905): pooled skip connections of VGG16, concatenated, two dense layers, unit length. Here the trunk is a
modern one, and the dense layers are as wide as the embedding asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from visnet.platform.imaging import Preprocessing
from visnet.platform.networks.pretrained import LITE0, NOT_ASKED, load_pretrained
from visnet.platform.networks.visnet import tap_widths

# B batch, C channels, H height, W width, F features, D embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class MILDNet:
    """EfficientNet-Lite0 pooled at five depths, to a short unit-length embedding."""

    name: ClassVar[str] = "mildnet"

    image_size: int = 224
    """Side in pixels of the square the network sees; a multiple of 32."""
    resize: int = 256
    """Length in pixels that the shorter side is scaled to before the square is cut out; at least `image_size`."""
    hidden: int = 512
    """Width of the dense layer before the last."""
    dropout: float = 0.2
    """Share of the hidden features left out in training; 0 to below 1."""
    dimension: int = 256
    """Length of the embedding."""
    pretrained: bool = True
    """Whether training starts from ImageNet weights; loading a saved encoder never downloads any."""

    def __post_init__(self) -> None:
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"expected image_size to be a multiple of 32, got {self.image_size}")
        if self.resize < self.image_size:
            raise ValueError(f"expected resize >= image_size, got resize={self.resize}, image_size={self.image_size}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"expected dropout in 0..1, less than 1, got {self.dropout}")
        if min(self.hidden, self.dimension) < 1:
            raise ValueError(f"expected hidden and dimension >= 1, got {self.hidden} and {self.dimension}")

    @property
    def preprocessing(self) -> Preprocessing:
        half = (0.5, 0.5, 0.5)
        return Preprocessing(resize=self.resize, crop=self.image_size, mean=half, std=half)

    def build(self) -> MILDNetNetwork:
        """The network with fresh weights: no download, for loading a saved encoder into."""
        return MILDNetNetwork(hidden=self.hidden, dropout=self.dropout, dimension=self.dimension)

    def build_pretrained(self) -> tuple[MILDNetNetwork, str]:
        """The network to start training from, and which weights its trunk has (see `load_pretrained`)."""
        network = self.build()
        if not self.pretrained:
            return network, NOT_ASKED
        return network, load_pretrained(network.trunk.backbone, LITE0)


class FiveDepths(nn.Module):
    """EfficientNet-Lite0 without its classifier: `image_BCHW` -> feature maps of 16, 24, 40, 112 and 1280 channels."""

    def __init__(self) -> None:
        super().__init__()
        import timm  # here, not at the top: it takes two seconds

        self.backbone: nn.Module = timm.create_model(LITE0, pretrained=False, num_classes=0)

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        last, taps = self.backbone.forward_intermediates(image_BCHW, indices=[0, 1, 2, 3])  # type: ignore[operator]
        return [*taps, last]


class MILDNetNetwork(nn.Module):
    """`image_BCHW` -> `embedding_BD`, float32, unit length."""

    def __init__(self, *, hidden: int, dropout: float, dimension: int) -> None:
        super().__init__()
        self.trunk = FiveDepths()
        features = sum(tap_widths(self.trunk))
        self.dense = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, dimension)
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        feature_BF = torch.cat([tap_BCHW.mean(dim=(2, 3)) for tap_BCHW in self.trunk(image_BCHW)], dim=1)
        return nn.functional.normalize(self.dense(feature_BF).float(), dim=1)

    def pretrained_part(self) -> nn.Module:
        """What pretrained weights fill."""
        return self.trunk
