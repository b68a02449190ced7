"""The settings: typed dataclasses under `metadata.visnet` of `cluster.yaml`, the one place Ray leaves to its users.

Every command reads the same file. An option of a command goes before the file, the file before the defaults here.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic
import yaml
from annotated_types import Ge, Gt, Le

from visnet.platform.errors import SettingsError

_STRICT = pydantic.ConfigDict(extra="forbid")
# strict: YAML's `yes` is no 1, and "2" in quotes no 2
Whole = Annotated[int, pydantic.Strict()]
Number = Annotated[float, pydantic.Strict(), pydantic.AllowInfNan(False)]
AtLeastZero = Annotated[Whole, Ge(0)]
AtLeastOne = Annotated[Whole, Ge(1)]
NotNegative = Annotated[Number, Ge(0)]
Share = Annotated[Number, Ge(0), Le(1)]
Positive = Annotated[Number, Gt(0)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The training job."""

    __pydantic_config__: ClassVar = _STRICT

    recipe: str = "visnet-tiny"
    """The network: visnet-tiny, visnet or visnet-vgg16."""
    workers: AtLeastOne = 2
    """Data-parallel workers; each has one GPU if there are any."""
    gpus_per_worker: Share = 1.0
    """0 trains on CPUs (gloo)."""
    cpus_per_worker: Positive = 1.0
    """Logical CPUs of a worker; its torch threads are the whole part of it, at least 1."""
    batch_size: AtLeastOne = 512
    """Products in a step, over all workers."""
    steps: AtLeastOne = 20_000
    """Steps in all."""
    learning_rate: Positive = 2e-3
    """Peak, after the warm-up; falls to 0 on a cosine."""
    warmup_steps: AtLeastZero = 100
    weight_decay: NotNegative = 1e-4
    margin: Positive = 0.2
    """Of the triplet hinge, squared distance between unit vectors."""
    in_class_share: Share = 0.5
    """Weight of in-class negatives in the loss."""
    checkpoint_every_steps: AtLeastOne = 200
    """At most this many steps are lost with a worker."""
    max_failures: AtLeastZero = 3
    """Times the job restarts from its last checkpoint after a worker died."""
    seed: Whole = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """The evaluation."""

    __pydantic_config__: ClassVar = _STRICT

    queries: AtLeastOne = 2_000
    """Synthetic photos, each of another gallery product."""
    ks: tuple[AtLeastOne, ...] = (1, 5, 10, 20)
    """The depths at which recall is reported."""
    seed: Whole = 20170307
    """Of the choice of products and of their photos; not the training's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """The catalogue pass."""

    __pydantic_config__: ClassVar = _STRICT

    actors: AtLeastOne = 2
    """Processes that run the network."""
    gpus_per_actor: Share = 1.0
    cpus_per_actor: NotNegative = 1.0
    batch_size: AtLeastOne = 256
    """Images per forward pass."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """The index build."""

    __pydantic_config__: ClassVar = _STRICT

    shards: AtLeastOne = 2
    """Parts the index is split into, by product; serving starts one deployment for each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecommendSettings:
    """The recommendation pass."""

    __pydantic_config__: ClassVar = _STRICT

    k: AtLeastOne = 20
    """Neighbours kept for every product."""
    batch_size: AtLeastOne = 2048
    """Products searched at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedderSettings:
    """The service's embedder: from photo to vector, autoscaling."""

    __pydantic_config__: ClassVar = _STRICT

    min_replicas: AtLeastOne = 1
    max_replicas: AtLeastOne = 8
    target_ongoing_requests: Positive = 32.0
    """Requests in flight per replica that autoscaling aims for."""
    max_batch_size: AtLeastOne = 32
    batch_wait_s: NotNegative = 0.003
    """How long the first photo of a batch waits for others."""
    gpus: Share = 0.25
    """GPU share of a replica."""
    cpus: NotNegative = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """The service's shards: one deployment each."""

    __pydantic_config__: ClassVar = _STRICT

    replicas: AtLeastOne = 1
    """Copies of each shard; with two or more, no node holds two copies of one."""
    gpus: Share = 1.0
    cpus: NotNegative = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """The service."""

    __pydantic_config__: ClassVar = _STRICT

    host: str = "127.0.0.1"
    """Where HTTP listens; 0.0.0.0 to be reached from other machines."""
    port: Annotated[Whole, Ge(1), Le(65535)] = 8000
    ingress_replicas: AtLeastOne = 1
    max_ongoing_requests: AtLeastOne = 256
    """Requests in flight per ingress replica; what is beyond waits in the queue."""
    max_queued_requests: AtLeastOne = 512
    """Requests that may wait; what is beyond is answered 503."""
    search_batch_size: AtLeastOne = 64
    """Queries sent to the shards as one call."""
    search_batch_wait_s: NotNegative = 0.002
    shard_timeout_s: Positive = 5.0
    """A shard that has not answered by then is left out and the answer flagged partial."""
    embedder: EmbedderSettings = EmbedderSettings()
    shard: ShardSettings = ShardSettings()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All of `metadata.visnet`."""

    __pydantic_config__: ClassVar = _STRICT

    store: str = ".visnet"
    """Folder or URL of the store; every node of a cluster must reach it under this name."""
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    embed: EmbedSettings = EmbedSettings()
    index: IndexSettings = IndexSettings()
    recommend: RecommendSettings = RecommendSettings()
    serve: ServeSettings = ServeSettings()

    def cut_to(self, *, cpus: int, gpus: int) -> Settings:
        """These settings with no part larger than a machine of so many CPUs and GPUs can run at once."""
        at_once = gpus or cpus
        workers, actors = min(self.train.workers, at_once), min(self.embed.actors, at_once)
        max_replicas = min(self.serve.embedder.max_replicas, at_once)
        train = dataclasses.replace(
            self.train,
            workers=workers,
            gpus_per_worker=self.train.gpus_per_worker if gpus else 0.0,
            cpus_per_worker=min(self.train.cpus_per_worker, _each(cpus, workers)),
        )
        embed = dataclasses.replace(
            self.embed,
            actors=actors,
            gpus_per_actor=self.embed.gpus_per_actor if gpus else 0.0,
            cpus_per_actor=min(self.embed.cpus_per_actor, _each(cpus, actors)),
        )
        embedder = dataclasses.replace(
            self.serve.embedder,
            gpus=min(self.serve.embedder.gpus, 0.25) if gpus else 0.0,
            cpus=min(self.serve.embedder.cpus, _each(cpus, max_replicas)),
            min_replicas=min(self.serve.embedder.min_replicas, max_replicas),
            max_replicas=max_replicas,
        )
        shard = dataclasses.replace(
            self.serve.shard,
            gpus=min(self.serve.shard.gpus, 0.5 * gpus / self.index.shards),
            cpus=min(self.serve.shard.cpus, _each(cpus, self.index.shards)),
            replicas=1,
        )
        serve = dataclasses.replace(self.serve, ingress_replicas=1, embedder=embedder, shard=shard)
        return dataclasses.replace(self, train=train, embed=embed, serve=serve)


def _each(cpus: int, parts: int) -> float:
    """What each of so many parts may take; Ray wants whole CPUs above one."""
    return cpus / parts if parts >= cpus else float(cpus // parts)


def find_cluster_file(named: str | None = None) -> Path | None:
    """The cluster file: the one named, else `$VISNET_CLUSTER_FILE`, else `cluster.yaml` here or in a folder above.

    Raises:
        SettingsError: a file was named and is not there.
    """
    if named := named or os.environ.get("VISNET_CLUSTER_FILE"):
        if not Path(named).is_file():
            raise SettingsError(f"no cluster file {named}")
        return Path(named)
    here = Path.cwd()
    return next((path for folder in (here, *here.parents) if (path := folder / "cluster.yaml").is_file()), None)


def load_settings(path: Path | None) -> Settings:
    """The settings of a cluster file; the defaults if there is none.

    Raises:
        SettingsError: the file is not YAML, or a key is unknown or holds a wrong value; the text names the key.
    """
    if path is None:
        return Settings()
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"can't read {path}: {error}") from None
    for name, key in (("the file", "metadata"), ("metadata", "visnet")):
        if not isinstance(content, dict | None):
            raise SettingsError(f"{path}: {name}: expected a mapping, got {content!r}")
        content = (content or {}).get(key)
    return parse_settings({} if content is None else content, source=str(path))


def parse_settings(content: Any, *, source: str) -> Settings:
    """Check a mapping and make settings of it.

    Raises:
        SettingsError: every wrong key with what was expected and what came.
    """
    try:
        settings = pydantic.TypeAdapter(Settings).validate_python(content)
    except pydantic.ValidationError as error:
        raise SettingsError(f"{source}: " + "; ".join(_explain(wrong) for wrong in error.errors())) from None
    bounds = settings.serve.embedder
    if bounds.min_replicas > bounds.max_replicas:
        raise SettingsError(
            f"{source}: metadata.visnet.serve.embedder.min_replicas: expected at most max_replicas "
            f"({bounds.max_replicas}), got {bounds.min_replicas}"
        )
    return settings


def _explain(wrong: Any) -> str:
    key = ".".join(["metadata", "visnet", *(str(part) for part in wrong["loc"])])
    if wrong["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: there is no such setting"
    return f"{key}: {wrong['msg'][0].lower()}{wrong['msg'][1:]}, got {wrong['input']!r}"
