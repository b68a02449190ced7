"""Faster R-CNN, the detector of the VisNet paper: on torchvision's ResNet-50 pyramid, or on EfficientNet-Lite0.

The first stage proposes regions, the second looks at each of them again: more exact where items overlap, and more work
than a one-stage detector.

Source: Ren et al., "Faster R-CNN" (arXiv:1506.01497); torchvision's `fasterrcnn_resnet50_fpn_v2` (Li et al.,
arXiv:2111.11429), whose published weights were trained on COCO. Shankar et al. 2017 (arXiv:1703.02344), section 5.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from visnet.platform.detectors.network import DetectionNetwork, check_image_size
from visnet.platform.networks.pretrained import (
    NOT_ASKED,
    WeightsUnavailableError,
    load_pretrained,
    torchvision_weights,
)

MODEL = "fasterrcnn_resnet50_fpn_v2"
OWN = "roi_heads.box_predictor."
"""The layers that are fresh in any case: they have as many outputs as there are classes."""
ANCHORS = ((0.07, 0.11), (0.17, 0.26), (0.4, 0.62))
"""Of the Lite0 pyramid, relative to the image's side, by level."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FasterRCNN:
    """A two-stage detector."""

    name: ClassVar[str] = "faster-rcnn"

    trunk: Literal["resnet50", "tf_efficientnet_lite0"] = "resnet50"
    """resnet50 is torchvision's model, with weights that were trained on COCO."""
    image_size: int = 640
    """Side in pixels of the square the network sees; a multiple of 32. On Lite0 about 256 is enough."""
    channels: int = 96
    """Width of the Lite0 pyramid; ResNet-50's has 256."""
    pretrained: bool = True
    """Whether training starts from published weights; loading a saved detector never downloads any."""

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        if self.trunk not in ("resnet50", "tf_efficientnet_lite0"):
            raise ValueError(f"unknown trunk {self.trunk!r}: expected resnet50 or tf_efficientnet_lite0")
        if self.channels < 1:
            raise ValueError(f"expected channels >= 1, got {self.channels}")

    def build(self, classes: int) -> DetectionNetwork:
        """The network with fresh weights: no download, for loading a saved detector into."""
        if self.trunk == "resnet50":
            return DetectionNetwork(self._resnet50(classes), first_label=1, pretrained="backbone")
        return DetectionNetwork(self._lite0(classes), first_label=1, pretrained="backbone.trunk")

    def build_pretrained(self, classes: int) -> tuple[DetectionNetwork, str]:
        """The network to start training from, and which weights it has: COCO's, else ImageNet's for the trunk."""
        network = self.build(classes)
        if not self.pretrained:
            return network, NOT_ASKED
        if self.trunk != "resnet50":
            return network, network.model.backbone.load_pretrained()  # type: ignore[operator,union-attr]
        try:
            weights, source = torchvision_weights(MODEL, timeout_s=10.0)
        except WeightsUnavailableError as error:
            logger.warning("no COCO weights for %s (%s): trying ImageNet's for its trunk", MODEL, error)
            return network, load_pretrained(network.model.backbone.body, "resnet50")  # type: ignore[arg-type,union-attr]
        published = {name: tensor for name, tensor in weights.items() if not name.startswith(OWN)}
        missing = network.model.load_state_dict(published, strict=False).missing_keys
        if any(not name.startswith(OWN) for name in missing):
            raise RuntimeError(f"{source} lacks {len(missing)} weights of {MODEL}, the first is {missing[0]!r}")
        return network, source

    def _resnet50(self, classes: int) -> nn.Module:
        from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

        model: nn.Module = fasterrcnn_resnet50_fpn_v2(
            weights=None, weights_backbone=None, num_classes=classes + 1, **self._inputs()
        )
        return model

    def _lite0(self, classes: int) -> nn.Module:
        from torchvision.models.detection import FasterRCNN as Model
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
        from torchvision.ops import MultiScaleRoIAlign

        from visnet.platform.detectors.lite0_pyramid import LEVELS, MEAN_STD, Lite0Pyramid

        sizes = tuple(tuple(round(share * self.image_size) for share in level) for level in ANCHORS)
        model: nn.Module = Model(
            Lite0Pyramid(self.channels),
            rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
            rpn_pre_nms_top_n_train=1000,
            rpn_post_nms_top_n_train=500,
            rpn_pre_nms_top_n_test=400,
            rpn_post_nms_top_n_test=100,
            box_roi_pool=MultiScaleRoIAlign(list(LEVELS), output_size=7, sampling_ratio=2),
            box_head=TwoMLPHead(self.channels * 49, 512),
            box_predictor=FastRCNNPredictor(512, classes + 1),
            box_batch_size_per_image=128,
            image_mean=MEAN_STD,
            image_std=MEAN_STD,
            **self._inputs(),
        )
        return model

    def _inputs(self) -> dict[str, Any]:
        """Squares of just this size come in; what is found at all is judged by whoever asks."""
        size = {"min_size": self.image_size, "max_size": self.image_size, "_skip_resize": True}
        return {**size, "box_score_thresh": 0.05, "box_detections_per_img": 60}
