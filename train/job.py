"""The training job on Ray Train: data, workers, checkpoints and the encoder that comes of it.

A run is named by everything that decides its result. Started again after a crash it goes on from its last
checkpoint; started again after it finished, it gives back the encoder it made.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any

from visnet.platform.catalog import Catalog
from visnet.platform.encoder import Encoder, EncoderManifest, encoder_manifest, save_encoder
from visnet.platform.errors import VisnetError
from visnet.platform.manifest import digest_of, finished
from visnet.platform.networks import Recipe, describe_recipe, make_recipe
from visnet.platform.settings import TrainSettings
from visnet.platform.store import Store
from visnet.train.data import mining_bank, training_examples
from visnet.train.examples import Examples, HoldOut
from visnet.train.state import State
from visnet.train.validation import ValidationPlan, plan_validation
from visnet.train.worker import train_worker

logger = logging.getLogger(__name__)

CHECKPOINTS_KEPT = 2
PLACE = ("workers", "min_workers", "elastic_check_s", "cpus_per_worker", "gpus_per_worker", "backend", "max_failures")
"""Settings that say where a run takes place, not what comes of it: with others it goes on from its checkpoint."""


def train_encoder(
    store: Store, catalog: Catalog, examples: Examples, settings: TrainSettings, *, base: str | None = None
) -> tuple[EncoderManifest, bool]:
    """Train an encoder on a connected Ray cluster and write it as an artifact.

    Args:
        base: id of an encoder to start from, whose recipe is then taken.

    Returns:
        The encoder's manifest, and whether it stood already.

    Raises:
        VisnetError: the training failed; the text says why.
    """
    first, last = settings.mine_ranks
    if first >= last:
        raise VisnetError(f"train.mine_ranks: expected [first, last) with first < last, got {[first, last]}")
    recipe = _recipe(store, settings, base)
    decisive = {k: v for k, v in dataclasses.asdict(settings).items() if k not in PLACE}
    training = {
        "catalog": catalog.reference,
        "examples": dataclasses.asdict(examples),
        "recipe": describe_recipe(recipe),
        "base": base,
        "settings": decisive,
    }
    key = digest_of(training)
    for name in finished(store, "encoders"):
        if (known := encoder_manifest(store, name)).training_key == key:
            return known, True
    run = _Run(store, catalog, examples, settings, recipe, base, key)
    state, seconds = run.fit()
    encoder = Encoder(recipe)
    encoder.network.load_state_dict(state.best_weights or state.weights)
    manifest = save_encoder(
        store,
        encoder,
        pretrained=state.pretrained,
        training={**training, "workers": settings.workers},
        training_key=key,
        metrics=_metrics(state, settings, seconds),
        files=_event_files(store, f"training/{key}/tensorboard"),
    )
    store.delete_directory(f"training/{key}")  # its checkpoints led to the encoder and are of no more use
    return manifest, False


def _recipe(store: Store, settings: TrainSettings, base: str | None) -> Recipe:
    if base is None:
        return make_recipe(settings.recipe, **settings.recipe_options)
    described = {key: value for key, value in encoder_manifest(store, base).recipe.items() if key != "preprocessing"}
    return make_recipe(**described)


def _metrics(state: State, settings: TrainSettings, seconds: float) -> dict[str, Any]:
    anchors = state.step * settings.batch_size
    return {
        "seconds": round(seconds, 1),
        "steps": state.step,
        "anchors": anchors,
        "anchors_per_s": round(anchors / seconds, 1),
        "worlds": state.worlds,
        "ended_early": state.ended_early,
        "best_step": state.best_step if state.validations else state.step,
        "best_validation_recall": round(state.best_recall, 5) if state.validations else None,
        "history": state.history,
        "validations": state.validations,
    }


def _event_files(store: Store, directory: str) -> dict[str, bytes]:
    return {f"tensorboard/{name}": store.read(f"{directory}/{name}") for name in store.names(directory)}


@dataclasses.dataclass(frozen=True)
class _Run:
    """One run of Ray Train."""

    store: Store
    catalog: Catalog
    examples: Examples
    settings: TrainSettings
    recipe: Recipe
    base: str | None
    key: str

    def fit(self) -> tuple[State, float]:
        """Run to the end; the last checkpoint's state, and the seconds it took."""
        from ray.train import DataConfig, RunConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        refuse_hang(self.settings, cpus=cluster_cpus())
        started = time.monotonic()
        logger.info("decoding the %s of %s", self.examples.kind, self.catalog.reference)
        trainer = TorchTrainer(
            train_worker,
            train_loop_config=self._config(),
            torch_config=TorchConfig(backend=backend(self.settings)),
            scaling_config=scaling(self.settings, cpus=cluster_cpus()),
            run_config=RunConfig(
                name=self.key,
                storage_path=self.store.path("training"),
                storage_filesystem=self.store.filesystem,
                **_endurance(self.settings),
            ),
            datasets=self._datasets(),
            dataset_config=DataConfig(datasets_to_split=["train"]),
        )
        self.store.make_directory("training")
        try:
            result = trainer.fit()
        except Exception as error:  # Ray wraps what the workers raised in types of its own
            raise VisnetError(f"the training failed: {_root_cause(error)}") from error
        if result.return_value is not None:
            raise VisnetError(f"the training was given up: {result.return_value}")
        with result.checkpoint.as_directory() as folder:
            return State.load(folder), time.monotonic() - started

    def _config(self) -> dict[str, Any]:
        manifest = self.catalog.manifest
        plan = plan_validation(self.catalog, self.examples, self._hold_out(), most=self.settings.validation_queries)
        return {
            "settings": dataclasses.asdict(self.settings),
            "store": self.store.location,
            "catalog": (manifest.name, manifest.version),
            "recipe": describe_recipe(self.recipe),
            "base": self.base,
            "key": self.key,
            "validation": _described(plan),
            "triplets": self.examples.kind == "triplets",
        }

    def _hold_out(self) -> HoldOut:
        settings = self.settings
        by = settings.validation_by if self.examples.kind == "photos" else "product"
        return HoldOut(share=settings.validation_share, by=by, seed=settings.seed)

    def _datasets(self) -> dict[str, Any]:
        side, hold_out = self.recipe.preprocessing.resize, self._hold_out()
        train = training_examples(self.catalog, self.examples, side=side, hold_out=hold_out, seed=self.settings.seed)
        if not self.settings.mine_every_steps:
            return {"train": train}
        nothing = HoldOut(share=0.0, by="product", seed=0)  # a held-out photo's product is learned from all the same
        held_out = nothing if hold_out.by == "photo" else hold_out
        pictures = self.settings.mine_pictures
        return {
            "train": train,
            "bank": mining_bank(self.catalog, self.examples, side=side, hold_out=held_out, pictures=pictures),
        }


