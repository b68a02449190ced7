"""What the deployments of the service say to each other: small, typed, plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

# Q queries, K results, D embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One search, inside the ingress."""

    vector_D: np.ndarray
    """float32, unit length."""
    k: int
    categories: tuple[str, ...] | None = None
    """Search only these; None for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardQuery:
    """Ingress -> shard: the searches of a batch that share a filter."""

    query_QD: np.ndarray
    """float32."""
    k: int
    categories: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAnswer:
    """Shard -> ingress: what one `ShardQuery` found."""

    score_QK: np.ndarray
    """float32, best first; -inf where there is nothing more."""
    position_QK: np.ndarray
    """int64 rows of `rows`; -1 where there is nothing more."""
    rows: pa.Table
    """The rows found by any of the queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One product found."""

    score: float
    row: dict[str, object]
    """The index's row: ids, category, attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer to one `Query`."""

    hits: list[Hit]
    shards_ok: int
    shards_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Embedder -> ingress: a photo's vector, or why there is none."""

    vector_D: np.ndarray | None = None
    rejected: str = ""
    """The reason, for the user."""
    too_large: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRows:
    """Shard -> ingress: what the shard knows of a product."""

    rows: list[dict[str, object]] = field(default_factory=list)
    """A row per image; empty if there is no such product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Shard -> ingress: an image of the catalogue."""

    data: bytes | None
    uri: str | None
    content_hash: str
