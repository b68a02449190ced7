"""The calls of the HTTP API as plain values: what is sent, and what the answer is read as. Both clients send these."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from visnet.platform.client.models import (
    CatalogAnswer,
    DuplicatesAnswer,
    EmbedAnswer,
    MapAnswer,
    ProductAnswer,
    RecommendAnswer,
    SampleAnswer,
    SearchAnswer,
    WriteAnswer,
)
from visnet.platform.client.operating import (
    PreviewAnswer,
    ReadyAnswer,
    ReleasesAnswer,
    StatusAnswer,
    SwitchAnswer,
)
from visnet.platform.client.writing import ProductWrite

A = TypeVar("A")
Photo = bytes | str | os.PathLike[str]
"""An encoded image, or the path of a file with one."""
Filter = Mapping[str, Any]
"""As the API takes it: {"category": ["Bag"], "must": [{"field": "price", "lte": 80}]}."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the photo, 0..1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call(Generic[A]):
    """A request and how its answer is read."""

    method: str
    path: str
    answer: type[A]
    """A model, or `bytes` or `str` for the body as it is."""
    query: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    content: Any = None
    """Sent as JSON, unless it is bytes."""
    repeatable: bool = True
    """Whether it may be sent again when nobody knows what became of it."""

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """What is sent."""
        query = {name: value for name, value in self.query.items() if value is not None}
        if isinstance(self.content, bytes):
            headers = {"content-type": "application/octet-stream"}
            return client.build_request(self.method, self.path, params=query, content=self.content, headers=headers)
        return client.build_request(self.method, self.path, params=query, json=self.content)

    def read(self, response: httpx.Response) -> A:
        """The answer of a response that is no error."""
        if self.answer is bytes:
            return response.content  # type: ignore[return-value]
        if self.answer is str:
            return response.text  # type: ignore[return-value]
        return self.answer.model_validate_json(response.content)  # type: ignore[attr-defined]


def photo_bytes(photo: Photo) -> bytes:
    """An encoded image.

    Raises:
        OSError: its file can't be read.
    """
    return photo if isinstance(photo, bytes) else Path(photo).read_bytes()


def search_photo(
    photo: Photo,
    *,
    k: int = 10,
    filter: Filter | None = None,
    box: Box | None = None,
    detect: bool | None = None,
    max_items: int | None = None,
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    min_score: float | None = None,
    whole: bool = False,
    release: str | None = None,
) -> Call[SearchAnswer]:
    """Products that look like a photo, or like the items in it.

    Args:
        photo: an encoded image, or the path of one.
        k: products wanted.
        filter: narrows the search; as the API takes it.
        box: only this part of the photo.
        detect: search for the items in it, or for the whole; default: what the release's measurements say.
        max_items: items found at most.
        positive: products that it should be like as well; left out of the answer, as the negative ones.
        negative: products that it should not be like.
        min_score: leave out what is less similar.
        whole: fail rather than answer without a shard that is down.
        release: the served one, or the one that is previewed.

    Raises:
        OSError: the photo can't be read.
    """
    image = base64.b64encode(photo_bytes(photo)).decode()
    asked = {"image": image, "box": box, "detect": detect, "max_items": max_items}
    return _search(asked, positive, negative, k, filter, min_score, whole, release)


def search_product(
    product_id: str,
    *,
    k: int = 10,
    filter: Filter | None = None,
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    min_score: float | None = None,
    whole: bool = False,
    release: str | None = None,
) -> Call[SearchAnswer]:
    """Products that look like a product, which is left out; arguments as of `search_photo`."""
    return _search({"product_id": product_id}, positive, negative, k, filter, min_score, whole, release)


def search_vector(
    vector: Sequence[float],
    *,
    k: int = 10,
    filter: Filter | None = None,
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    min_score: float | None = None,
    whole: bool = False,
    release: str | None = None,
) -> Call[SearchAnswer]:
    """Products near a vector that the release's encoder made (`embed`); arguments as of `search_photo`."""
    return _search({"vector": list(vector)}, positive, negative, k, filter, min_score, whole, release)


def recommend(
    *positive: str,
    negative: Sequence[str] = (),
    k: int = 10,
    filter: Filter | None = None,
    min_score: float | None = None,
    whole: bool = False,
) -> Call[RecommendAnswer]:
    """Products that look like some products and unlike others, by the rules of the recommendation pass."""
    content = _given({"filter": filter, "min_score": min_score})
    content |= {"positive": list(positive), "negative": list(negative), "k": k, "whole": whole}
    return Call(method="POST", path="/v1/recommend", answer=RecommendAnswer, content=content)


def embed(photo: Photo) -> Call[EmbedAnswer]:
    """A photo's vector by the encoder of the release."""
    return Call(method="POST", path="/v1/embed", answer=EmbedAnswer, content=photo_bytes(photo))