def scaling(settings: TrainSettings, *, cpus: float) -> Any:
    """How many workers with what; elastic if fewer than the most will do.

    Without GPUs elastic workers would take every CPU and leave none to decode, so they grow no further than the
    cluster's CPUs at the start.
    """
    from ray.train import ScalingConfig

    resources: dict[str, float] = {"CPU": settings.cpus_per_worker}
    if settings.gpus_per_worker:
        resources["GPU"] = settings.gpus_per_worker
    least, most = settings.min_workers or settings.workers, settings.workers
    if least < most and not settings.gpus_per_worker:
        most = max(least, min(most, int((cpus - 1) // settings.cpus_per_worker)))
    return ScalingConfig(
        num_workers=(least, most) if least < most else most,
        use_gpu=settings.gpus_per_worker > 0,
        resources_per_worker=resources,
        elastic_resize_monitor_interval_s=settings.elastic_check_s,
    )


def backend(settings: TrainSettings) -> str:
    """What carries tensors between the workers."""
    if settings.backend != "auto":
        return settings.backend
    return "nccl" if settings.gpus_per_worker else "gloo"


def cluster_cpus() -> float:
    """Logical CPUs of the connected cluster."""
    import ray

    return float(ray.cluster_resources().get("CPU", 0))


def _endurance(settings: TrainSettings) -> dict[str, Any]:
    from ray.train import CheckpointConfig, FailureConfig

    return {
        "failure_config": FailureConfig(max_failures=settings.max_failures),
        "checkpoint_config": CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
    }


def refuse_hang(settings: TrainSettings, *, cpus: float) -> None:
    """Workers that take every CPU leave none for decoding, and Ray would wait for ever without a word.

    Raises:
        VisnetError: the text says what to lower.
    """
    workers = settings.min_workers or settings.workers
    want = workers * settings.cpus_per_worker
    if not settings.gpus_per_worker and want + 1 > cpus:
        raise VisnetError(
            f"{workers} workers of {settings.cpus_per_worker:g} CPUs and 1 CPU for decoding need {want + 1:g} "
            f"logical CPUs, the cluster has {cpus:g}: lower train.workers or train.cpus_per_worker, or add nodes"
        )


def _described(plan: ValidationPlan | None) -> dict[str, Any] | None:
    return None if plan is None else dataclasses.asdict(plan)


def _root_cause(error: BaseException) -> str:
    while (cause := getattr(error, "cause", None) or error.__cause__) is not None:
        error = cause
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
