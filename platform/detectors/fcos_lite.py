"""FCOS on EfficientNet-Lite0: one pass, no anchors to choose; the detector for CPUs.

torchvision's own, with a light trunk, narrow maps and short heads.

Source: Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection" (arXiv:1904.01355).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from visnet.platform.detectors.network import DetectionNetwork, check_image_size
from visnet.platform.networks.pretrained import NOT_ASKED

LEVEL_SIZES = ((8,), (16,), (32,))
"""Strides of the maps: an item is found in the finest one whose reach (8 strides) is beyond its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FCOSLite:
    """A one-stage detector with a light trunk."""

    name: ClassVar[str] = "fcos-lite"

    image_size: int = 256
    """Side in pixels of the square the network sees; a multiple of 32."""
    channels: int = 96
    """Width of the pyramid and of the heads; a multiple of 32."""
    convolutions: int = 2
    """In each of the two heads, before the last."""
    pretrained: bool = True
    """Whether training starts from ImageNet weights; loading a saved detector never downloads any."""

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        if self.channels < 32 or self.channels % 32:
            raise ValueError(f"expected channels to be a multiple of 32, got {self.channels}")
        if self.convolutions < 1:
            raise ValueError(f"expected at least 1 convolution in a head, got {self.convolutions}")

    def build(self, classes: int) -> DetectionNetwork:
        """The network with fresh weights: no download, for loading a saved detector into."""
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.fcos import FCOS, FCOSHead

        from visnet.platform.detectors.lite0_pyramid import MEAN_STD, Lite0Pyramid

        model = FCOS(
            Lite0Pyramid(self.channels),
            num_classes=classes,
            min_size=self.image_size,
            max_size=self.image_size,
            image_mean=MEAN_STD,
            image_std=MEAN_STD,
            anchor_generator=AnchorGenerator(LEVEL_SIZES, ((1.0,),) * len(LEVEL_SIZES)),
            head=FCOSHead(self.channels, 1, classes, num_convs=self.convolutions),
            score_thresh=0.05,
            detections_per_img=60,
            topk_candidates=200,
            _skip_resize=True,  # squares of just this size come in
        )
        return DetectionNetwork(model, first_label=0, pretrained="backbone.trunk")

    def build_pretrained(self, classes: int) -> tuple[DetectionNetwork, str]:
        """The network to start training from, and which weights its trunk has."""
        network = self.build(classes)
        if not self.pretrained:
            return network, NOT_ASKED
        return network, network.model.backbone.load_pretrained()  # type: ignore[operator,union-attr]
