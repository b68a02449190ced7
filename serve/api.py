"""What clients send to the HTTP API, as pydantic models; what they get is in `visnet.platform.client.models`."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, model_validator

from visnet.platform.boxes import check_box
from visnet.serve.api_filters import Filter

MAX_K = 1_000
MAX_EXAMPLES = 100
MAX_ITEMS = 10

BoxField = Annotated[
    Annotated[list[Annotated[StrictFloat, Field(ge=0, le=1)]], Field(min_length=4, max_length=4)],
    AfterValidator(check_box),
]
"""A part of a picture."""


ExampleId = Annotated[str, Field(min_length=1)]
Examples = Annotated[list[ExampleId], Field(max_length=MAX_EXAMPLES)]


class SearchRequest(BaseModel):
    """A search by just one of `image`, `product_id` and `vector`, or by examples alone."""

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
    positive: Examples = Field(
        default_factory=list, description="Products that it should be like as well; they are left out."
    )
    negative: Examples = Field(default_factory=list, description="Products it should not be like; left out too.")
    k: int = Field(10, ge=1, le=MAX_K, description="Products wanted.")
    filter: Filter = Field(default_factory=Filter)
    min_score: float | None = Field(None, ge=-1, le=1, description="Leave out what is less similar (cosine).")
    whole: bool = Field(False, description="Answer 503 rather than without a shard that is down.")
    release: str | None = Field(
        None,
        description="Search in this release: the served one, or the one that is previewed. Default: the served one.",
    )

    @model_validator(mode="after")
    def _just_one(self) -> SearchRequest:
        given = [name for name in ("image", "product_id", "vector") if getattr(self, name) is not None]
        if len(given) != 1 and not (self.positive and not given):
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
