"""The bodies of the HTTP API, as pydantic models: what clients send and get."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, model_validator

from visnet.platform.boxes import check_box
from visnet.serve.api_filters import Filter

MAX_K = 200
MAX_EXAMPLES = 100
MAX_ITEMS = 10

BoxField = Annotated[
    Annotated[list[Annotated[StrictFloat, Field(ge=0, le=1)]], Field(min_length=4, max_length=4)],
    AfterValidator(check_box),
]
"""A part of a picture."""


class SearchRequest(BaseModel):
    """A search by just one of `image`, `product_id` and `vector`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    image: str | None = Field(None, description="An encoded image (JPEG, PNG, WebP, ...), base64.")
    product_id: str | None = Field(None, description="Search with this product's own vector; it is left out.")
    vector: Annotated[list[float], Field(min_length=1, max_length=65_536)] | None = Field(
        None, description="An embedding made by the release's encoder."
    )
    box: BoxField | None = Field(
        None, description="Search for this part of the image: left, top, right, bottom as shares of it, 0..1."
    )
    detect: bool | None = Field(
        None,
        description="Search for the items that are found in the image, or for the whole of it. Default: what the "
        "release's measurements say; a release without a detector searches for the whole.",
    )
    max_items: int = Field(MAX_ITEMS, ge=1, le=MAX_ITEMS, description="Items found at most, the most prominent ones.")
    k: int = Field(10, ge=1, le=MAX_K, description="Products wanted.")
    filter: Filter = Field(default_factory=Filter)
    min_score: float | None = Field(None, ge=-1, le=1, description="Leave out what is less similar (cosine).")
    whole: bool = Field(False, description="Answer 503 rather than without a shard that is down.")

    @model_validator(mode="after")
    def _just_one(self) -> SearchRequest:
        given = [name for name in ("image", "product_id", "vector") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected just one of image, product_id and vector, got {' and '.join(given) or 'none'}")
        if self.image is None and (self.box is not None or self.detect):
            raise ValueError("box and detect are about an image, and there is none")
        if self.box is not None and self.detect:
            raise ValueError("expected box or detect, got both: a box says already what to search for")
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


class RecommendRequest(BaseModel):
    """Products like some products, and unlike others."""

    model_config = ConfigDict(extra="forbid")

    positive: list[str] = Field(min_length=1, max_length=MAX_EXAMPLES, description="Products it should be like.")
    negative: list[str] = Field(
        default_factory=list, max_length=MAX_EXAMPLES, description="Products it should not be like."
    )
    k: int = Field(10, ge=1, le=MAX_K, description="Products wanted.")
    filter: Filter = Field(default_factory=Filter)
    min_score: float | None = Field(None, ge=-1, le=1, description="Leave out what is less similar (cosine).")
    whole: bool = Field(False, description="Answer 503 rather than without a shard that is down.")


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


class ProductAnswer(Answer):
    """One product."""

    product: Product
    images: list[str] = Field(description="The ids of its images.")


class EmbedAnswer(BaseModel):
    """A photo's vector."""

    release: str
    encoder: str
    vector: list[float] = Field(description="Of unit length.")


class ReadyAnswer(Answer):
    """Whether the service can answer."""

    encoder: str
    detector: str | None
    catalog: str
    images: int = Field(description="Searched, over the shards that answered.")
    problem: str = Field(description="What hinders the controller or a switch of releases; empty if nothing does.")


class ReleaseEntry(BaseModel):
    """A release of the store."""

    release: str
    encoder: str
    detector: str | None
    catalog: str
    created_at: str
    passed: bool = Field(description="All its gates.")


class ReleasesAnswer(BaseModel):
    """The releases, oldest first, and which of them is served."""

    current: str | None = Field(description="The release that is to be served.")
    serving: str | None = Field(description="The release that is served.")
    switching_to: str | None = Field(description="The release whose parts are being started, or that failed last.")
    failed: str = Field(description="Why that one failed; empty while it is under way.")
    releases: list[ReleaseEntry]


class SwitchAnswer(BaseModel):
    """How a promotion or a rollback stands."""

    release: str
    state: Literal["serving", "preparing"]
