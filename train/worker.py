"""What runs in each Ray Train worker: the loop, with its part of the data and a place for checkpoints."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visnet.platform.catalog import open_catalog
from visnet.platform.encoder import Encoder, load_encoder
from visnet.platform.errors import VisnetError
from visnet.platform.logs import log_to_stderr
from visnet.platform.networks import Recipe, make_recipe
from visnet.platform.settings import TrainSettings
from visnet.platform.store import Store
from visnet.train.augment import central
from visnet.train.data import batches, read_bank
from visnet.train.loop import Around, Loop
from visnet.train.losses import InfoNCE, Loss, Negatives, TripletHinge
from visnet.train.mining import HardNegatives
from visnet.train.scalars import Scalars
from visnet.train.state import State
from visnet.train.validation import Validation, ValidationPlan

logger = logging.getLogger(__name__)

DEFAULT_MARGIN = 0.2


def train_worker(config: dict[str, Any]) -> str | None:
    """One worker's whole life: from the last checkpoint, or the start, to the end.

    Args:
        config: as `job.py` makes it: settings, store, catalog, recipe, base (an encoder's id or None), key,
            validation (a plan or None) and triplets (whether every anchor brings its negative).

    Returns:
        Why the training was given up, such as a collapse: all workers see it at the same step and a restart would see
        it again, so it is no failure that Ray Train should retry. None where it went to its end.
    """
    import ray.train.torch

    log_to_stderr()
    settings = TrainSettings(**config["settings"])
    torch.set_num_threads(max(1, int(settings.cpus_per_worker)))
    torch.manual_seed(settings.seed)
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = _device(settings)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    state = _restored()
    state.worlds.append([state.step, workers])
    encoder = Encoder(make_recipe(**config["recipe"]), device=str(device))
    store = Store(config["store"])
    if not state.step:
        state.pretrained = _first_weights(encoder, store, config["base"], speak=rank == 0)
    elif rank == 0:
        logger.info("going on from the checkpoint at step %d with %d workers", state.step, workers)
    scalars = Scalars(store, f"training/{config['key']}/tensorboard", step=state.step) if rank == 0 else None
    size = max(1, settings.batch_size // workers)
    shard = ray.train.get_dataset_shard("train")

    def wrap(network: nn.Module) -> nn.Module:
        compiled = torch.compile(network) if settings.compile else network
        wrapped: nn.Module = ray.train.torch.prepare_model(compiled, move_to_device=device)
        return wrapped

    def checkpoint(state: State) -> None:
        _report(state, save=rank == 0)
        if scalars:
            scalars.publish()

    def write(step: int, values: Mapping[str, float]) -> None:
        if scalars:
            scalars.write(step, values)

    around = Around(
        wrap=wrap,
        batches=lambda epoch: batches(shard, size=size, seed=settings.seed + epoch, device=device),
        checkpoint=checkpoint,
        validate=_validation(config, encoder, store, settings),
        negatives=_hard_negatives(encoder, settings) if settings.mine_every_steps else None,
        scalars=write,
    )
    loss = make_loss(settings, encoder.recipe, triplets=config["triplets"])
    try:
        Loop(encoder, loss, settings, around, state).run()
    except VisnetError as error:
        return str(error)
    finally:
        if scalars:
            scalars.close()
    return None


def make_loss(settings: TrainSettings, recipe: Recipe, *, triplets: bool) -> Loss:
    """The loss of the settings; the margin is the recipe's own unless one is set.

    Args:
        triplets: whether every anchor brings a negative of its own.
    """
    negatives: Negatives = ("own" if triplets else "batch") if settings.negatives == "auto" else settings.negatives
    if settings.loss == "info-nce":
        return InfoNCE(temperature=settings.temperature, negatives=negatives)
    margin = getattr(recipe, "margin", DEFAULT_MARGIN) if settings.margin is None else settings.margin
    return TripletHinge(margin=margin, in_class_share=settings.in_class_share, negatives=negatives)


def _device(settings: TrainSettings) -> torch.device:
    """The worker's GPU; the CPU where none was asked for, or Ray's GPUs are pretended (a simulated cluster)."""
    import ray.train.torch

    if not settings.gpus_per_worker or not torch.cuda.is_available():
        return torch.device("cpu")
    device: torch.device = ray.train.torch.get_device()
    return device


def _first_weights(encoder: Encoder, store: Store, base: str | None, *, speak: bool) -> str:
    """Fill the network with what training starts from, the same on every worker; says which weights that is."""
    if base is not None:
        encoder.network.load_state_dict(load_encoder(store, base).network.state_dict())
        found = f"encoder {base}"
    elif not hasattr(encoder.recipe, "build_pretrained"):
        return "none (the recipe trains from scratch)"
    else:
        network, found = encoder.recipe.build_pretrained()
        encoder.network.load_state_dict(network.state_dict())
    if speak:
        logger.info("training starts from the weights: %s", found)
    return found


def _validation(config: dict[str, Any], encoder: Encoder, store: Store, settings: TrainSettings) -> Validation | None:
    if config["validation"] is None:
        return None
    catalog = open_catalog(store, *config["catalog"])
    return Validation(
        catalog, ValidationPlan.of(config["validation"]), encoder, seed=settings.seed, k=settings.validation_k
    )


def _hard_negatives(encoder: Encoder, settings: TrainSettings) -> HardNegatives:
    import ray.train

    def encode(image_BCHW: Tensor) -> np.ndarray:
        cut = central(image_BCHW, encoder.preprocessing.crop)
        return encoder.encode_pixels(cut.permute(0, 2, 3, 1).numpy())

    bank = read_bank(ray.train.get_dataset_shard("bank"))
    return HardNegatives(bank, encode, ranks=settings.mine_ranks, device=encoder.device.type)


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
