"""What a training needs to know of what it trains; the loop knows nothing else of it.

A task turns a batch into a loss and says which figures matter. Optimizer, learning rates, checkpoints, early stop and
curves are the loop's, alike for all tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

BatchT = TypeVar("BatchT")


class Task(Protocol[BatchT]):
    """What is trained; every method is called on every worker, at the same steps."""

    network: nn.Module
    """Trained in place. Where training starts from pretrained weights, its `pretrained_part()` is what has them."""
    device: torch.device
    """Where the network is."""
    unit: str
    """What an example of a batch is called, in the plural: "anchors"."""
    best_by: str
    """The figure of a validation that chooses the best weights; higher is better."""

    def prepare(self, batch: BatchT, *, step: int, generator: torch.Generator) -> BatchT:
        """Add to a batch what only the network as it is can tell; it may be left in evaluation mode.

        Args:
            step: that the batch is for, from 0.
            generator: of this worker and epoch, on the CPU; `loss` draws from the same.
        """
        return batch

    def loss(
        self, network: Callable[..., Any], batch: BatchT, *, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of this worker's examples, and figures.

        Args:
            network: to be called once, in place of `self.network`: in parallel with the other workers', in training
                mode, in mixed precision if the settings say so.

        Returns:
            A scalar to go back from, and scalars without gradient by name; equal names on all workers.
        """
        ...

    def check(self, step: int, values: Mapping[str, float]) -> None:
        """Judge the figures of a step, the means over the workers, `loss` among them; it is a finite number.

        Raises:
            VisnetError: training went wrong and is not worth going on with.
        """
        return

    def progress(self, values: Mapping[str, float]) -> str:
        """What the line about a training's progress says of such figures, besides the loss."""
        ...
