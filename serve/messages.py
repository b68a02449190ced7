"""What the deployments of the service say to each other: small, typed, plain data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visnet.platform.facets import Facets
from visnet.platform.filters import Filter
from visnet.platform.imaging import Box

# Q queries, K results, F rows found, D embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One search, inside the ingress."""

    vector_D: np.ndarray
    """float32, unit length."""
    k: int
    where: Filter | None = None
    """Search only what satisfies it; None for all."""
    with_vectors: bool = False
    """Whether the hits are to carry their vectors."""
    collapse: bool = True
    """Whether products with the same image bytes are found as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardQuery:
    """Ingress -> shard: the searches of a batch that share a filter."""

    query_QD: np.ndarray
    """float32."""
    k: int
    where: Filter | None
    with_vectors: bool = False
    collapse: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAnswer:
    """Shard -> ingress: what one `ShardQuery` found."""

    score_QK: np.ndarray
    """float32, best first; -inf where there is nothing more."""
    position_QK: np.ndarray
    """int64 places in the lists below; -1 where there is nothing more."""
    products: list[str]
    """The product of every row found, by any of the queries."""
    content_F: np.ndarray
    """int64: rows with the same image bytes have the same number, in all shards."""
    fields: list[bytes]
    """The rows as they are answered, `"product_id": …, "attributes": {…}`: JSON without its braces."""
    vector_FD: np.ndarray | None
    """float16: the rows' vectors, if they were asked for."""
    sequence: int
    """The journal's entries up to this one are in the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One product found."""

    score: float
    product_id: str
    fields: bytes
    """As in `ShardAnswer.fields`."""
    content_key: int | None = None
    """As in `ShardAnswer.content_F`, of a hit that was searched for."""
    vector_D: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer to one `Query`."""

    hits: list[Hit]
    shards_ok: int
    shards_total: int
    sequence: int
    """The journal's entries up to this one are in the answer, as far as shards answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPart:
    """What was found for a part of a photo."""

    part: Part
    found: Found
    narrowed: tuple[tuple[str, float], ...] = ()
    """The categories whose products were brought forward, with their shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Embedder -> ingress: a photo's vector, or why there is none."""

    vector_D: np.ndarray | None = None
    rejected: str = ""
    """The reason, for the user."""
    too_large: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """Ingress -> embedder: an uploaded photo, and which of its parts are wanted; the whole if nothing is said."""

    data: bytes
    box: Box | None = None
    """Just this part."""
    detect: bool = False
    """The items in it; the whole if none is found, or none is sure enough."""
    most: int = 1
    """Items at most, the most prominent ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a photo."""

    box: Box
    """As shares of the photo."""
    vector_D: np.ndarray | None = None
    """float32, unit length; None before it is embedded."""
    confidence: float | None = None
    """That it shows an item; None if nobody had to find it."""
    categories: tuple[tuple[str, float], ...] = ()
    """What it may be, with shares, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Embedder -> ingress: a photo's parts, or why it has none."""

    parts: tuple[Part, ...] = ()
    """The most prominent first."""
    unsure: float = 0.0
    """Confidence of the surest item, if items were looked for and none was sure enough."""
    small: bool = False
    """Items were wanted, and the photo is too small to be searched for by its parts."""
    rejected: str = ""
    """The reason, for the user."""
    too_large: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Ingress -> shard: a product that the shard owns."""

    product_id: str
    details: bool = False
    """Its row and its images are wanted."""
    vector: bool = False
    """Its query vector is wanted."""
    neighbours: bool = False
    """Its precomputed recommendations are wanted."""
    contents: tuple[str, ...] = ()
    """The vectors of pictures with these content hashes are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Shard -> ingress: what the shard holds of a product, as far as it was asked."""

    fields: bytes
    """Of its first image; as in `ShardAnswer.fields`."""
    images: list[dict[str, object]] | None = None
    """The rows of its images, as they are stored."""
    vector_D: np.ndarray | None = None
    neighbours: list[tuple[str, float]] | None = None
    """Products and scores, best first; None if none were computed, or for a product that changed since."""
    sequence: int = 0
    """The journal's entries up to this one are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Ingress -> shard: products that are to be shown, of those that the shard owns."""

    products: list[str]
    in_stock: str | None
    """Only those that this column says are in stock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnShelf:
    """Shard -> ingress: what a `Shelf` shows."""

    fields: list[bytes | None]
    """In order, as in `ShardAnswer.fields`; None for what is gone or not in stock."""
    sequence: int
    """The journal's entries up to this one are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Ingress -> shard: some of its products are wanted, drawn at random."""

    count: int
    seed: int
    """The same seed draws the same products, as long as nothing changes."""
    where: Filter | None = None
    with_vectors: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Shard -> ingress: products that were drawn, each by one of its images."""

    fields: list[bytes]
    """As in `ShardAnswer.fields`."""
    vector_ND: np.ndarray | None
    """float16: of those images, if they were asked for."""
    sequence: int
    """The journal's entries up to this one are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFacets:
    """Shard -> ingress: what its rows hold."""

    facets: Facets
    images: int
    products: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Shard -> ingress: an image of a product."""

    data: bytes | None
    uri: str | None
    content_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """Shard -> ingress and controller: how a replica stands."""

    release: str
    images: int
    products: int
    sequence: int
    """How far it has applied the journal."""
    changed: int
    """Rows that it holds beside the built ones."""
    built_sequence: int = 0
    """The journal's entries up to this one are in the index itself."""
