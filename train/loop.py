"""The training loop: plain PyTorch over batches of pictures, the same for one process and for many.

Knows no Ray: `worker.py` brings the batches, the wrapping for data parallelism and a place for checkpoints. Each step
changes the pictures anew (`augment.py`), embeds anchors, positives and negatives in one pass, and compares them with
those of all workers (`losses.py`). Every so many steps: hard negatives are mined anew, recall is measured on what was
held out, a checkpoint is made.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visnet.platform.encoder import Encoder
from visnet.platform.errors import VisnetError
from visnet.platform.settings import TrainSettings
from visnet.platform.views import wild_views
from visnet.train.augment import SHOP, STREET, central, changed
from visnet.train.batch import Batch, Embedded
from visnet.train.clock import Clock
from visnet.train.collapse import CollapsedError, CollapseWatch
from visnet.train.gather import sum_over_workers, world
from visnet.train.losses import Loss
from visnet.train.mining import HardNegatives
from visnet.train.optimizer import Freeze, make_optimizer, set_learning_rate
from visnet.train.state import State

# B pictures of this worker, C channels, H height, W width

logger = logging.getLogger(__name__)

FIGURES_EVERY = 25
"""Steps between two looks at the figures: each look waits for the accelerator."""


@dataclass(frozen=True, kw_only=True)
class Around:
    """What the loop is given to work with; every function is called on every worker, at the same steps."""

    wrap: Callable[[nn.Module], nn.Module]
    """The network as it is to be called, e.g. for data parallelism; called again when other parameters learn."""
    batches: Callable[[int], Iterator[Batch]]
    """The batches of an epoch by its number; equally many of equal size on all workers."""
    checkpoint: Callable[[State], None]
    """Every `checkpoint_every_steps` and at the end."""
    validate: Callable[[], dict[str, float]] | None = None
    """`recall_at_<k>` of the encoder as it is."""
    negatives: HardNegatives | None = None
    scalars: Callable[[int, Mapping[str, float]], None] = lambda step, values: None
    """Points of the curves to show."""


class Loop:
    """One training, from `state` to its end.

    Args:
        encoder: its network is trained in place; its weights go into the checkpoints.
        state: where to start; a fresh `State` or one that `checkpoint` was given before.
    """

    def __init__(self, encoder: Encoder, loss: Loss, settings: TrainSettings, around: Around, state: State) -> None:
        self._encoder, self._loss, self._settings, self._around = encoder, loss, settings, around
        self.state = state
        self._network = encoder.network
        if settings.channels_last:
            self._network.to(memory_format=torch.channels_last)
        pretrained = not state.pretrained.startswith("none")
        self._optimizer = make_optimizer(self._network, settings, pretrained=pretrained)
        if state.weights:
            self._network.load_state_dict(state.weights)
            self._optimizer.load_state_dict(state.optimizer)
        self._freeze = Freeze(self._network, steps=settings.freeze_steps, pretrained=pretrained)
        self._freeze.apply(state.step)
        self._parallel = around.wrap(self._network)
        self._watch = CollapseWatch(margin=getattr(loss, "margin", None), after=settings.collapse_after)
        self._rank, self._workers = world()
        self._clock = Clock(settings.steps, settings.batch_size)
        self._started = time.monotonic()

    def run(self) -> State:
        """Train until `settings.steps`, or until validation has not become better for `patience` times.

        Raises:
            CollapsedError: the embedding collapsed.
            VisnetError: an epoch has no full batch, or the loss is no longer a number.
        """
        while not self._done():
            steps_before = self.state.step
            generator = self._generator()
            for batch in self._around.batches(self.state.epoch):
                self._step(batch, generator)
                if self._done():
                    break
            if self.state.step == steps_before:
                raise VisnetError(
                    "an epoch has no full batch: there are fewer usable examples than train.batch_size "
                    f"({self._settings.batch_size}) asks for; lower it"
                )
            self.state.epoch += 1
        return self.state

    def _done(self) -> bool:
        return self.state.ended_early or self.state.step >= self._settings.steps

    def _generator(self) -> torch.Generator:
        seed = (self._settings.seed * 1_000_003 + self.state.epoch) * 1_009 + self._rank
        return torch.Generator().manual_seed(seed)

    def _step(self, batch: Batch, generator: torch.Generator) -> None:
        settings, state = self._settings, self.state
        if self._around.negatives and settings.mine_every_steps:
            if not self._around.negatives.mined or state.step % settings.mine_every_steps == 0:
                self._network.eval()
                self._around.negatives.mine()
            batch = self._around.negatives.extend(batch, generator=generator)
        if self._freeze.apply(state.step):
            self._parallel = self._around.wrap(self._network)
        rate = set_learning_rate(self._optimizer, state.step, settings)
        loss, figures = self._loss(self._embedded(batch, generator))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        state.step += 1
        ends = state.step == settings.steps
        if ends or state.step % FIGURES_EVERY == 0 or state.step % settings.checkpoint_every_steps == 0:
            self._look(loss, figures, rate)
        if self._around.validate and (ends or state.step % settings.validate_every_steps == 0):
            self._validate(self._around.validate)
        if ends or state.ended_early or state.step % settings.checkpoint_every_steps == 0:
            self._checkpoint()

    def _embedded(self, batch: Batch, generator: torch.Generator) -> Embedded:
        """Change the pictures, and embed them all in one pass."""
        anchor, positive, negative = self._views(batch, generator)
        image_BCHW = self._encoder.normalise(torch.cat([anchor, positive, negative]))
        if self._settings.channels_last:
            image_BCHW = image_BCHW.contiguous(memory_format=torch.channels_last)
        with self._mixed_precision():
            embedding_BD = self._parallel(image_BCHW)
        anchor_BD, positive_BD, negative_MD = embedding_BD.float().split([len(anchor), len(positive), len(negative)])
        _, negative_product_M, negative_category_M = batch.negatives()
        return Embedded(
            anchor_BD=anchor_BD,
            positive_BD=positive_BD,
            product_B=batch.product_B,
            category_B=batch.category_B,
            negative_MD=negative_MD,
            negative_product_M=negative_product_M,
            negative_category_M=negative_category_M,
        )

    def _views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The pictures as the network sees them in this step: anchors, positives, negatives."""
        side, strength = self._encoder.preprocessing.crop, self._settings.augmentation
        negative_MCHW, _, _ = batch.negatives()
        if batch.anchor_BCHW is None:
            plain_BCHW = central(batch.positive_BCHW, side)
            return wild_views(plain_BCHW, generator=generator), plain_BCHW, central(negative_MCHW, side)
        shop, street = SHOP.scaled(strength), STREET.scaled(strength)
        anchor_BCHW = changed(batch.anchor_BCHW, side, street, generator=generator)
        if share := self._settings.synthetic_share:
            wild_BCHW = wild_views(central(batch.positive_BCHW, side), generator=generator)
            replaced_B = torch.rand(len(batch), generator=generator).to(anchor_BCHW.device) < share
            anchor_BCHW = torch.where(replaced_B[:, None, None, None], wild_BCHW, anchor_BCHW)
        shop_BCHW = changed(torch.cat([batch.positive_BCHW, negative_MCHW]), side, shop, generator=generator)
        return anchor_BCHW, shop_BCHW[: len(batch)], shop_BCHW[len(batch) :]

    def _mixed_precision(self) -> contextlib.AbstractContextManager[Any]:
        if self._settings.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._encoder.device.type, torch.bfloat16)

    def _look(self, loss: Tensor, figures: Mapping[str, Tensor], rate: float) -> None:
        """Fetch the step's figures, the mean over all workers; raise where they show that training went wrong."""
        names = ["loss", *figures]
        sums = sum_over_workers(torch.stack([loss.detach(), *figures.values()]).float())
        values = dict(zip(names, (sums / self._workers).tolist(), strict=True))
        step = self.state.step
        if not math.isfinite(values["loss"]):
            raise VisnetError(f"the loss is {values['loss']} at step {step}: lower train.learning_rate")
        if collapsed := self._watch.look(values["loss"], values):
            text = f"the embedding has collapsed by step {step}: {collapsed}"
            if self._settings.collapse_after:
                raise CollapsedError(
                    f"{text}. Lower train.learning_rate, or take less hard negatives (train.negatives: batch); with "
                    "train.collapse_after: 0 this only warns"
                )
            logger.warning("%s", text)
        self.state.figures = {name: round(value, 6) for name, value in values.items()}
        rates = {"learning_rate": rate, "anchors_per_s": self._clock.rate(step)}
        self._around.scalars(step, {f"train/{name}": value for name, value in (values | rates).items()})
        self._clock.tick(step, values, speak=self._rank == 0)

    def _validate(self, validate: Callable[[], dict[str, float]]) -> None:
        recalls, state = validate(), self.state
        self._around.scalars(state.step, {f"validation/{name}": value for name, value in recalls.items()})
        found = recalls[f"recall_at_{self._settings.validation_k}"]
        state.validations.append({"step": state.step, **{name: round(value, 5) for name, value in recalls.items()}})
        if found > state.best_recall:
            state.best_recall, state.best_step = found, state.step
            state.best_weights = _copy(self._network) if self._rank == 0 else {}
        worse = sum(entry["step"] > state.best_step for entry in state.validations)
        if self._rank == 0:
            figures = "  ".join(f"{name} {value:.3f}" for name, value in recalls.items())
            logger.info("validation at step %d: %s%s", state.step, figures, "" if worse else "  (best so far)")
        if self._settings.patience and worse >= self._settings.patience:
            state.ended_early = True
            if self._rank == 0:
                logger.info("validation has not become better since step %d: training ends", state.best_step)

    def _checkpoint(self) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self.state.history.append({"step": self.state.step, "seconds": seconds, **self.state.figures})
        self.state.weights, self.state.optimizer = self._network.state_dict(), self._optimizer.state_dict()
        self._around.checkpoint(self.state)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
