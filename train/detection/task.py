"""The detector's part of a training: scenes to the losses of torchvision's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from visnet.platform.detector import Detector
from visnet.platform.detectors.network import Boxes
from visnet.train.detection.data import SceneBatch
from visnet.train.task import Task

# B pictures, C channels, H height, W width, N boxes

GAIN = 0.15
"""Each picture's colour channels are made lighter or darker by up to this share."""


class DetectionTask(Task[SceneBatch]):
    """Trains a detector."""

    unit = "scenes"
    best_by = "ap50"

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.network: nn.Module = detector.network
        self.device = detector.device

    def loss(
        self, network: Callable[..., Any], batch: SceneBatch, *, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        image_BCHW, truth = changed(self._detector.normalise(batch.image_BCHW), batch.truth, generator=generator)
        losses: dict[str, Tensor] = network(image_BCHW, truth)
        return torch.stack(list(losses.values())).sum(), {name: loss.detach() for name, loss in losses.items()}

    def progress(self, values: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "loss")


def changed(image_BCHW: Tensor, truth: list[Boxes], *, generator: torch.Generator) -> tuple[Tensor, list[Boxes]]:
    """The same pictures a little otherwise: half of them mirrored, with their boxes; each in another light.

    Args:
        image_BCHW: float32, 0..1.
    """
    batch, width = len(image_BCHW), image_BCHW.shape[3]
    mirrored_B = torch.rand(batch, generator=generator) < 0.5
    gain_BC11 = 1 + GAIN * (2 * torch.rand(batch, 3, 1, 1, generator=generator) - 1)
    image_BCHW = (image_BCHW * gain_BC11.to(image_BCHW.device)).clamp(0, 1)
    image_BCHW[mirrored_B] = image_BCHW[mirrored_B].flip(3)
    return image_BCHW, [
        _mirrored(boxes, width) if mirrored else boxes
        for boxes, mirrored in zip(truth, mirrored_B.tolist(), strict=True)
    ]


def _mirrored(boxes: Boxes, width: int) -> Boxes:
    left_N, top_N, right_N, bottom_N = boxes.box_N4.unbind(1)
    return Boxes(box_N4=torch.stack([width - right_N, top_N, width - left_N, bottom_N], 1), label_N=boxes.label_N)
