"""The training loop: plain PyTorch, the same for every task, for one process and for many.

Knows no Ray and nothing of what is learned: `session.py` brings the wrapping for data parallelism and a place for
checkpoints, a task (`task.py`) makes a loss of a batch. Every so many steps the figures are looked at, the network is
validated on what was held out, a checkpoint is made.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor, nn

from visnet.platform.errors import VisnetError
from visnet.platform.settings_train import JobSettings
from visnet.train.clock import Clock
from visnet.train.gather import sum_over_workers, world
from visnet.train.optimizer import Freeze, make_optimizer, set_learning_rate
from visnet.train.state import State
from visnet.train.task import BatchT, Task

logger = logging.getLogger(__name__)

FIGURES_EVERY = 25
"""Steps between two looks at the figures: each look waits for the accelerator."""


@dataclass(frozen=True, kw_only=True)
class Around(Generic[BatchT]):
    """What the loop is given to work with; every function is called on every worker, at the same steps."""

    wrap: Callable[[nn.Module], nn.Module]
    """The network as it is to be called, e.g. for data parallelism; called again when other parameters learn."""
    batches: Callable[[int], Iterator[BatchT]]
    """The batches of an epoch by its number; equally many of equal size on all workers."""
    checkpoint: Callable[[State], None]
    """Every `checkpoint_every_steps` and at the end."""
    validate: Callable[[], Mapping[str, float]] | None = None
    """Figures of the network as it is by name, the task's `best_by` among them; it may leave it in evaluation mode."""
    scalars: Callable[[int, Mapping[str, float]], None] = lambda step, values: None
    """Points of the curves to show."""


class Loop(Generic[BatchT]):
    """One training, from `state` to its end.

    Args:
        task: its network is trained in place, and its weights go into the checkpoints.
        state: where to start; a fresh `State` or one that `checkpoint` was given before.
    """

    def __init__(self, task: Task[BatchT], settings: JobSettings, around: Around[BatchT], state: State) -> None:
        self._task, self._settings, self._around = task, settings, around
        self.state = state
        self._network = task.network
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
        self._rank, self._workers = world()
        self._clock = Clock(settings.steps, settings.batch_size, task.unit)
        self._started = time.monotonic()

    def run(self) -> State:
        """Train until `settings.steps`, or until validation has not become better for `patience` times.

        Raises:
            VisnetError: an epoch has no full batch, the loss is no longer a number, or the task says that it went
                wrong.
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
                    f"an epoch has no full batch: there are fewer usable examples than {self._settings.section}."
                    f"batch_size ({self._settings.batch_size}) asks for; lower it"
                )
            self.state.epoch += 1
        return self.state

    def _done(self) -> bool:
        return self.state.ended_early or self.state.step >= self._settings.steps

    def _generator(self) -> torch.Generator:
        seed = (self._settings.seed * 1_000_003 + self.state.epoch) * 1_009 + self._rank
        return torch.Generator().manual_seed(seed)

    def _step(self, batch: BatchT, generator: torch.Generator) -> None:
        settings, state = self._settings, self.state
        batch = self._task.prepare(batch, step=state.step, generator=generator)
        if self._freeze.apply(state.step):
            self._parallel = self._around.wrap(self._network)
        rate = set_learning_rate(self._optimizer, state.step, settings)
        loss, figures = self._task.loss(self._called, batch, generator=generator)
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

    def _called(self, *inputs: Any) -> Any:
        """The network, in parallel and in the precision of the settings."""
        with self._mixed_precision():
            return self._parallel(*inputs)

    def _mixed_precision(self) -> contextlib.AbstractContextManager[Any]:
        if self._settings.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._task.device.type, torch.bfloat16)

    def _look(self, loss: Tensor, figures: Mapping[str, Tensor], rate: float) -> None:
        """Fetch the step's figures, the mean over all workers; raise where they show that training went wrong."""
        names = ["loss", *figures]
        sums = sum_over_workers(torch.stack([loss.detach(), *figures.values()]).float())
        values = dict(zip(names, (sums / self._workers).tolist(), strict=True))
        step = self.state.step
        if not math.isfinite(values["loss"]):
            section = self._settings.section
            raise VisnetError(f"the loss is {values['loss']} at step {step}: lower {section}.learning_rate")
        self._task.check(step, values)
        self.state.figures = {name: round(value, 6) for name, value in values.items()}
        rates = {"learning_rate": rate, f"{self._task.unit}_per_s": self._clock.rate(step)}
        self._around.scalars(step, {f"train/{name}": value for name, value in (values | rates).items()})
        self._clock.tick(step, f"loss {values['loss']:.4f}, {self._task.progress(values)}", speak=self._rank == 0)

    def _validate(self, validate: Callable[[], Mapping[str, float]]) -> None:
        scores, state = validate(), self.state
        self._around.scalars(state.step, {f"validation/{name}": value for name, value in scores.items()})
        found = scores[self._task.best_by]
        state.validations.append({"step": state.step, **{name: round(value, 5) for name, value in scores.items()}})
        if found > state.best_score:
            state.best_score, state.best_step = found, state.step
            state.best_weights = _copy(self._network) if self._rank == 0 else {}
        worse = sum(entry["step"] > state.best_step for entry in state.validations)
        if self._rank == 0:
            figures = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
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
