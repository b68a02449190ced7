"""What runs in each Ray Train worker of an encoder's training: the encoder, its data, its loss, its validation."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from torch import Tensor

from visnet.platform.catalog import open_catalog
from visnet.platform.encoder import Encoder, load_encoder
from visnet.platform.networks import Recipe, make_recipe
from visnet.platform.settings import TrainSettings
from visnet.platform.store import Store
from visnet.train.augment import central
from visnet.train.data import batches, read_bank
from visnet.train.losses import InfoNCE, Loss, Negatives, TripletHinge
from visnet.train.mining import HardNegatives
from visnet.train.session import Session
from visnet.train.triplet_task import TripletTask
from visnet.train.validation import Validation, ValidationPlan

logger = logging.getLogger(__name__)

DEFAULT_MARGIN = 0.2


def train_worker(config: dict[str, Any]) -> str | None:
    """One worker's whole life: from the last checkpoint, or the start, to the end.

    Args:
        config: as `job.py` and `run.py` make it: settings, store, key, catalog, recipe, base (an encoder's id or
            None), validation (a plan or None) and triplets (whether every anchor brings its negative).

    Returns:
        Why the training was given up; None where it went to its end.
    """
    import ray.train

    settings = TrainSettings(**config["settings"])
    session = Session.start(settings, config)
    encoder = Encoder(make_recipe(**config["recipe"]), device=str(session.device))
    if not session.state.step:
        session.state.pretrained = _first_weights(encoder, session.store, config["base"], speak=session.rank == 0)
    shard, size = ray.train.get_dataset_shard("train"), session.batch_size
    task = TripletTask(
        encoder,
        make_loss(settings, encoder.recipe, triplets=config["triplets"]),
        settings,
        negatives=_hard_negatives(encoder, settings) if settings.mine_every_steps else None,
    )
    return session.run(
        task,
        lambda epoch: batches(shard, size=size, seed=settings.seed + epoch, device=session.device),
        validate=_validation(config, encoder, session.store, settings),
        compile=settings.compile,
    )


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
