"""One run of Ray Train, whatever it trains: its workers, its restarts, and what comes back of it.

A run is named by its key, a digest of everything that decides its result. Started again after a crash it goes on from
its last checkpoint, which is kept in the store until the run's artifact is written (`outcome.py`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from visnet.platform.admission_desk import Grant, admitted
from visnet.platform.cluster import current, selector
from visnet.platform.errors import VisnetError
from visnet.platform.pools import ALL
from visnet.platform.ray_nodes import autoscaled, capacity, gpus_are_pretended, total
from visnet.platform.settings_train import JobSettings
from visnet.platform.store import Store
from visnet.train.outcome import RUNS
from visnet.train.state import State

if TYPE_CHECKING:
    import ray.data

CHECKPOINTS_KEPT = 2
DECODING_CPUS = 1.0
"""Left beside the workers: a training that took every CPU would wait for its own data for ever."""
PLACE = (
    "workers",
    "min_workers",
    "elastic_check_s",
    "cpus_per_worker",
    "gpus_per_worker",
    "decoding_cpus",
    "backend",
    "max_failures",
)
"""Settings that say where a run takes place, not what comes of it: with others it goes on from its checkpoint."""


def decisive(settings: JobSettings) -> dict[str, Any]:
    """The settings that belong in a run's key."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in PLACE}


def fit(
    store: Store,
    settings: JobSettings,
    *,
    key: str,
    worker: Callable[[dict[str, Any]], str | None],
    config: Callable[[], Mapping[str, Any]],
    datasets: Callable[[], Mapping[str, ray.data.Dataset]],
    split: Sequence[str],
) -> tuple[State, float]:
    """Run to the end on a connected Ray cluster.

    Args:
        key: names the run.
        worker: what runs in each worker, with a configuration; returns why it gave up, or None (see `session.py`).
        config: the task's own part of the configuration; settings, store and key are added to it. It and `datasets`
            are made here, as they may take long: after it is clear that the workers fit the cluster.
        datasets: by the names that the workers ask for.
        split: the datasets of which each worker gets a part; of the others it gets all.

    Returns:
        The last checkpoint's state, and the seconds that it took.

    Raises:
        VisnetError: the workers don't fit the cluster, or the training failed or was given up; the text says why.
    """
    from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    refuse_hang(settings, cpus=cluster_cpus())
    store.make_directory(RUNS)
    with _admitted(settings) as grant:
        started = time.monotonic()
        grant.limit_data()  # what is made of the data before the workers start
        most = grant.copies if autoscaled() else settings.workers  # elsewhere nodes may come that nobody knows of
        given = {"settings": dataclasses.asdict(settings), "store": store.location, "key": key}
        trainer = TorchTrainer(
            worker,
            train_loop_config={**given, **config()},
            torch_config=TorchConfig(backend=backend(settings)),
            scaling_config=scaling(dataclasses.replace(settings, workers=most), cpus=cluster_cpus()),
            run_config=RunConfig(
                name=key,
                storage_path=store.path(RUNS),
                storage_filesystem=store.filesystem,
                failure_config=FailureConfig(max_failures=settings.max_failures),
                checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
            ),
            datasets=dict(datasets()),
            dataset_config=DataConfig(datasets_to_split=list(split), execution_options=_ingest(grant)),
        )
        try:
            result = trainer.fit()
        except Exception as error:  # Ray wraps what the workers raised in types of its own
            raise VisnetError(f"the training failed: {_root_cause(error)}") from error
    if result.return_value is not None:
        raise VisnetError(f"the training was given up: {result.return_value}")
    with result.checkpoint.as_directory() as folder:
        return State.load(folder), time.monotonic() - started


def _admitted(settings: JobSettings) -> AbstractContextManager[Grant]:
    """Room for the workers, for as long as the training lasts: it can't give any back."""
    return admitted(
        kind=settings.section,
        least=settings.min_workers or settings.workers,
        most=settings.workers,
        cpus=settings.cpus_per_worker,
        gpus=settings.gpus_per_worker,
        beside_cpus=settings.decoding_cpus,
    )


def _ingest(grant: Grant) -> Any:
    """Ray Data's options for the workers' data: on the nodes of this session's pool, and no more than was granted."""
    from ray.train import DataConfig

    options = DataConfig.default_ingest_options()
    options.label_selector = selector() or None
    options.resource_limits = grant.beside()
    return options


def scaling(settings: JobSettings, *, cpus: float) -> Any:
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
        label_selector=selector() or None,
    )


def backend(settings: JobSettings) -> str:
    """What carries tensors between the workers."""
    if settings.backend != "auto":
        return settings.backend
    return "nccl" if settings.gpus_per_worker and not gpus_are_pretended() else "gloo"


def cluster_cpus() -> float:
    """Logical CPUs that the connected cluster has, or may get, for this session's work."""
    connection = current()
    return total(capacity(ALL if connection is None else connection.pool))[0]


def refuse_hang(settings: JobSettings, *, cpus: float) -> None:
    """Workers that take every CPU leave none for decoding, and Ray would wait for ever without a word.

    Raises:
        VisnetError: the text says what to lower.
    """
    workers = settings.min_workers or settings.workers
    want = workers * settings.cpus_per_worker
    if not settings.gpus_per_worker and want + DECODING_CPUS > cpus:
        lower = f"{settings.section}.workers or {settings.section}.cpus_per_worker"
        raise VisnetError(
            f"{workers} workers of {settings.cpus_per_worker:g} CPUs and 1 CPU for decoding need {want + 1:g} "
            f"logical CPUs, the cluster has {cpus:g}: lower {lower}, or add nodes"
        )


def _root_cause(error: BaseException) -> str:
    while (cause := getattr(error, "cause", None) or error.__cause__) is not None:
        error = cause
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
