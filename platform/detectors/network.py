"""One interface for torchvision's detection models, which differ in where their labels start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# B batch, N boxes, C channels, H height, W width


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """The items of one picture."""

    box_N4: Tensor
    """float32, left, top, right, bottom in pixels of the network's input."""
    label_N: Tensor
    """int64 places in the detector's classes."""
    score_N: Tensor | None = None
    """float32, 0..1, best first; None where the boxes are the truth."""


class DetectionNetwork(nn.Module):
    """`image_BCHW` (float32, 0..1) and, while it trains, what is in each picture -> losses by name, or found boxes.

    Args:
        model: one of torchvision's detection models.
        first_label: what it calls the first class; 1 where 0 is the background.
        pretrained: the part of it that pretrained weights fill.
    """

    def __init__(self, model: nn.Module, *, first_label: int, pretrained: str) -> None:
        super().__init__()
        self.model = model
        self._first_label = first_label
        self._pretrained = pretrained

    def forward(self, image_BCHW: Tensor, truth: Sequence[Boxes] | None = None) -> dict[str, Tensor] | list[Boxes]:
        if self.training:
            assert truth is not None
            targets = [{"boxes": one.box_N4, "labels": one.label_N + self._first_label} for one in truth]
            losses: dict[str, Tensor] = self.model(list(image_BCHW), targets)
            return losses
        found: list[dict[str, Any]] = self.model(list(image_BCHW))
        return [
            Boxes(box_N4=one["boxes"], label_N=one["labels"] - self._first_label, score_N=one["scores"])
            for one in found
        ]

    def pretrained_part(self) -> nn.Module:
        """What pretrained weights fill."""
        return self.model.get_submodule(self._pretrained)


def check_image_size(image_size: int) -> None:
    """Raises ValueError where the side of a detector's input is none that its feature maps divide."""
    if image_size < 64 or image_size % 32:
        raise ValueError(f"expected image_size to be a multiple of 32, at least 64, got {image_size}")


def no_boxes(device: str | torch.device = "cpu") -> Boxes:
    """A picture with nothing in it."""
    return Boxes(box_N4=torch.empty((0, 4), device=device), label_N=torch.empty(0, dtype=torch.int64, device=device))
