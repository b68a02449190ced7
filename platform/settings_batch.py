"""The settings of the passes over a catalogue: embedding, index, recommendations."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from visnet.platform.settings_fields import STRICT, AtLeastOne, AtLeastZero, NotNegative, Positive, Share


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """Downloads of the catalogue pass."""

    __pydantic_config__: ClassVar = STRICT

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

    __pydantic_config__: ClassVar = STRICT

    actors: AtLeastOne = 2
    """Processes that run the network, at most: the pass runs with those there is room for, and with more as nodes
    come."""
    gpus_per_actor: Share = 1.0
    cpus_per_actor: NotNegative = 1.0
    """Without a GPU an actor decodes too, on as many threads as this."""
    decoding_cpus: Positive = 4.0
    """CPUs that decode for each actor with a GPU, on any node, where other jobs share the cluster."""
    batch_size: AtLeastOne = 256
    """Images per forward pass, at most; on CPUs fewer where they are large."""
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

    __pydantic_config__: ClassVar = STRICT

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

    __pydantic_config__: ClassVar = STRICT

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
    """Products in a file, in a shard's last up to half as many more: what a pass that was killed does again."""
    workers: AtLeastOne = 2
    """Files under way at once: their answers are merged beside the searches."""
    cpus_per_shard: Positive = 1.0
    """CPUs of the process that searches a shard; its threads are the whole part of it, at least 1."""
    gpus_per_shard: Share = 1.0
    """0 searches on CPUs."""
