"""What a training has come to: all that a checkpoint holds, and that a restart goes on from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FILE = "state.pt"


@dataclass(kw_only=True)
class State:
    """Enough to go on as if nothing had happened, at the epoch's start."""

    step: int = 0
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    pretrained: str = "none"
    """The weights that training started from."""
    figures: dict[str, float] = field(default_factory=dict)
    """Of the last step that was looked at, the mean over the workers."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The figures at every checkpoint, with the seconds since the training started or last went on."""
    validations: list[dict[str, float]] = field(default_factory=list)
    """The figures of every validation, with its step."""
    best_score: float = -1.0
    """The highest value of the figure that chooses the best weights."""
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """The weights that did best in validation, on the CPU; empty before the first."""
    ended_early: bool = False
    """Whether validation ended the training."""
    worlds: list[list[int]] = field(default_factory=list)
    """[step, workers] wherever the training started or went on."""

    def save(self, folder: str | Path) -> None:
        torch.save({f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, Path(folder) / FILE)

    @staticmethod
    def load(folder: str | Path) -> State:
        return State(**torch.load(Path(folder) / FILE, weights_only=True, map_location="cpu"))
