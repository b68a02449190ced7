"""The settings: typed dataclasses under `metadata.visnet` of `cluster.yaml`, the one place Ray leaves to its users.

Every command reads the same file. An option of a command goes before the file, the file before the defaults here.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, TypeVar

from visnet.platform.settings_batch import EmbedSettings as EmbedSettings
from visnet.platform.settings_batch import FetchSettings as FetchSettings
from visnet.platform.settings_batch import IndexSettings as IndexSettings
from visnet.platform.settings_batch import RecommendSettings as RecommendSettings
from visnet.platform.settings_fields import STRICT
from visnet.platform.settings_serve import DetectionSettings as DetectionSettings
from visnet.platform.settings_serve import EmbedderSettings as EmbedderSettings
from visnet.platform.settings_serve import ServeSettings as ServeSettings
from visnet.platform.settings_serve import ShardSettings as ShardSettings
from visnet.platform.settings_train import DetectorSettings as DetectorSettings
from visnet.platform.settings_train import EvaluateSettings as EvaluateSettings
from visnet.platform.settings_train import JobSettings
from visnet.platform.settings_train import TrainSettings as TrainSettings
from visnet.platform.settings_train import TripletSettings as TripletSettings

Job = TypeVar("Job", bound=JobSettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All of `metadata.visnet`."""

    __pydantic_config__: ClassVar = STRICT

    store: str = ".visnet"
    """Folder or URL of the store; every node of a cluster must reach it under this name."""
    pool: str | None = None
    """Jobs run on nodes with this value of the label `pool` only; None: on any."""
    train: TrainSettings = dataclasses.field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = dataclasses.field(default_factory=EvaluateSettings)
    triplets: TripletSettings = dataclasses.field(default_factory=TripletSettings)
    detector: DetectorSettings = dataclasses.field(default_factory=DetectorSettings)
    embed: EmbedSettings = dataclasses.field(default_factory=EmbedSettings)
    index: IndexSettings = dataclasses.field(default_factory=IndexSettings)
    recommend: RecommendSettings = dataclasses.field(default_factory=RecommendSettings)
    serve: ServeSettings = dataclasses.field(default_factory=ServeSettings)

    def cut_to(self, *, cpus: int, gpus: int) -> Settings:
        """These settings with no part larger than a machine of so many CPUs and GPUs can run at once."""
        at_once = gpus or cpus
        actors = min(self.embed.actors, at_once)
        max_replicas = min(self.serve.embedder.max_replicas, at_once)
        train = _job_cut_to(self.train, cpus=cpus, gpus=gpus)
        detector = _job_cut_to(self.detector, cpus=cpus, gpus=gpus)
        embed = dataclasses.replace(
            self.embed,
            actors=actors,
            gpus_per_actor=self.embed.gpus_per_actor if gpus else 0.0,
            cpus_per_actor=min(self.embed.cpus_per_actor, _each(cpus, actors)),
            decoding_cpus=_beside(self.embed.decoding_cpus, cpus, actors, self.embed.cpus_per_actor),
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
            replicas=1,  # and room for those of another release beside them
        )
        serve = dataclasses.replace(self.serve, ingress_replicas=1, ingress_apart=False, embedder=embedder, shard=shard)
        return dataclasses.replace(self, train=train, detector=detector, triplets=triplets, embed=embed, serve=serve)


def _job_cut_to(job: Job, *, cpus: int, gpus: int) -> Job:
    workers = min(job.workers, gpus or cpus)
    return dataclasses.replace(
        job,
        workers=workers,
        gpus_per_worker=job.gpus_per_worker if gpus else 0.0,
        cpus_per_worker=min(job.cpus_per_worker, _each(cpus, workers)),
        decoding_cpus=_beside(job.decoding_cpus, cpus, workers, job.cpus_per_worker),
    )


def _beside(wanted: float, cpus: int, parts: int, each: float) -> float:
    """What may be used beside each of so many parts: what they leave, and a CPU at least."""
    return min(wanted, max(1.0, cpus / parts - each))


def _each(cpus: int, parts: int) -> float:
    """What each of so many parts may take; Ray wants whole CPUs above one."""
    return cpus / parts if parts >= cpus else float(cpus // parts)
