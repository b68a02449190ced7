"""The networks a detector can be made of: torchvision's, one file per kind, each with its configuration.

A recipe is written into the detector's manifest and read back from it, as an encoder's is. Its network maps
`image_BCHW` (float32, 0..1, squares of the recipe's `image_size`) to losses while it trains and to boxes otherwise; see
`network.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from visnet.platform.detectors.network import DetectionNetwork
from visnet.platform.networks import made_from


class DetectorRecipe(Protocol):
    """What every detector's configuration offers."""

    name: ClassVar[str]

    @property
    def image_size(self) -> int:
        """Side in pixels of the square the network sees; a multiple of 32."""

    def build(self, classes: int) -> DetectionNetwork:
        """The network with fresh weights only: a saved detector is loaded into it, so nothing is downloaded."""

    def build_pretrained(self, classes: int) -> tuple[DetectionNetwork, str]:
        """The network to start training from, and which weights it has (see `networks.pretrained`)."""


def make_detector_recipe(name: str, **overrides: Any) -> DetectorRecipe:
    """The recipe called `name`, with some of its fields changed.

    Raises:
        ValueError: no such recipe, or it has no such field.
    """
    from visnet.platform.detectors.faster_rcnn import FasterRCNN
    from visnet.platform.detectors.fcos_lite import FCOSLite

    recipe: DetectorRecipe = made_from({one.name: one for one in (FCOSLite, FasterRCNN)}, name, overrides)
    return recipe
