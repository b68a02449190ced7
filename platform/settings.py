"""The settings: typed dataclasses under `metadata.visnet` of `cluster.yaml`, the one place Ray leaves to its users.

Every command reads the same file. An option of a command goes before the file, the file before the defaults here.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from visnet.platform.settings_batch import EmbedSettings as EmbedSettings
from visnet.platform.settings_batch import FetchSettings as FetchSettings
from visnet.platform.settings_batch import IndexSettings as IndexSettings
from visnet.platform.settings_batch import RecommendSettings as RecommendSettings
from visnet.platform.settings_fields import STRICT, AtLeastOne, NotNegative, Positive, Share, Whole
from visnet.platform.settings_train import EvaluateSettings as EvaluateSettings
from visnet.platform.settings_train import TrainSettings as TrainSettings
from visnet.platform.settings_train import TripletSettings as TripletSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedderSettings:
    """The service's embedder: from photo to vector, autoscaling."""

    __pydantic_config__: ClassVar = STRICT

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

    __pydantic_config__: ClassVar = STRICT

    replicas: AtLeastOne = 1
    """Copies of each shard; with two or more, no node holds two copies of one."""
    gpus: Share = 1.0
    cpus: NotNegative = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """The service."""

    __pydantic_config__: ClassVar = STRICT

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

    __pydantic_config__: ClassVar = STRICT

    store: str = ".visnet"
    """Folder or URL of the store; every node of a cluster must reach it under this name."""
    train: TrainSettings = dataclasses.field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = dataclasses.field(default_factory=EvaluateSettings)
    triplets: TripletSettings = dataclasses.field(default_factory=TripletSettings)
    embed: EmbedSettings = dataclasses.field(default_factory=EmbedSettings)
    index: IndexSettings = dataclasses.field(default_factory=IndexSettings)
    recommend: RecommendSettings = dataclasses.field(default_factory=RecommendSettings)
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
        scoring = min(self.triplets.actors, at_once)
        triplets = dataclasses.replace(
            self.triplets,
            actors=scoring,
            gpus_per_actor=self.triplets.gpus_per_actor if gpus else 0.0,
            cpus_per_actor=min(self.triplets.cpus_per_actor, _each(cpus, scoring)),
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
        return dataclasses.replace(self, train=train, triplets=triplets, embed=embed, serve=serve)


def _each(cpus: int, parts: int) -> float:
    """What each of so many parts may take; Ray wants whole CPUs above one."""
    return cpus / parts if parts >= cpus else float(cpus // parts)
