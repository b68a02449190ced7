"""The training job on Ray Train: workers, data, checkpoints and the encoder that comes of it.

A run is named by everything that decides its result. Started again after a crash it goes on from its last
checkpoint; started again after it finished, it gives back the encoder it made.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from visnet.platform.catalog import Catalog
from visnet.platform.encoder import Encoder, EncoderManifest, encoder_manifest, save_encoder
from visnet.platform.errors import VisnetError
from visnet.platform.logs import log_to_stderr
from visnet.platform.manifest import digest_of, finished
from visnet.platform.networks import describe_recipe, make_recipe
from visnet.platform.settings import TrainSettings
from visnet.platform.store import Store
from visnet.train.data import batches, training_pictures
from visnet.train.loop import State, train

logger = logging.getLogger(__name__)

CHECKPOINT = "state.pt"
CHECKPOINTS_KEPT = 2


def train_encoder(
    store: Store, catalog: Catalog, settings: TrainSettings, *, where: tuple[str, str] | None = None
) -> tuple[EncoderManifest, bool]:
    """Train an encoder on a connected Ray cluster and write it as an artifact.

    Args:
        where: train only on rows of which this attribute has this value.

    Returns:
        The encoder's manifest, and whether it stood already.

    Raises:
        VisnetError: the training failed; the text says why.
    """
    recipe = make_recipe(settings.recipe)
    training = {
        "catalog": catalog.reference,
        "where": list(where) if where else None,
        "recipe": describe_recipe(recipe),
        "settings": dataclasses.asdict(settings),
    }
    key = digest_of(training)
    for name in finished(store, "encoders"):
        if (known := encoder_manifest(store, name)).training_key == key:
            return known, True
    state, seconds = _fit(store, catalog, settings, where, key)
    encoder = Encoder(recipe)
    encoder.network.load_state_dict(state.weights)
    pictures = state.step * settings.batch_size
    metrics = {
        "seconds": round(seconds, 1),
        "steps": state.step,
        "workers": settings.workers,
        "pictures": pictures,
        "pictures_per_s": round(pictures / seconds, 1),
        "history": state.history,
    }
    manifest = save_encoder(
        store, encoder, pretrained=state.pretrained, training=training, training_key=key, metrics=metrics
    )
    store.delete_directory(f"training/{key}")  # its checkpoints led to the encoder and are of no more use
    return manifest, False


def _fit(
    store: Store, catalog: Catalog, settings: TrainSettings, where: tuple[str, str] | None, key: str
) -> tuple[State, float]:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    _refuse_hang(settings)
    started = time.monotonic()
    logger.info("decoding the pictures of %s", catalog.reference)
    pictures = training_pictures(catalog, make_recipe(settings.recipe).preprocessing, where=where, seed=settings.seed)
    resources: dict[str, float] = {"CPU": settings.cpus_per_worker}
    if settings.gpus_per_worker:
        resources["GPU"] = settings.gpus_per_worker
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"settings": dataclasses.asdict(settings)},
        torch_config=TorchConfig(backend="nccl" if settings.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=settings.workers, use_gpu=settings.gpus_per_worker > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=key,
            storage_path=store.path("training"),
            storage_filesystem=store.filesystem,
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
        ),
        datasets={"train": pictures},
    )
    store.make_directory("training")
    try:
        result = trainer.fit()
    except Exception as error:  # Ray wraps what the workers raised in types of its own
        raise VisnetError(f"the training failed: {_root_cause(error)}") from error
    with result.checkpoint.as_directory() as folder:
        state = State(**torch.load(Path(folder) / CHECKPOINT, weights_only=True, map_location="cpu"))
    return state, time.monotonic() - started


def train_worker(config: dict[str, Any]) -> None:
    """What runs in each Ray Train worker."""
    import ray.train.torch

    log_to_stderr()
    settings = TrainSettings(**config["settings"])
    torch.set_num_threads(max(1, int(settings.cpus_per_worker)))
    torch.manual_seed(settings.seed)
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device() if settings.gpus_per_worker else torch.device("cpu")
    state = _restore()
    recipe = make_recipe(settings.recipe)
    encoder = Encoder(recipe, device=str(device))
    if state.step == 0 and rank == 0 and hasattr(recipe, "build_pretrained"):  # DDP hands rank 0's weights to all
        network, state.pretrained = recipe.build_pretrained()
        encoder.network.load_state_dict(network.state_dict())
        logger.info("pretrained weights: %s", state.pretrained)
    parallel = ray.train.torch.prepare_model(encoder.network, move_to_device=device)
    shard = ray.train.get_dataset_shard("train")
    size = max(1, settings.batch_size // workers)

    def epoch_batches(epoch: int) -> Any:
        return batches(shard, size=size, seed=settings.seed + epoch, device=device)

    def checkpoint(state: State) -> None:
        folder = tempfile.mkdtemp(prefix="visnet-checkpoint-")
        saved = None
        if rank == 0:
            torch.save(vars(state), Path(folder) / CHECKPOINT)
            saved = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(dict(state.history[-1]), checkpoint=saved)
        shutil.rmtree(folder, ignore_errors=True)

    if state.step:
        logger.info("going on from the checkpoint at step %d", state.step)
    train(encoder, parallel, epoch_batches, settings, state=state, checkpoint=checkpoint)


def _restore() -> State:
    import ray.train

    found = ray.train.get_checkpoint()
    if found is None:
        return State()
    with found.as_directory() as folder:
        return State(**torch.load(Path(folder) / CHECKPOINT, weights_only=True, map_location="cpu"))


def _refuse_hang(settings: TrainSettings) -> None:
    """Workers that take every CPU leave none for decoding, and Ray would wait for ever without a word."""
    import ray

    have = ray.cluster_resources().get("CPU", 0)
    want = settings.workers * settings.cpus_per_worker
    if not settings.gpus_per_worker and want + 1 > have:
        raise VisnetError(
            f"{settings.workers} workers of {settings.cpus_per_worker:g} CPUs and 1 CPU for decoding need {want + 1:g} "
            f"logical CPUs, the cluster has {have:g}: lower train.workers or train.cpus_per_worker, or add nodes"
        )


def _root_cause(error: BaseException) -> str:
    while (cause := getattr(error, "cause", None) or error.__cause__) is not None:
        error = cause
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
