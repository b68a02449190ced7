"""The network of the 2017 VisNet paper, layer by layer: the yardstick for every later recipe.

187,521,024 parameters and 4096 dimensions: 750 MB of float32 weights, and vectors 16 times as long as the default
recipe's. Kept to reproduce the paper, not to be served.

Source: Shankar et al. 2017, "Deep Learning based Large Scale Visual Recommendation and Search for E-Commerce"
(arXiv:1703.02344), and the authors' published definition, flipkart-incubator/fk-visual-search,
models/visnet/train.prototxt. Where this differs from theirs:

- Input is RGB normalised by ImageNet's mean and deviation, as torchvision's VGG16 expects; theirs is BGR in 0..255.
  Max-pooling commutes with that scaling, so the shallow paths still see the pooled raw image.
- Their normalisation of the 4800 shallow features is a window of 8191 channels, which at the two ends does not reach
  all 4800; here it does.
- Caffe's gradient multipliers (biases learn twice as fast) are a matter of training, not of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from visnet.platform.imaging import Preprocessing
from visnet.platform.networks.pretrained import NOT_ASKED, load_pretrained

# B batch, C channels, H height, W width, F features, D embedding

DEEP_FEATURES = 4096
SHALLOW_FEATURES = 2 * 96 * 5 * 5


@dataclass(frozen=True, slots=True, kw_only=True)
class VisNetVGG16:
    """VGG16 and two shallow paths, to a softly normalised embedding of 4096."""

    name: ClassVar[str] = "visnet-vgg16"

    normalisation: Literal["soft", "l2"] = "soft"
    """Of the embedding: the paper's, or to unit length."""
    dropout: float = 0.4
    """Share of fc6 and fc7 dropped in training, 0 to below 1."""
    pretrained: bool = True
    """Whether training starts from torchvision's ImageNet VGG16; loading a saved encoder never downloads it."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"expected dropout in 0..1, less than 1, got {self.dropout}")
        if self.normalisation not in ("soft", "l2"):
            raise ValueError(f"expected normalisation to be soft or l2, got {self.normalisation!r}")

    @property
    def dimension(self) -> int:
        return 4096

    @property
    def margin(self) -> float:
        """Of the triplet hinge: the paper's, whose scale is its normalisation's; else what suits unit vectors."""
        return 0.0009 if self.normalisation == "soft" else 0.2

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(resize=256, crop=224)

    def build(self) -> VisNetVGG16Network:
        """The network with fresh weights: no download, for loading a saved encoder into."""
        return VisNetVGG16Network(dimension=self.dimension, dropout=self.dropout, normalisation=self.normalisation)

    def build_pretrained(self) -> tuple[VisNetVGG16Network, str]:
        """The network to start training from, and which weights its VGG16 has (see `load_pretrained`)."""
        network = self.build()
        if not self.pretrained:
            return network, NOT_ASKED
        return network, load_pretrained(network.deep.vgg16, "vgg16")


def soft_normalize(feature_BF: Tensor) -> Tensor:
    """x / sqrt(1 + |x|^2): a long vector comes out almost of unit length, a short one almost as it is.

    Unlike L2 it has a gradient along the vector too, and it maps the zero vector to itself.

    Args:
        feature_BF: any scale; half precision is raised to float32 first, where 4096 squares do not overflow.

    Returns:
        float32, the same shape and directions, lengths below 1 (in float32, up to 1).

    Source: the authors write it as a cross-channel LRN with alpha = size = 8191 and beta = 0.5.
    """
    feature_BF = feature_BF.float()
    return feature_BF * torch.rsqrt(1 + feature_BF.square().sum(dim=1, keepdim=True))


class DeepPath(nn.Module):
    """VGG16 to fc7, then a linear layer in the place of its classifier: `image_BCHW` -> `feature_BF` of 4096."""

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        from torchvision.models import vgg16

        self.vgg16 = vgg16(weights=None, dropout=dropout)
        self.vgg16.classifier = self.vgg16.classifier[:-1]
        self.fc8 = nn.Linear(4096, DEEP_FEATURES)
        _fill(self.fc8, std=0.01, bias=0.0)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        feature_BF: Tensor = self.fc8(self.vgg16(image_BCHW))
        return feature_BF


class ShallowPath(nn.Sequential):
    """One convolution over a small, max-pooled copy of the image: (B, 3, 224, 224) -> (B, 96, 5, 5).

    Caffe rounds the size of a pooled map up, hence `ceil_mode`: rounded down the last map would be 4 x 4.
    """

    def __init__(self, *, shrink: int, pool: nn.MaxPool2d) -> None:
        conv = nn.Conv2d(3, 96, kernel_size=8, stride=4, padding=4)
        _fill(conv, std=0.01, bias=0.0)
        super().__init__(
            nn.MaxPool2d(shrink), conv, nn.ReLU(inplace=True), nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75), pool
        )


class VisNetVGG16Network(nn.Module):
    """`image_BCHW` of 224 x 224 -> `embedding_BD`, float32, of a length just below 1, or of length 1 ("l2")."""

    def __init__(self, *, dimension: int, dropout: float, normalisation: str = "soft") -> None:
        super().__init__()
        self.normalisation = normalisation
        self.deep = DeepPath(dropout=dropout)
        self.shallow_a = ShallowPath(shrink=4, pool=nn.MaxPool2d(7, stride=4, padding=3, ceil_mode=True))
        self.shallow_b = ShallowPath(shrink=8, pool=nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True))
        self.embedding = nn.Linear(SHALLOW_FEATURES + DEEP_FEATURES, dimension)
        _fill(self.embedding, std=0.005, bias=0.1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        deep_BF = soft_normalize(self.deep(image_BCHW))
        shallow_BF = soft_normalize(self.shallow(image_BCHW))
        embedding_BD = self.embedding(torch.cat([shallow_BF, deep_BF], dim=1))
        if self.normalisation == "l2":
            return nn.functional.normalize(embedding_BD.float(), dim=1)
        return soft_normalize(embedding_BD)

    def pretrained_part(self) -> nn.Module:
        """What pretrained weights fill."""
        return self.deep.vgg16

    def shallow(self, image_BCHW: Tensor) -> Tensor:
        """Both shallow paths, flattened side by side: (B, 4800)."""
        return torch.cat([path(image_BCHW).flatten(1) for path in (self.shallow_a, self.shallow_b)], dim=1)


def _fill(layer: nn.Conv2d | nn.Linear, *, std: float, bias: float) -> None:
    """The authors' start for a layer that VGG16 does not bring: Gaussian weights, a constant bias."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
