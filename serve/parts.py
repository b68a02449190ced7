"""The parts that serve one release, as Serve applications without a route: the embedder, and one for each shard.

Applications of their own, so that a release can be started beside another one whatever its number of shards, and a
replica that dies is started again by Serve with just the arguments of its release. A part's name holds what it is made
of, so an embedder stays where only the index changes, and changed sizes make new parts beside the old.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ray import serve
from ray.serve.api import RunTarget

from visnet.platform.allocator import ENVIRONMENT
from visnet.platform.detector_manifest import detector_directory
from visnet.platform.encoder_manifest import encoder_directory
from visnet.platform.fleet.definition import POOL
from visnet.platform.index import IndexManifest, read_index
from visnet.platform.manifest import digest_of
from visnet.platform.placement import Part, Plan
from visnet.platform.release import ReleaseManifest, read_release
from visnet.platform.settings import ServeSettings
from visnet.platform.store import Store
from visnet.serve.embedder import EmbedderServer
from visnet.serve.service_state import Serving
from visnet.serve.shards import ShardServer

HANDLE_REQUESTS = 1_024
"""Requests in flight that a replica behind the ingress takes; above any batch, so that batches can form."""
PROCESS_BYTES = 400 * 2**20
"""Memory of a replica before it holds anything."""
EMBEDDER, SHARD = "embedder", "shard"
"""Names of the deployments within their applications."""


def plan_of(store: Store, release: str, settings: ServeSettings, journal: str | None) -> Plan:
    """The parts of a release.

    Raises:
        NotFoundError, StoreError: the release or its pieces can't be read.
    """
    manifest = read_release(store, release)
    index = read_index(store, manifest.index)
    parts = (_embedder_part(store, manifest, settings), *_shard_parts(manifest, index, settings, journal))
    return Plan(name=digest_of(*(part.name for part in parts)), release=release, parts=parts)


def shard_names(plan: Plan) -> list[str]:
    """The applications of a plan's shards, in order."""
    return [part.name for part in plan.parts[1:]]


def embedder_name(plan: Plan) -> str:
    """The application of a plan's embedder."""
    return plan.parts[0].name


def serving_of(plan: Plan) -> Serving:
    """A plan as the ingresses are told of it."""
    return Serving(plan=plan.name, release=plan.release, embedder=embedder_name(plan), shards=tuple(shard_names(plan)))


def targets(
    store: Store, plan: Plan, parts: tuple[Part, ...], settings: ServeSettings, journal: str | None
) -> list[RunTarget]:
    """The applications of some of a plan's parts, to be run."""
    manifest = read_release(store, plan.release)
    apps: dict[str, Any] = {embedder_name(plan): _embedder_app(store, manifest, settings)}
    for number, name in enumerate(shard_names(plan)):
        apps[name] = _shard_app(store, plan, number, settings, journal)
    return [
        RunTarget(target=apps[part.name], name=part.name, route_prefix=None, external_scaler_enabled=part.resizable)
        for part in parts
    ]


def _embedder_part(store: Store, manifest: ReleaseManifest, settings: ServeSettings) -> Part:
    chosen = settings.embedder
    margin = settings.detection.margin
    further = [manifest.detector, margin] if manifest.detector else []
    kind = digest_of(dataclasses.asdict(chosen), settings.pool, *further)
    held = store.size_bytes(encoder_directory(manifest.encoder))
    if manifest.detector is not None:
        held += store.size_bytes(detector_directory(manifest.detector))
    return Part(
        name=f"{EMBEDDER}-{manifest.encoder}-{kind}",
        replicas=chosen.min_replicas,
        cpus=chosen.cpus,
        gpus=chosen.gpus,
        memory_bytes=PROCESS_BYTES + 2 * held,
        resizable=False,
    )


def _shard_parts(
    manifest: ReleaseManifest, index: IndexManifest, settings: ServeSettings, journal: str | None
) -> list[Part]:
    chosen = settings.shard
    kind = digest_of(dataclasses.asdict(dataclasses.replace(chosen, replicas=1)), journal, settings.pool)
    return [
        Part(
            name=f"{SHARD}-{number}-{manifest.release}-{kind}",
            replicas=chosen.replicas,
            cpus=chosen.cpus,
            gpus=chosen.gpus,
            memory_bytes=shard_memory_bytes(index, number, on_gpu=bool(chosen.gpus)),
            spread=chosen.replicas > 1 and chosen.apart,
        )
        for number in range(index.shards)
    ]


def shard_memory_bytes(index: IndexManifest, shard: int, *, on_gpu: bool) -> int:
    """What a copy of a shard takes of its machine's memory: float32 vectors, unless a GPU or FAISS's lists hold them;
    ids, attributes and pictures are mapped."""
    held = 0 if on_gpu or index.kind != "exact" else 4 * index.dimension * index.shard_rows[shard]
    return PROCESS_BYTES + held


def _embedder_app(store: Store, manifest: ReleaseManifest, settings: ServeSettings) -> Any:
    chosen = settings.embedder
    deployment = serve.deployment(
        EmbedderServer,
        name=EMBEDDER,
        max_ongoing_requests=HANDLE_REQUESTS,
        autoscaling_config={
            "min_replicas": chosen.min_replicas,
            "max_replicas": chosen.max_replicas,
            "target_ongoing_requests": chosen.target_ongoing_requests,
            "upscale_delay_s": chosen.upscale_delay_s,
            "downscale_delay_s": chosen.downscale_delay_s,
            "downscaling_factor": chosen.downscaling_factor,
            "look_back_period_s": min(30.0, chosen.upscale_delay_s),
        },
        ray_actor_options=actor_options(
            settings, chosen.cpus, chosen.gpus, environment=None if chosen.gpus else ENVIRONMENT
        ),
    )
    return deployment.bind(store, manifest.encoder, manifest.detector, chosen, margin=settings.detection.margin)


def _shard_app(store: Store, plan: Plan, number: int, settings: ServeSettings, journal: str | None) -> Any:
    part = plan.parts[1 + number]
    deployment = serve.deployment(
        ShardServer,
        name=SHARD,
        num_replicas=part.replicas,
        max_ongoing_requests=HANDLE_REQUESTS,
        max_replicas_per_node=1 if part.spread else None,
        ray_actor_options=actor_options(settings, part.cpus, part.gpus, memory_bytes=part.memory_bytes),
    )
    return deployment.bind(store, plan.release, number, settings.shard, journal)


def actor_options(
    settings: ServeSettings,
    cpus: float,
    gpus: float = 0.0,
    *,
    memory_bytes: int = 0,
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Ray's options for a replica: what it takes, on the nodes of the service's pool."""
    options: dict[str, Any] = {"num_cpus": cpus}
    if settings.pool is not None:
        options["label_selector"] = {POOL: settings.pool}
    if gpus:
        options["num_gpus"] = gpus
    if memory_bytes:
        options["memory"] = memory_bytes
    if environment:
        options["runtime_env"] = {"env_vars": environment}
    return options
