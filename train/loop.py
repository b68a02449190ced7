"""The training loop: plain PyTorch over batches of pictures, the same for one process and for many.

Each step draws a wild view of every picture as anchor; the picture itself is the positive, all other products of the
batch are negatives. Knows no Ray: `job.py` brings the batches, the workers and a place for checkpoints.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from visnet.platform.encoder import Encoder
from visnet.platform.errors import VisnetError
from visnet.platform.settings import TrainSettings
from visnet.platform.views import wild_views
from visnet.train.gather import sum_over_workers, world
from visnet.train.losses import TripletHinge

# B pictures of this worker, C channels, H height, W width

logger = logging.getLogger(__name__)

LOG_EVERY_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """One worker's part of a step."""

    pixel_BCHW: Tensor
    """uint8, preprocessed pictures, on the worker's device."""
    product_B: Tensor
    """int64 product numbers."""
    category_B: Tensor
    """int64 category numbers."""


@dataclasses.dataclass(kw_only=True)
class State:
    """What a checkpoint holds: enough to go on as if nothing had happened, at the next epoch's start."""

    step: int = 0
    epoch: int = 0
    weights: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    optimizer: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """Figures of steps so far, about one entry a checkpoint."""
    pretrained: str = "none"


def train(
    encoder: Encoder,
    parallel: nn.Module,
    batches: Callable[[int], Iterator[Batch]],
    settings: TrainSettings,
    *,
    state: State,
    checkpoint: Callable[[State], None],
) -> State:
    """Train until `settings.steps`.

    Args:
        encoder: its network is trained in place; its weights go into the checkpoints.
        parallel: the same network as it is to be called, e.g. wrapped for data parallelism.
        batches: the batches of an epoch by its number. All workers must get equally many of equal size.
        state: where to start; a fresh `State` or one that `checkpoint` was given before.
        checkpoint: called on every worker every `settings.checkpoint_every_steps` and at the end.

    Raises:
        VisnetError: an epoch has no full batch, or the loss is no longer a number.
    """
    network = encoder.network
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    if state.weights:
        network.load_state_dict(state.weights)
        optimizer.load_state_dict(state.optimizer)
    loss_function = TripletHinge(margin=settings.margin, in_class_share=settings.in_class_share)
    rank, workers = world()
    clock = _Clock(settings.steps, settings.batch_size)
    while state.step < settings.steps:
        generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + state.epoch) * 1_009 + rank)
        steps_before = state.step
        for batch in batches(state.epoch):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _schedule(state.step, settings)
            loss, figures = _step(encoder, parallel, batch, loss_function, generator, optimizer)
            state.step += 1
            clock.tick(state.step, loss, figures, speak=rank == 0)
            if state.step % settings.checkpoint_every_steps == 0 or state.step == settings.steps:
                mean_loss = float(sum_over_workers(loss)) / workers
                if not math.isfinite(mean_loss):
                    raise VisnetError(f"the loss is {mean_loss} at step {state.step}: lower train.learning_rate")
                state.history.append({"step": state.step, "loss": round(mean_loss, 5), **_rounded(figures)})
                state.weights, state.optimizer = network.state_dict(), optimizer.state_dict()
                checkpoint(state)
            if state.step == settings.steps:
                break
        if state.step == steps_before:
            raise VisnetError(
                f"an epoch has no full batch: the catalogue has fewer usable pictures than train.batch_size "
                f"({settings.batch_size}); lower it"
            )
        state.epoch += 1
    return state


def _step(
    encoder: Encoder,
    parallel: nn.Module,
    batch: Batch,
    loss_function: TripletHinge,
    generator: torch.Generator,
    optimizer: torch.optim.Optimizer,
) -> tuple[Tensor, dict[str, float]]:
    parallel.train()
    anchor_BCHW = wild_views(batch.pixel_BCHW, generator=generator)
    embeddings = parallel(encoder.normalise(torch.cat([anchor_BCHW, batch.pixel_BCHW])))
    anchor_BD, positive_BD = embeddings.chunk(2)
    loss, figures = loss_function(anchor_BD, positive_BD, batch.product_B, batch.category_B)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach(), figures


def _schedule(step: int, settings: TrainSettings) -> float:
    """Linear warm-up, then a cosine to 0: a factor of the peak learning rate."""
    warm_up = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in figures.items()}


class _Clock:
    """Says every few seconds where the training stands."""

    def __init__(self, steps: int, batch_size: int) -> None:
        self._steps, self._batch_size = steps, batch_size
        self._said_at, self._said_step = time.monotonic(), -1

    def tick(self, step: int, loss: Tensor, figures: dict[str, float], *, speak: bool) -> None:
        if self._said_step < 0:  # the first step of a process pays for its warm-up
            self._said_at, self._said_step = time.monotonic(), step
        seconds = time.monotonic() - self._said_at
        if not speak or (seconds < LOG_EVERY_S and step < self._steps) or step == self._said_step:
            return
        rate = (step - self._said_step) / max(seconds, 1e-9)
        logger.info(
            "step %d of %d: loss %.4f, %.1f%% of triplets active, %.0f products/s, %.0f s left",
            *(step, self._steps, float(loss), 100 * figures["active_share"]),
            *(rate * self._batch_size, (self._steps - step) / max(rate, 1e-9)),
        )
        self._said_at, self._said_step = time.monotonic(), step
