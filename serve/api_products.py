"""The bodies of what is written: products, one or many, and what became of each."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_PRODUCTS = 1_000
MAX_IMAGES = 50


class ImageWrite(BaseModel):
    """A picture of a product: its bytes, or where they are."""

    model_config = ConfigDict(extra="forbid")

    image_id: str | None = Field(None, description="Default: the product's id, with a number from the second on.")
    image: str | None = Field(None, description="An encoded image (JPEG, PNG, WebP, ...), base64.")
    url: str | None = Field(None, description="Where it is fetched from; the host must be allowed.")

    @model_validator(mode="after")
    def _just_one(self) -> ImageWrite:
        if (self.image is None) == (self.url is None):
            raise ValueError("expected just one of image and url")
        return self

    def data(self) -> bytes | None:
        """The decoded `image`, None if it has to be fetched.

        Raises:
            ValueError: it is not base64.
        """
        if self.image is None:
            return None
        try:
            return base64.b64decode(self.image, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"image is not base64: {error}") from None


class ProductWrite(BaseModel):
    """A product as it is to be: an upsert replaces all that there was of it."""

    model_config = ConfigDict(extra="forbid")

    product_id: str = Field(min_length=1)
    category: str = Field(min_length=1)
    attributes: dict[str, Any] = Field(
        default_factory=dict, description="The catalogue's further columns; what is left out is missing."
    )
    image: str | None = Field(None, description="Its only picture: an encoded image, base64.")
    url: str | None = Field(None, description="Its only picture: where it is fetched from.")
    images: list[ImageWrite] | None = Field(
        None, min_length=1, max_length=MAX_IMAGES, description="Its pictures; without any it keeps those it has."
    )

    @model_validator(mode="after")
    def _one_way(self) -> ProductWrite:
        given = [name for name in ("image", "url", "images") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of image, url and images, got {' and '.join(given)}")
        return self

    def pictures(self) -> list[ImageWrite]:
        """Its pictures, each with an id; empty if it keeps those it has."""
        if self.images is None:
            given = self.image is not None or self.url is not None
            images = [ImageWrite(image=self.image, url=self.url)] if given else []
        else:
            images = self.images
        return [
            image if image.image_id is not None else image.model_copy(update={"image_id": self._image_id(number)})
            for number, image in enumerate(images)
        ]

    def _image_id(self, number: int) -> str:
        return self.product_id if not number else f"{self.product_id}#{number + 1}"


class ProductsWrite(BaseModel):
    """Many products."""

    model_config = ConfigDict(extra="forbid")

    products: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_PRODUCTS)


class ProductsDelete(BaseModel):
    """Many products, by their ids."""

    model_config = ConfigDict(extra="forbid")

    product_ids: list[str] = Field(min_length=1, max_length=MAX_PRODUCTS)

    @field_validator("product_ids")
    @classmethod
    def _named(cls, value: list[str]) -> list[str]:
        if not all(value):
            raise ValueError("expected ids that are not empty")
        return value