def product(product_id: str) -> Call[ProductAnswer]:
    """A product with its attributes."""
    return Call(method="GET", path=_product(product_id), answer=ProductAnswer)


def picture(product_id: str, *, size: int | None = None, image_id: str | None = None) -> Call[bytes]:
    """A product's picture, encoded.

    Args:
        size: 160, 320 or 640: a thumbnail of so many pixels, WebP. Default: the picture as it is.
        image_id: which of its images; default: the first.
    """
    query = {"size": size, "image_id": image_id}
    return Call(method="GET", path=f"{_product(product_id)}/image", answer=bytes, query=query)


def duplicates(product_id: str, *, k: int = 20, min_score: float | None = None) -> Call[DuplicatesAnswer]:
    """Products that are hardly told from a product."""
    query = {"k": k, "min_score": min_score}
    return Call(method="GET", path=f"{_product(product_id)}/duplicates", answer=DuplicatesAnswer, query=query)


def sample(count: int = 24, *, seed: int = 0, filter: Filter | None = None) -> Call[SampleAnswer]:
    """Products drawn at random; the same seed draws the same, as long as nothing changes."""
    query = {"sample": count, "seed": seed, "filter": json.dumps(filter) if filter is not None else None}
    return Call(method="GET", path="/v1/products", answer=SampleAnswer, query=query)


def catalog() -> Call[CatalogAnswer]:
    """What there is to search: categories, attributes and their values."""
    return Call(method="GET", path="/v1/catalog", answer=CatalogAnswer)


def embedding_map(count: int = 1_000) -> Call[MapAnswer]:
    """Some products on a plane, so that what looks alike lies together; the first time takes some seconds."""
    return Call(method="GET", path="/v1/map", answer=MapAnswer, query={"sample": count})


def put(products: Sequence[ProductWrite]) -> Call[WriteAnswer]:
    """Write products, as many as a request holds."""
    content = {"products": [product.content() for product in products]}
    return Call(method="PUT", path="/v1/products", answer=WriteAnswer, content=content)


def delete(product_ids: Sequence[str]) -> Call[WriteAnswer]:
    """Delete products, as many as a request holds."""
    return Call(method="DELETE", path="/v1/products", answer=WriteAnswer, query={"product_id": list(product_ids)})


def releases() -> Call[ReleasesAnswer]:
    """The releases, and which of them is served."""
    return Call(method="GET", path="/v1/releases", answer=ReleasesAnswer)


def promote(release: str, *, force: bool, wait_s: float) -> Call[SwitchAnswer]:
    """Begin to serve a release, or go on with it."""
    query = {"force": force, "wait_s": wait_s}
    return Call(method="POST", path=f"/v1/releases/{release}/promote", answer=SwitchAnswer, query=query)


def rollback(*, wait_s: float) -> Call[SwitchAnswer]:
    """Begin to serve the release before; sent again, it would go back one more."""
    path = "/v1/releases/rollback"
    return Call(method="POST", path=path, answer=SwitchAnswer, query={"wait_s": wait_s}, repeatable=False)


def preview(release: str, *, wait_s: float) -> Call[SwitchAnswer]:
    """Begin to put a release beside the served one, or go on with it."""
    path = f"/v1/releases/{release}/preview"
    return Call(method="POST", path=path, answer=SwitchAnswer, query={"wait_s": wait_s})


def end_preview() -> Call[PreviewAnswer]:
    """End the release beside the served one, if there is one."""
    return Call(method="DELETE", path="/v1/releases/preview", answer=PreviewAnswer)


def status() -> Call[StatusAnswer]:
    """How the parts of the service, its shards and its journal stand."""
    return Call(method="GET", path="/v1/status", answer=StatusAnswer)


def ready() -> Call[ReadyAnswer]:
    """What is served, if all of it answers."""
    return Call(method="GET", path="/readyz", answer=ReadyAnswer)


def metrics() -> Call[str]:
    """The service's metrics, as Prometheus reads them."""
    return Call(method="GET", path="/metrics", answer=str)


def _product(product_id: str) -> str:
    return f"/v1/products/{quote(product_id)}"


def _search(
    query: dict[str, Any],
    positive: Sequence[str],
    negative: Sequence[str],
    k: int,
    filter: Filter | None,
    min_score: float | None,
    whole: bool,
    release: str | None,
) -> Call[SearchAnswer]:
    content = _given({**query, "filter": filter, "min_score": min_score, "release": release})
    content |= {"k": k, "whole": whole, "positive": list(positive), "negative": list(negative)}
    return Call(method="POST", path="/v1/search", answer=SearchAnswer, content=content)


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}
