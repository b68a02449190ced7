"""A pretrained trunk as it is published, untrained by us: the baseline a trained encoder must beat, and a scorer.

The last feature map, averaged over the image, at unit length: "what does this look like" as a network sees it that
learned ImageNet's classes. It costs no training and is as a rule a strong first answer, so an encoder that does not
beat it has learned nothing of use. The same vectors rank neighbours for the training triplets.

Source: Babenko et al., "Neural Codes for Image Retrieval" (arXiv:1404.1777); Babenko and Lempitsky, "Aggregating Deep
Convolutional Features for Image Retrieval" (arXiv:1510.07493) for the pooled last map.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from visnet.platform.imaging import Preprocessing
from visnet.platform.networks.pretrained import LITE0, NOT_ASKED, load_pretrained
from visnet.platform.networks.visnet import Lite0Trunk, TorchvisionTrunk, VisNet

# B batch, C channels, H height, W width, D embedding

LITE0_WIDTH = 1280


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """The pooled last feature map of a frozen trunk."""

    name: ClassVar[str] = "trunk"

    trunk: str = LITE0
    """"tf_efficientnet_lite0" (timm), or a torchvision name: "convnext_tiny", "efficientnet_v2_s", "resnet50", ..."""
    image_size: int = 224
    """Side in pixels of the square the network sees; a multiple of 32."""
    resize: int = 256
    """Length in pixels that the shorter side is scaled to before the square is cut out; at least `image_size`."""
    pretrained: bool = True
    """Whether `build_pretrained` fetches the published weights."""

    def __post_init__(self) -> None:
        self._as_visnet()  # the same trunks and sizes are allowed

    @property
    def dimension(self) -> int:
        return last_width(self.trunk)

    @property
    def preprocessing(self) -> Preprocessing:
        return self._as_visnet().preprocessing

    def build(self) -> TrunkNetwork:
        """The network with fresh weights: no download, for loading a saved encoder into."""
        return TrunkNetwork(Lite0Trunk() if self.trunk == LITE0 else TorchvisionTrunk(self.trunk))

    def build_pretrained(self) -> tuple[TrunkNetwork, str]:
        """The network with the published weights, and which those are (see `load_pretrained`)."""
        network = self.build()
        if not self.pretrained:
            return network, NOT_ASKED
        return network, load_pretrained(network.trunk.backbone, self.trunk)

    def _as_visnet(self) -> VisNet:
        return VisNet(trunk=self.trunk, image_size=self.image_size, resize=self.resize)


class TrunkNetwork(nn.Module):
    """`image_BCHW` -> the trunk's last feature map, averaged over the image: float32, unit length. Does not train."""

    def __init__(self, trunk: Lite0Trunk | TorchvisionTrunk) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        last_BCHW = self.trunk(image_BCHW)[-1]
        return nn.functional.normalize(last_BCHW.mean(dim=(2, 3)).float(), dim=1)


@functools.cache
def last_width(trunk: str) -> int:
    """Channels of a trunk's last feature map: what its classifier takes."""
    if trunk == LITE0:
        return LITE0_WIDTH
    from torchvision.models import get_model

    with torch.device("meta"):  # shapes only
        layers = list(get_model(trunk, weights=None).modules())
    return next(layer.in_features for layer in reversed(layers) if isinstance(layer, nn.Linear))
