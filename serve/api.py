"""The bodies of the HTTP API, as pydantic models: what clients send and get."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_K = 200


class Filter(BaseModel):
    """Narrows a search."""

    model_config = ConfigDict(extra="forbid")

    category: list[str] | None = Field(None, description="Search only these categories; a single name will do.")

    @field_validator("category", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class SearchRequest(BaseModel):
    """A search by just one of `image`, `product_id` and `vector`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    image: str | None = Field(None, description="An encoded image (JPEG, PNG, WebP, ...), base64.")
    product_id: str | None = Field(None, description="Search with this product's own vector; it is left out.")
    vector: Annotated[list[float], Field(min_length=1, max_length=65_536)] | None = Field(
        None, description="An embedding made by the release's encoder."
    )
    k: int = Field(10, ge=1, le=MAX_K, description="Products wanted.")
    filter: Filter = Field(default_factory=lambda: Filter(category=None))
    min_score: float | None = Field(None, ge=-1, le=1, description="Leave out what is less similar (cosine).")

    @model_validator(mode="after")
    def _just_one(self) -> SearchRequest:
        given = [name for name in ("image", "product_id", "vector") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected just one of image, product_id and vector, got {' and '.join(given) or 'none'}")
        return self

    def image_bytes(self) -> bytes:
        """The decoded `image`.

        Raises:
            ValueError: it is not base64.
        """
        try:
            return base64.b64decode(self.image or "", validate=True)
        except binascii.Error as error:
            raise ValueError(f"image is not base64: {error}") from None


class Product(BaseModel):
    """A product of the catalogue."""

    product_id: str
    image_id: str = Field(description="The image that was found, or the product's first.")
    category: str
    attributes: dict[str, Any] = Field(description="The catalogue's further columns.")
    image_url: str = Field(description="Where this service shows the product's picture.")


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
    timings_ms: dict[str, float]


class SearchAnswer(Answer):
    """Products found, best first."""

    results: list[Result]


class RecommendAnswer(SearchAnswer):
    """Products like a product, best first."""

    product_id: str
    precomputed: bool = Field(description="False if it was searched live.")


class ProductAnswer(Answer):
    """One product."""

    product: Product
    images: list[str] = Field(description="The ids of its images.")


class ReadyAnswer(Answer):
    """Whether the service can answer."""

    encoder: str
    catalog: str
    images: int = Field(description="Indexed, over the shards that answered.")


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
