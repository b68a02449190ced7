"""Routes about single products: written, deleted, shown, with their pictures and their duplicates."""

from typing import Annotated

from fastapi import Header, Query, Request
from fastapi.responses import Response

from visnet.platform.client.models import DuplicatesAnswer, ProductAnswer, SampleAnswer, WriteAnswer
from visnet.platform.thumbnails import SIZES
from visnet.serve import duplicates, sampling
from visnet.serve.answers import Clock, about, duplicates_answer, product_answer, products_answer, write_answer
from visnet.serve.api_filters import read_filter
from visnet.serve.api_products import MAX_PRODUCTS
from visnet.serve.messages import Found, Known, Lookup, Picture
from visnet.serve.picture_answers import Wanted
from visnet.serve.problems import ProblemError
from visnet.serve.requests import PRODUCTS_SCHEMA, read_products
from visnet.serve.routes import Routes, api
from visnet.serve.routes_search import Categories, FilterText

ProductIds = Annotated[list[str], Query(alias="product_id", min_length=1, max_length=MAX_PRODUCTS)]
SampleSize = Annotated[int, Query(ge=1, le=sampling.MOST, description="Products wanted.")]
Seed = Annotated[int, Query(ge=0, le=2**31, description="The same seed gives the same products again.")]
Similarity = Annotated[float, Query(ge=-1, le=1, description="Leave out what is less similar (cosine).")]
DuplicateK = Annotated[int, Query(ge=1, le=duplicates.MOST, description="Products wanted.")]
Size = Annotated[
    int | None, Query(description=f"Pixels of the longer side: {', '.join(map(str, SIZES))}; all without it.")
]
Version = Annotated[str | None, Query(description="The content that image_url named: the answer may be kept for good.")]
ImageId = Annotated[str | None, Query(description="Which of the product's images; default: the first.")]


class ProductRoutes(Routes):
    """The products."""

    @api.put("/v1/products", openapi_extra=PRODUCTS_SCHEMA, responses={207: {"model": WriteAnswer}})
    async def put_products(self, request: Request) -> WriteAnswer:
        """Write products, one or many: each replaces what there was of it. What is acknowledged is on disk, and is
        found within a second. 207: some were rejected."""
        self._access.require(request, "write")
        async with self._serving() as served, self._budget.read(request) as body:
            products = await read_products(request, body)
            answer = await self._writes().upsert(served, self._embedding.wanted_by(served), products)
            return write_answer(answer)

    @api.delete("/v1/products", responses={207: {"model": WriteAnswer}})
    async def delete_products(self, request: Request, product_ids: ProductIds) -> WriteAnswer:
        """Delete products, whether there are any or not."""
        self._access.require(request, "write")
        async with self._serving():
            return write_answer(await self._writes().delete(product_ids))

    @api.delete("/v1/products/{product_id:path}")
    async def delete_product(self, request: Request, product_id: str) -> WriteAnswer:
        """Delete a product, whether there is one or not."""
        self._access.require(request, "write")
        async with self._serving():
            return write_answer(await self._writes().delete([product_id]))

    @api.get("/v1/products", response_model=SampleAnswer)
    async def sample(
        self,
        request: Request,
        sample: SampleSize = 24,
        seed: Seed = 0,
        category: Categories = None,
        filter: FilterText = None,
    ) -> Response:
        """Products drawn at random, of those that pass the filter."""
        self._access.require(request, "read")
        clock = Clock()
        async with self._serving() as served:
            where = read_filter(filter, category).checked(served.schema)
            drawn = await sampling.sample(served, sample, seed, where)
            clock.lap("sample")
            return products_answer(served, drawn, clock)

    @api.get("/v1/products/{product_id:path}/image", response_class=Response)
    async def image(
        self,
        request: Request,
        product_id: str,
        size: Size = None,
        v: Version = None,
        image_id: ImageId = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """A product's picture, as the catalogue or the journal has it, or a thumbnail of it."""
        self._access.require(request, "read")
        wanted = Wanted(product_id=product_id, size=size, version=v, known=if_none_match)
        if (answer := self._pictures.at_hand(wanted)) is not None:
            return answer
        async with self._serving() as served:
            picture: Picture | None = await served.fan_out.owner(product_id).call("picture", product_id, image_id)
            if picture is None:
                raise ProblemError(404, f"there is no product {product_id!r}, or no such image of it")
            return await self._pictures.answer(wanted, picture)

    @api.get("/v1/products/{product_id:path}/duplicates", response_model=DuplicatesAnswer)
    async def duplicates(
        self, request: Request, product_id: str, k: DuplicateK = 20, min_score: Similarity = duplicates.MIN_SCORE
    ) -> Response:
        """Products that are hardly told from this one: with the same picture, or nearly the same."""
        self._access.require(request, "read")
        clock = Clock()
        async with self._serving() as served:
            found = await duplicates.duplicates(served, product_id, k, min_score)
            clock.lap("search")
            return duplicates_answer(served, found, clock, product_id=product_id, min_score=min_score)

    @api.get("/v1/products/{product_id:path}", response_model=ProductAnswer)
    async def product(self, request: Request, product_id: str) -> Response:
        """A product with its attributes."""
        self._access.require(request, "read")
        clock = Clock()
        async with self._serving() as served:
            known: Known | None = await served.known(Lookup(product_id=product_id, details=True))
            if known is None:
                raise ProblemError(404, f"there is no product {product_id!r}")
            clock.lap("look up")
            whole = Found(hits=[], shards_ok=1, shards_total=1, sequence=known.sequence)
            images = [str(row["image_id"]) for row in known.images or []]
            return product_answer(known.fields, images=images, **about(served, whole, clock))
