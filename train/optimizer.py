"""AdamW, linear warm-up and a cosine to 0; pretrained layers learn later and slower."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from visnet.platform.settings_train import JobSettings


def make_optimizer(network: nn.Module, settings: JobSettings, *, pretrained: bool) -> torch.optim.Optimizer:
    """AdamW over all parameters; those of the pretrained part in a group of their own.

    Args:
        pretrained: whether the network's `pretrained_part` really got pretrained weights; if not, it learns like
            the rest.
    """
    trunk = list(network.pretrained_part().parameters()) if pretrained else []  # type: ignore[operator]
    in_trunk = {id(parameter) for parameter in trunk}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in in_trunk]
    groups = [{"params": rest, "factor": 1.0}]
    if trunk:
        groups.append({"params": trunk, "factor": settings.trunk_learning_rate_factor})
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, settings: JobSettings) -> float:
    """Set every group's learning rate for a step and return the fresh layers'."""
    rate = settings.learning_rate * schedule(step, settings)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    return rate


def schedule(step: int, settings: JobSettings) -> float:
    """Linear warm-up, then a cosine to 0: a factor of the peak learning rate."""
    warm_up = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


class Freeze:
    """Keeps the pretrained part as it is for the first steps, and the statistics of its normalisation for good.

    Those were gathered over a million pictures; a batch's own are poorer, and a trunk that slowly averages them would
    be searched with other statistics than it learned with.

    Args:
        steps: how many steps nothing of the pretrained part learns.
        pretrained: whether the network's `pretrained_part` got pretrained weights; if not, nothing is frozen.
    """

    def __init__(self, network: nn.Module, *, steps: int, pretrained: bool) -> None:
        self._network, self._steps = network, steps if pretrained else 0
        self._statistics = _normalisations(network.pretrained_part()) if pretrained else []  # type: ignore[operator]

    def apply(self, step: int) -> bool:
        """Set the network to training mode for `step`; True if what learns is not what learned in the step before."""
        frozen = step < self._steps
        changes = any(parameter.requires_grad == frozen for parameter in self._parts())
        self._network.train()
        if frozen:
            self._network.pretrained_part().eval()  # type: ignore[operator]
        for normalisation in self._statistics:
            normalisation.eval()
        if changes:
            for parameter in self._parts():
                parameter.requires_grad_(not frozen)
        return changes

    def _parts(self) -> Iterator[nn.Parameter]:
        if self._steps:
            yield from self._network.pretrained_part().parameters()  # type: ignore[operator]


def _normalisations(part: nn.Module) -> list[nn.Module]:
    return [module for module in part.modules() if isinstance(module, nn.BatchNorm2d)]
