"""The settings of training jobs, of the encoder's triplets and of its evaluation."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Lt, MultipleOf

from visnet.platform.settings_fields import STRICT, AtLeastOne, AtLeastZero, NotNegative, Number, Positive, Share, Whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobSettings:
    """What every training job has, whatever it trains: the Ray Train run and the loop know no more than this."""

    __pydantic_config__: ClassVar = STRICT
    section: ClassVar[str]
    """Where they stand in the cluster file, for messages that name a setting."""

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
    decoding_cpus: Positive = 2.0
    """Logical CPUs that make each worker's data, on any node, where other jobs share the cluster."""
    backend: Literal["auto", "nccl", "gloo"] = "auto"
    """Between the workers. auto: nccl with GPUs, else gloo; gloo also where Ray's GPUs are pretended (simulations)."""
    max_failures: AtLeastZero = 3
    """Times the job restarts from its last checkpoint after a worker died."""
    batch_size: AtLeastOne = 512
    """Examples in a step, over all workers."""
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
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: mixed precision (autocast); weights, normalisation and loss stay float32."""
    channels_last: bool = False
    """Memory layout of the convolutions: 1.6 times faster on two CPU cores (benchmarks/train.py)."""
    checkpoint_every_steps: AtLeastOne = 200
    """At most this many steps are lost with a worker."""
    validate_every_steps: AtLeastOne = 400
    patience: AtLeastZero = 8
    """Training ends when so many validations in a row were no better than the best; 0: only at `steps`."""
    seed: Whole = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings(JobSettings):
    """The training of an encoder."""

    section: ClassVar[str] = "train"

    recipe: str = "visnet-tiny"
    """The network: visnet-tiny, visnet, visnet-vgg16 or mildnet."""
    recipe_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the recipe that differ from its defaults, such as {image_size: 160, resize: 176}."""
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
    compile: bool = False
    """torch.compile: minutes at the start, and a C++ compiler on CPUs; on two cores slower than without where bfloat16
    and channels-last are on (benchmarks/train.py)."""
    validation_share: Annotated[Number, Ge(0), Lt(1)] = 0.05
    """Share of the training's photos, or products, that is held out to validate on; 0: none, and no early stop."""
    validation_by: Literal["photo", "product"] = "photo"
    """What is held out of street photos: single photos, or all photos of some products. Without photos: products."""
    validation_queries: AtLeastOne = 1_000
    """Queries, and pictures that are searched besides the right ones, at most."""
    validation_k: AtLeastOne = 1
    """The best weights are those with the highest recall at this k."""
    collapse_after: AtLeastZero = 5
    """Training ends with an alarm when the embedding looked collapsed so many checks (25 steps each) in a row; 0: it
    only warns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorSettings(JobSettings):
    """The training of a detector, and its evaluation."""

    section: ClassVar[str] = "detector"

    recipe: str = "fcos-lite"
    """The network: fcos-lite, or faster-rcnn."""
    recipe_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the recipe that differ from its defaults, such as {image_size: 320}."""
    classes: Literal["categories", "product"] = "categories"
    """What it tells apart: the catalogue's categories, or nothing."""
    batch_size: AtLeastOne = 32
    steps: AtLeastOne = 4_000
    freeze_steps: AtLeastZero = 100
    validate_every_steps: AtLeastOne = 250
    patience: AtLeastZero = 6
    cutouts: AtLeastOne = 2_000
    """Products that the composed scenes are made of, at most; kept in the object store, some 100 KiB each."""
    backgrounds: AtLeastZero = 200
    """Pictures and photos whose close-ups become backgrounds, at most."""
    most_items: AtLeastOne = 6
    """Items of a composed scene, at most."""
    labelled_share: Share = 0.5
    """Share of photos with given boxes in each step, where there are any; the rest are composed scenes."""
    validation_share: Annotated[Number, Ge(0), Lt(1)] = 0.1
    """Share of the products, and of the photos with given boxes, that is held out to validate on."""
    validation_scenes: AtLeastOne = 300
    """Scenes composed of held-out products, and photos with given boxes, at most."""

    def __post_init__(self) -> None:
        if self.recipe == "faster-rcnn" and self.precision != "float32":
            raise ValueError("faster-rcnn trains in float32: its proposals are too coarse in bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """The evaluation."""

    __pydantic_config__: ClassVar = STRICT

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

    __pydantic_config__: ClassVar = STRICT

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
