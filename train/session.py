"""What every Ray Train worker does around its loop, whatever it trains: device, state, checkpoints, curves.

A worker function starts a session from its configuration, makes its task and its batches, and has them run:

    session = Session.start(settings, config)
    task = ...  # trains on session.device, from the start or from session.state
    return session.run(task, batches)
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from visnet.platform.errors import VisnetError
from visnet.platform.logs import log_to_stderr
from visnet.platform.settings_train import JobSettings
from visnet.platform.store import Store
from visnet.train.loop import Around, Loop
from visnet.train.outcome import curves
from visnet.train.scalars import Scalars
from visnet.train.state import State
from visnet.train.task import BatchT, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Session:
    """One worker's part of a run."""

    settings: JobSettings
    store: Store
    key: str
    """Names the run."""
    device: torch.device
    rank: int
    workers: int
    state: State
    """Where to start: fresh, or the last checkpoint's."""

    @classmethod
    def start(cls, settings: JobSettings, config: Mapping[str, Any]) -> Session:
        """Set up the process: its log, threads, seed and device; and find the last checkpoint, if there is one.

        Args:
            config: as `run.fit` makes it.
        """
        import ray.train

        log_to_stderr()
        torch.set_num_threads(max(1, int(settings.cpus_per_worker)))
        torch.manual_seed(settings.seed)
        context = ray.train.get_context()
        rank, workers = context.get_world_rank(), context.get_world_size()
        device = _device(settings)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        state = _restored()
        state.worlds.append([state.step, workers])
        if state.step and rank == 0:
            logger.info("going on from the checkpoint at step %d with %d workers", state.step, workers)
        store = Store(config["store"])
        return cls(
            settings=settings, store=store, key=config["key"], device=device, rank=rank, workers=workers, state=state
        )

    @property
    def batch_size(self) -> int:
        """Examples in a step of this worker."""
        return max(1, self.settings.batch_size // self.workers)

    def run(
        self,
        task: Task[BatchT],
        batches: Callable[[int], Iterator[BatchT]],
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
        compile: bool = False,
    ) -> str | None:
        """Train to the end.

        Args:
            batches: of an epoch by its number, each of `batch_size` examples.
            validate: see `loop.Around`.
            compile: whether the network is compiled by torch.

        Returns:
            Why the training was given up, such as a collapse: all workers see it at the same step and a restart would
            see it again, so it is no failure that Ray Train should retry. None where it went to its end.
        """
        import ray.train.torch

        scalars = Scalars(self.store, curves(self.key), step=self.state.step) if self.rank == 0 else None

        def wrap(network: nn.Module) -> nn.Module:
            compiled = torch.compile(network) if compile else network
            wrapped: nn.Module = ray.train.torch.prepare_model(compiled, move_to_device=self.device)
            return wrapped

        def checkpoint(state: State) -> None:
            _report(state, save=self.rank == 0)
            if scalars:
                scalars.publish()

        def write(step: int, values: Mapping[str, float]) -> None:
            if scalars:
                scalars.write(step, values)

        around = Around(wrap=wrap, batches=batches, checkpoint=checkpoint, validate=validate, scalars=write)
        try:
            Loop(task, self.settings, around, self.state).run()
        except VisnetError as error:
            return str(error)
        finally:
            if scalars:
                scalars.close()
        return None


def _device(settings: JobSettings) -> torch.device:
    """The worker's GPU; the CPU where none was asked for, or Ray's GPUs are pretended (a simulated cluster)."""
    import ray.train.torch

    if not settings.gpus_per_worker or not torch.cuda.is_available():
        return torch.device("cpu")
    device: torch.device = ray.train.torch.get_device()
    return device


def _report(state: State, *, save: bool) -> None:
    """Tell Ray Train where the run stands; one worker hands over the checkpoint."""
    import ray.train

    folder = tempfile.mkdtemp(prefix="visnet-checkpoint-")
    saved = None
    if save:
        state.save(folder)
        saved = ray.train.Checkpoint.from_directory(folder)
    ray.train.report(dict(state.history[-1]), checkpoint=saved)
    shutil.rmtree(folder, ignore_errors=True)


def _restored() -> State:
    import ray.train

    found = ray.train.get_checkpoint()
    if found is None:
        return State()
    with found.as_directory() as folder:
        return State.load(folder)
