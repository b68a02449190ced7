"""Routes that search: by photo, product, vector and examples."""

from dataclasses import replace
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from visnet.platform.client.models import EmbedAnswer, RecommendAnswer, SearchAnswer
from visnet.platform.filters import Filter
from visnet.serve import api as bodies
from visnet.serve import locating, searching
from visnet.serve.answers import Clock, found_answer, photo_answer, wanted
from visnet.serve.api_filters import read_filter
from visnet.serve.examples import Examples, examples_of
from visnet.serve.requests import (
    PHOTO_SCHEMA,
    RECOMMEND_SCHEMA,
    SEARCH_SCHEMA,
    read_photo,
    read_recommend,
    read_search,
)
from visnet.serve.routes import Routes, api
from visnet.serve.served import Served

K = Annotated[int, Query(ge=1, le=bodies.MAX_K, description="Products wanted.")]
Categories = Annotated[list[str] | None, Query(description="Only these categories.")]
FilterText = Annotated[str | None, Query(alias="filter", description="A filter in JSON, as in POST /v1/search.")]
Whole = Annotated[bool, Query(description="Answer 503 rather than without a shard that is down.")]


class SearchRoutes(Routes):
    """What looks alike."""

    @api.post("/v1/search", openapi_extra=SEARCH_SCHEMA, response_model=SearchAnswer)
    async def search(self, request: Request) -> Response:
        """Products that look like a photo (multipart `image`, or JSON `image` in base64), like the items in it or a
        part of it (`box`), like a product or like a vector; nearer to some examples and further from others."""
        self._access.require(request, "read")
        clock = Clock()
        async with self._budget.read(request) as body:
            asked, photo = await read_search(request, body)
            async with self._serving(asked.release) as served:
                where = asked.filter.checked(served.schema)
                clock.lap("read")
                if photo is not None:
                    return await self._search_photo(served, asked, photo, where, clock)
                examples = await examples_of(served, asked.positive, asked.negative)
                if asked.product_id is not None:
                    vector_D = examples.steer(await searching.stored_vector(served, asked.product_id))
                elif asked.vector is not None:
                    vector_D = examples.steer(searching.given_vector(served, asked.vector))
                else:
                    vector_D = examples.alone()
                clock.lap("embed")
                without = [*examples.products, *([asked.product_id] if asked.product_id is not None else [])]
                found = await searching.search(served, vector_D, asked.k, where, without=without)
                clock.lap("search")
                return found_answer(served, wanted(found, asked.min_score, asked.whole), clock)

    async def _search_photo(
        self, served: Served, asked: bodies.SearchRequest, data: bytes, where: Filter | None, clock: Clock
    ) -> Response:
        examples: Examples = await examples_of(served, asked.positive, asked.negative)
        photo = locating.wanted_parts(served, asked, data)
        looked = examples.steer_all(await self._embedding.parts(served, photo))
        clock.lap("embed")
        weight = self._settings.detection.category_weight
        parts = await locating.search_parts(served, looked, asked.k, where, weight=weight, without=examples.products)
        parts = [replace(part, found=wanted(part.found, asked.min_score, asked.whole)) for part in parts]
        clock.lap("search")
        located = locating.located(photo, looked)
        items = parts if located.by == "detection" else []
        return photo_answer(served, locating.together(parts), items, clock, located)

    @api.get("/v1/recommend/{product_id:path}", response_model=RecommendAnswer)
    async def recommend(
        self,
        request: Request,
        product_id: str,
        k: K = 10,
        category: Categories = None,
        filter: FilterText = None,
        whole: Whole = False,
    ) -> Response:
        """Products that look like a product: computed beforehand where they can be, searched live otherwise."""
        asked = bodies.RecommendRequest(positive=[product_id], k=k, filter=read_filter(filter, category), whole=whole)
        return await self._recommend(request, asked)

    @api.post("/v1/recommend", openapi_extra=RECOMMEND_SCHEMA, response_model=RecommendAnswer)
    async def recommend_by_examples(self, request: Request) -> Response:
        """Products that look like some products and unlike others."""
        async with self._budget.read(request) as body:
            return await self._recommend(request, read_recommend(request, body))

    async def _recommend(self, request: Request, asked: bodies.RecommendRequest) -> Response:
        self._access.require(request, "read")
        clock = Clock()
        async with self._serving() as served:
            where = asked.filter.checked(served.schema)
            found, precomputed = await searching.recommend(served, asked.positive, asked.negative, asked.k, where)
            clock.lap("search")
            found = wanted(found, asked.min_score, asked.whole)
            return found_answer(served, found, clock, product_id=asked.positive[0], precomputed=precomputed)

    @api.post("/v1/embed", openapi_extra=PHOTO_SCHEMA)
    async def embed(self, request: Request) -> EmbedAnswer:
        """A photo's vector by the encoder of the release; the body is the image itself."""
        self._access.require(request, "read")
        async with self._serving() as served, self._budget.read(request) as body:
            vector_D = await self._embedding.photo(served, read_photo(body))
            release = served.manifest
            return EmbedAnswer(release=release.release, encoder=release.encoder, vector=vector_D.tolist())
