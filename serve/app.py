"""The service as a Serve application: ingress in front of an embedder and one deployment per shard."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig

from visnet.platform.index import read_index
from visnet.platform.release import read_release
from visnet.platform.settings import ServeSettings
from visnet.platform.store import Store
from visnet.serve.embedder import EmbedderServer
from visnet.serve.ingress import Ingress
from visnet.serve.problems import RETRY_AFTER_S
from visnet.serve.shards import ShardServer

HANDLE_REQUESTS = 1_024
"""Requests in flight that a replica behind the ingress takes; above any batch, so that batches can form."""


def build(store: Store, release: str, settings: ServeSettings) -> Application:
    """The application for one release; the number of shards is the index's own.

    Raises:
        NotFoundError, StoreError: the release or its index can't be read.
    """
    index = read_index(store, read_release(store, release).index)
    shards = [_shard(number, settings).bind(store, release, number, settings.shard) for number in range(index.shards)]
    embedder = _embedder(settings).bind(store, release, settings.embedder)
    ingress = serve.deployment(
        Ingress,
        name="ingress",
        num_replicas=settings.ingress_replicas,
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
        ray_actor_options={"num_cpus": 0.5},
    )
    return ingress.bind(store, release, settings, embedder, *shards)


def _embedder(settings: ServeSettings) -> Any:
    chosen = settings.embedder
    return serve.deployment(
        EmbedderServer,
        name="embedder",
        max_ongoing_requests=HANDLE_REQUESTS,
        autoscaling_config={
            "min_replicas": chosen.min_replicas,
            "max_replicas": chosen.max_replicas,
            "target_ongoing_requests": chosen.target_ongoing_requests,
        },
        ray_actor_options=_resources(chosen.cpus, chosen.gpus),
    )


def _shard(number: int, settings: ServeSettings) -> Any:
    chosen = settings.shard
    return serve.deployment(
        ShardServer,
        name=f"shard-{number}",
        num_replicas=chosen.replicas,
        max_ongoing_requests=HANDLE_REQUESTS,
        max_replicas_per_node=1 if chosen.replicas > 1 else None,
        ray_actor_options=_resources(chosen.cpus, chosen.gpus),
    )


def _resources(cpus: float, gpus: float) -> dict[str, float]:
    return {"num_cpus": cpus, **({"num_gpus": gpus} if gpus else {})}
