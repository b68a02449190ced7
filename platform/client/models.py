"""The answers of the HTTP API: what the service sends and what the client reads are the same models.

A client passes over fields that it does not know, so a service that is newer than it does it no harm.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class Product(BaseModel):
    """A product of the catalogue."""

    product_id: str
    image_id: str = Field(description="The image that was found, or the product's first.")
    category: str
    attributes: dict[str, Any] = Field(description="The catalogue's further columns.")
    image_url: str = Field(
        description="Where this service shows the picture. With &size=160, 320 or 640 it is a thumbnail; both may be "
        "kept for good, since another picture has another address."
    )


class Result(Product):
    """A product found."""

    score: float = Field(description="Cosine similarity, -1..1; higher is more similar.")


class Shards(BaseModel):
    """Of the shards that were asked, how many answered."""

    ok: int
    total: int


class Answer(BaseModel):
    """What every answer says of itself."""

    release: str
    shards: Shards
    partial: bool = Field(description="True if a shard is missing from the answer.")
    sequence: int = Field(description="What was written up to this place in the journal is in the answer.")
    timings_ms: dict[str, float]


class FoundItem(BaseModel):
    """An item that was found in a photo, and products like it."""

    box: list[float] = Field(description="Left, top, right, bottom as shares of the photo, 0..1.")
    confidence: float = Field(description="That it is an item, 0..1.")
    category: str | None = Field(description="What it most likely is; null if the detector tells no categories apart.")
    categories: dict[str, float] = Field(
        description="The categories whose products were brought forward, with their shares."
    )
    results: list[Result]


class Located(BaseModel):
    """What of a photo was searched for."""

    by: Literal["box", "detection", "whole"]
    detail: str = Field(description="Why it is the whole photo, if items were looked for.")


class SearchAnswer(Answer):
    """Products found, best first."""

    results: list[Result] = Field(description="Of the first item, if items were found.")
    located: Located | None = Field(None, description="Null if no photo was searched for.")
    items: list[FoundItem] = Field(
        default_factory=list, description="Items found in the photo, the most prominent first."
    )


class RecommendAnswer(Answer):
    """Products like a product, best first."""

    results: list[Result]
    product_id: str = Field(description="The first that it should be like.")
    precomputed: bool = Field(description="False if it was searched live.")


class Duplicate(Result):
    """A product that is hardly told from another one."""

    same_picture: bool = Field(description="They share a picture, to the byte.")


class DuplicatesAnswer(Answer):
    """Products that are hardly told from a product, best first."""

    results: list[Duplicate]
    product_id: str
    min_score: float = Field(description="What the others are less similar than.")


class ProductAnswer(Answer):
    """One product."""

    product: Product
    images: list[str] = Field(description="The ids of its images.")


class SampleAnswer(Answer):
    """Products drawn at random."""

    results: list[Product]


class ValueCount(BaseModel):
    """A value of a column."""

    value: str | bool
    count: int = Field(description="Images that have it.")


class Attribute(BaseModel):
    """A column of the catalogue, and what of it can be chosen in a filter."""

    name: str
    kind: Literal["text", "number", "boolean", "time"]
    values: list[ValueCount] = Field(description="Of text and truth: the most frequent ones; empty if too many differ.")
    distinct: int = Field(description="Different values of text and truth.")
    min: float | int | str | None = Field(description="Of numbers and times.")
    max: float | int | str | None
    missing: int = Field(description="Images without a value.")


class CatalogAnswer(Answer):
    """What there is to search."""

    catalog: str
    images: int
    products: int
    categories: list[ValueCount]
    attributes: list[Attribute]
    writable: bool = Field(description="Whether products can be written, with a key for it.")
    detector: bool = Field(description="Whether items can be found in photos.")
    detect_by_default: bool
    chance: float | None = Field(
        description="The similarity that two products drawn at random seldom reach (one pair in a hundred): what is "
        "below it is not alike. Null if there are too few products to say."
    )


class MapAnswer(BaseModel):
    """A sample of the catalogue on a plane: what looks alike lies together."""

    release: str
    method: str
    images: int = Field(description="Of the catalogue.")
    sampled: int
    x: list[float] = Field(description="0..1, as y.")
    y: list[float]
    product_id: list[str]
    category: list[str]
    image_url: list[str]


class EmbedAnswer(BaseModel):
    """A photo's vector."""

    release: str
    encoder: str
    vector: list[float] = Field(description="Of unit length.")


class Written(BaseModel):
    """What became of one product."""

    product_id: str
    status: Literal["ok", "rejected"]
    sequence: int | None = Field(None, description="Its place in the journal: it is durable.")
    detail: str | None = Field(None, description="Why it was rejected; nothing of it was written.")


class WriteAnswer(BaseModel):
    """What became of every product, in order."""

    sequence: int = Field(
        description="The last place in the journal that was given; an answer with as large a `sequence` has it all."
    )
    products: list[Written]
