"""The settings of the service."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le

from visnet.platform.settings_fields import STRICT, AtLeastOne, NotNegative, Number, Positive, Share, Whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedderSettings:
    """The service's embedder: from photo to vector, autoscaling."""

    __pydantic_config__: ClassVar = STRICT

    min_replicas: AtLeastOne = 1
    max_replicas: AtLeastOne = 8
    target_ongoing_requests: Positive = 4.0
    """Requests in flight per replica that autoscaling aims for. They grow with how busy a replica is, not with the
    load: a large number is reached only when it is too late, and the replicas swing (docs/scale.md)."""
    downscaling_factor: Annotated[Number, Gt(0), Le(1)] = 0.25
    """Share of what is too many that is ended at once, after `downscale_delay_s`."""
    upscale_delay_s: NotNegative = 10.0
    """How long there must be too many of them before a replica is added."""
    downscale_delay_s: NotNegative = 300.0
    """How long there must be too few before one is ended."""
    max_batch_size: AtLeastOne = 32
    """Photos that go through the network at once, at most: batches grow to it as the load does."""
    target_batch_s: Positive = 0.5
    """A batch that takes longer is made smaller."""
    gpus: Share = 0.25
    """GPU share of a replica."""
    cpus: NotNegative = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """The service's shards: one deployment each."""

    __pydantic_config__: ClassVar = STRICT

    replicas: AtLeastOne = 1
    """Copies of each shard: with two or more, no request fails when one dies. `visnet serve` with another number adds
    or ends copies while it serves."""
    apart: bool = True
    """No node holds two copies of one shard, so that a node may die too. On a single machine there is no such room."""
    gpus: Share = 1.0
    """GPU share of a copy. A release is switched with both in memory: up to 0.5 both fit on one GPU, above it the
    switch takes as many GPUs again while it lasts."""
    cpus: NotNegative = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """Searches for the items in a photo, where the release has a detector."""

    __pydantic_config__: ClassVar = STRICT

    margin: NotNegative = 0.0
    """Added at each side of a found item before it is embedded, relative to its width and height."""
    category_weight: NotNegative = 0.2
    """Similarity that a category the detector is sure of is worth: it brings products of that category forward, and
    leaves nobody out. 0: categories play no part."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """The service."""

    __pydantic_config__: ClassVar = STRICT

    host: str = "127.0.0.1"
    """Where HTTP listens; 0.0.0.0 to be reached from other machines."""
    port: Annotated[Whole, Ge(1), Le(65535)] = 8000
    ingress_replicas: AtLeastOne = 1
    ingress_apart: bool = False
    """No node holds two ingresses, so that a node may die."""
    max_ongoing_requests: AtLeastOne = 256
    """Requests in flight per ingress replica; what is beyond waits in the queue."""
    max_queued_requests: AtLeastOne = 512
    """Requests that may wait; what is beyond is answered 503."""
    max_body_mib: AtLeastOne = 256
    """Memory for the bodies of the requests in flight, in MiB per ingress replica; what is beyond is answered 429."""
    request_timeout_s: Positive = 30.0
    """A request that has not been answered by then is answered 504."""
    search_batch_size: AtLeastOne = 64
    """Queries sent to the shards as one call, at most."""
    shard_timeout_s: Positive = 5.0
    """A shard that has not answered by then is left out and the answer flagged partial."""
    cached_photos: Annotated[Whole, Ge(0)] = 10_000
    """Photos per ingress replica whose vectors are kept, so that the same photo is not embedded again."""
    journal: str | None = None
    """Where live writes are kept: postgresql://user@host/database, or a file. None: journal/journal.sqlite in the
    store, if that is a folder of one machine; without a journal nothing can be written."""
    fetch_hosts: tuple[str, ...] = ()
    """Hosts that the images of products may be fetched from (`shop.example`, `*.shop.example`); none by default."""
    fetch_private: bool = False
    """Whether those hosts may have private addresses, such as an intranet's."""
    pool: str | None = None
    """The service runs on nodes with this value of the label `pool` only; None: on any."""
    detection: DetectionSettings = DetectionSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    shard: ShardSettings = ShardSettings()
