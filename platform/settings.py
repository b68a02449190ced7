"""The settings: typed dataclasses under `metadata.visnet` of `cluster.yaml`, the one place Ray leaves to its users.

Every command reads the same file. An option of a command goes before the file, the file before the defaults here.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from annotated_types import Ge, Gt, Le, Lt, MultipleOf

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
    """The network: visnet-tiny, visnet, visnet-vgg16 or mildnet."""
    recipe_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the recipe that differ from its defaults, such as {image_size: 160, resize: 176}."""
    workers: AtLeastOne = 2
    """Data-parallel workers at most; each has one GPU if there are any."""
    min_workers: AtLeastOne | None = None
    """With fewer than `workers`, training is elastic: it starts with so many and grows as nodes come. None: fixed."""
    elastic_check_s: Positive = 60.0
    """How often an elastic training looks whether it can grow; growing costs a restart from the last checkpoint."""
    gpus_per_worker: Share = 1.0
    """0 trains on CPUs (gloo)."""
    cpus_per_worker: Positive = 1.0
    """Logical CPUs of a worker; its torch threads are the whole part of it, at least 1."""
    backend: Literal["auto", "nccl", "gloo"] = "auto"
    """Between the workers. auto: nccl with GPUs, else gloo; gloo also where Ray's GPUs are pretended (simulations)."""
    max_failures: AtLeastZero = 3
    """Times the job restarts from its last checkpoint after a worker died."""
    batch_size: AtLeastOne = 512
    """Anchors in a step, over all workers."""
    steps: AtLeastOne = 20_000
    """Steps at most."""
    learning_rate: Positive = 2e-3
    """Peak, after the warm-up; falls to 0 on a cosine."""
    trunk_learning_rate_factor: Share = 0.2
    """Learning rate of pretrained layers relative to the others'."""
    freeze_steps: AtLeastZero = 50
    """Steps before the pretrained layers learn too, so that fresh layers don't spoil them."""
    warmup_steps: AtLeastZero = 100
    weight_decay: NotNegative = 1e-4
    loss: Literal["triplet-hinge", "info-nce"] = "triplet-hinge"
    margin: Positive | None = None
    """Of the triplet hinge, squared distance; None: the recipe's own (0.2 for unit vectors, the paper's 0.0009 for
    visnet-vgg16's soft normalisation)."""
    in_class_share: Share = 0.5
    """Weight of in-class negatives in the triplet hinge."""
    temperature: Positive = 0.1
    """Of InfoNCE."""
    negatives: Literal["auto", "batch", "hardest", "own"] = "auto"
    """Whom an anchor is compared with: all other products of the whole batch, the hardest of them in its class and out
    of it, or its own triplet's negative alone. auto: own where triplets are given, else batch."""
    synthetic_share: Share = 0.0
    """Share of the street photos that are replaced by a synthetic wild view of their product's picture."""
    augmentation: NotNegative = 1.0
    """Strength of the changes of scale, place, light and colour to photos and pictures; 0: none."""
    mine_every_steps: AtLeastZero = 0
    """Every so many steps hard negatives are mined from an index of the encoder as it is; 0: never."""
    mine_pictures: AtLeastOne = 20_000
    """Shop pictures that are indexed for mining at most, kept decoded in the object store."""
    mine_ranks: tuple[AtLeastZero, AtLeastOne] = (0, 20)
    """Mined negatives are drawn from these ranks [first, last) among the other products, nearest first."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: mixed precision (autocast); weights, normalisation and loss stay float32."""
    channels_last: bool = False
    """Memory layout of the convolutions: 1.6 times faster on two CPU cores (benchmarks/train.py)."""
    compile: bool = False
    """torch.compile: minutes at the start, and a C++ compiler on CPUs; on two cores slower than without where bfloat16
    and channels-last are on (benchmarks/train.py)."""
    checkpoint_every_steps: AtLeastOne = 200
    """At most this many steps are lost with a worker."""
    validation_share: Annotated[Number, Ge(0), Lt(1)] = 0.05
    """Share of the training's photos, or products, that is held out to validate on; 0: none, and no early stop."""
    validation_by: Literal["photo", "product"] = "photo"
    """What is held out of street photos: single photos, or all photos of some products. Without photos: products."""
    validate_every_steps: AtLeastOne = 400
    validation_queries: AtLeastOne = 1_000
    """Queries, and pictures that are searched besides the right ones, at most."""
    validation_k: AtLeastOne = 1
    """The best weights are those with the highest recall at this k."""
    patience: AtLeastZero = 8
    """Training ends when so many validations in a row were no better than the best; 0: only at `steps`."""
    collapse_after: AtLeastZero = 5
    """Training ends with an alarm when the embedding looked collapsed so many checks (25 steps each) in a row; 0: it
    only warns."""
    seed: Whole = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """The evaluation."""

    __pydantic_config__: ClassVar = _STRICT

    queries: AtLeastZero = 0
    """At most so many, a seeded choice. 0: every photo of the split, or 2,000 made of gallery pictures."""
    ks: tuple[AtLeastOne, ...] = (1, 5, 10, 20)
    """The depths at which recall is reported."""
    seed: Whole = 20170307
    """Of the choice of queries, of synthetic photos and of sampled triplets; not the training's."""
    trunk: str = "tf_efficientnet_lite0"
    """The network of the baseline `pretrained`: this, or a torchvision name such as "convnext_tiny" or "resnet50"."""
    image_size: AtLeastOne = 224
    """Side in pixels of the square that the baseline `pretrained` sees; a multiple of 32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TripletSettings:
    """The generation of training triplets."""

    __pydantic_config__: ClassVar = _STRICT

    scorers: tuple[str, ...] = ("deep", "color", "texture")
    """What ranks the pictures: any of these."""
    trunk: str = "tf_efficientnet_lite0"
    """The network of the scorer deep: this, or a torchvision name such as "convnext_tiny" or "resnet50"."""
    image_size: Annotated[Whole, Ge(32), MultipleOf(32)] = 224
    """Side in pixels that every scorer sees: a picture is decoded once for all."""
    per_anchor: AtLeastOne = 10
    """Triplets of each anchor, over all scorers."""
    positive_ranks: AtLeastOne = 200
    """Positives are drawn from so many nearest pictures of the category by each scorer."""
    in_class_ranks: tuple[AtLeastOne, AtLeastOne] = (500, 1000)
    """In-class negatives are drawn from these ranks, the first and the last among them."""
    reference_size: AtLeastOne = 10_000
    """Pictures of a category for which the two ranges hold; in a smaller one they shrink in proportion."""
    in_class_share: Share = 0.3
    """Of the negatives; the others are from other categories."""
    same_product_share: Share = 0.5
    """Share of the positives that are another picture of the anchor's product, where it has any; 0: none."""
    seed: Whole = 0
    actors: AtLeastOne = 2
    """Processes that run the scorers."""
    gpus_per_actor: Share = 1.0
    """With a share above 0 the searches run on GPUs too."""
    cpus_per_actor: NotNegative = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """Downloads of the catalogue pass."""

    __pydantic_config__: ClassVar = _STRICT

    at_once: AtLeastOne = 64
    """Downloads under way at most, over all processes of a pass."""
    per_host: AtLeastOne = 16
    """Of these from any one host."""
    timeout_s: Positive = 10.0
    """To connect, and between two pieces of an answer."""
    deadline_s: Positive = 60.0
    """For one try of a whole picture; a server that asks for patience is waited for up to this long."""
    attempts: AtLeastOne = 4
    """Tries, where it was a passing failure: no answer, broken off, or a status such as 429 or 503."""
    backoff_s: NotNegative = 0.5
    """Pause before the second try; doubles with every further one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """The catalogue pass."""

    __pydantic_config__: ClassVar = _STRICT

    actors: AtLeastOne = 2
    """Processes that run the network, at most: the pass runs with those there is room for, and with more as nodes
    come."""
    gpus_per_actor: Share = 1.0
    cpus_per_actor: NotNegative = 1.0
    """Without a GPU an actor decodes too, on as many threads as this."""
    batch_size: AtLeastOne = 256
    """Images per forward pass."""
    unit_rows: AtLeastZero = 0
    """Pictures that are computed and written as one, which is what a killed process loses at most; 0: up to 2,048,
    fewer where they are large or there are few."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass. auto: bfloat16 on GPUs, float32 on CPUs."""
    trust_uris: bool = False
    """True: a uri that was read before stands for the same picture and is not read again. For shops that give a
    changed picture another URL."""
    fetch: FetchSettings = FetchSettings()


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """The index build."""

    __pydantic_config__: ClassVar = _STRICT

    shards: AtLeastOne = 2
    """Parts the index is split into, by product; serving starts one deployment for each."""
    kind: Literal["exact", "ivf-pq"] = "exact"
    """exact compares a query with every vector; ivf-pq with the nearest lists only, by codes of a few bytes, and so
    needs less memory and time for answers that are nearly the same."""
    nlist: AtLeastZero = 0
    """ivf-pq: lists that a shard's vectors are put in. 0: about 4 * sqrt(rows), with at least 39 rows to a list."""
    pq_bytes: AtLeastZero = 0
    """ivf-pq: bytes of a vector's code; divides the dimension. 0: the largest divisor up to a quarter of it."""
    nprobe: AtLeastZero = 0
    """ivf-pq: lists that a query looks into. 0: a sixteenth of them, at least 8."""
    refine: AtLeastOne = 4
    """ivf-pq: candidates for every result; the vectors themselves decide between them."""
    min_ann_recall: Share = 0.9
    """ivf-pq: the least share of the exact answers that must be found, or the build fails."""
    recall_k: AtLeastOne = 20
    """ivf-pq: depth of the answers that are compared."""
    recall_queries: AtLeastOne = 1_000
    """ivf-pq: stored vectors that are looked up to measure it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecommendSettings:
    """The recommendation pass."""

    __pydantic_config__: ClassVar = _STRICT

    k: AtLeastOne = 20
    """Neighbours kept for every product."""
    same_category: bool = False
    """Only neighbours of the product's category (its first image's)."""
    in_stock: str | None = None
    """Attribute of the catalogue (true and false, or a number above 0): only what is in stock is recommended. Products
    out of stock, or where it is missing, have recommendations themselves."""
    price_band: NotNegative | None = None
    """Only neighbours whose price is within this share of the product's own: 0.3 is 30 % up or down. A product without
    a price takes any, and nobody with a price takes it."""
    price_column: str = "price"
    """Attribute of the catalogue that `price_band` looks at."""
    diversity: Share = 0.0
    """From 0, the most similar ones, to 1, the most different among the candidates (maximal marginal relevance)."""
    candidates: AtLeastOne | None = None
    """Most similar ones that `diversity` chooses from; None: 5 times `k`."""
    batch_size: AtLeastOne = 2048
    """Products searched at once."""
    unit_products: AtLeastOne = 16_384
    """Products in a file: what a pass that was killed does again."""
    workers: AtLeastOne = 2
    """Files under way at once: their answers are merged beside the searches."""
    cpus_per_shard: Positive = 1.0
    """CPUs of the process that searches a shard; its threads are the whole part of it, at least 1."""
    gpus_per_shard: Share = 1.0
    """0 searches on CPUs."""


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
    triplets: TripletSettings = TripletSettings()
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
