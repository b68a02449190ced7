"""The HTTP side of the service: who may ask, what is asked, and the answer.

Every request takes the release that is served when it comes and stays with it, so an answer is of one release as a
whole. What a request does is in `searching` and `writing`; here is only what HTTP adds. (Serve copies an ingress class
with just the names that its module had when the class was made: what it uses has to be imported, not defined after it.)
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

from fastapi import FastAPI, Header, Path, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from ray import serve
from ray.serve.handle import DeploymentHandle

from visnet.platform.filters import Filter
from visnet.platform.guarded_fetch import GuardedFetcher
from visnet.platform.journal import open_journal
from visnet.platform.settings import FetchSettings, ServeSettings
from visnet.platform.store import Store
from visnet.serve import api as bodies
from visnet.serve import exchange, locating, searching, switching, telemetry
from visnet.serve.access import Access
from visnet.serve.access_log import AccessLog
from visnet.serve.answers import (
    Clock,
    about,
    found_answer,
    media_type,
    photo_answer,
    product_answer,
    wanted,
    write_answer,
)
from visnet.serve.api_filters import read_filter
from visnet.serve.api_products import MAX_PRODUCTS, WriteAnswer
from visnet.serve.bodies import BodyBudget
from visnet.serve.embedding import Embedding
from visnet.serve.follower import Follower
from visnet.serve.messages import Found, Known, Lookup, Picture
from visnet.serve.observed import observed
from visnet.serve.photos import Photos
from visnet.serve.problems import RESPONSES, SHED_REASONS, ProblemError, register
from visnet.serve.readiness import readiness
from visnet.serve.requests import (
    PHOTO_SCHEMA,
    PRODUCTS_SCHEMA,
    RECOMMEND_SCHEMA,
    SEARCH_SCHEMA,
    describe,
    read_photo,
    read_products,
    read_recommend,
    read_search,
)
from visnet.serve.scrape import MEDIA_TYPE, Scrape
from visnet.serve.served import Served
from visnet.serve.writing import Writer

api = FastAPI(
    title="visnet",
    description="Products that look like a photo, like a product, or like a vector; written and deleted while it "
    "answers. Errors are problem details.",
    responses=RESPONSES,
)
register(api)
api.add_middleware(AccessLog)
describe(api)

FIRST_WAIT_S = 10.0
"""How long a request waits for an ingress that has just started to hear which release is served."""
NO_JOURNAL = (
    "nothing can be written: there is no journal. Set metadata.visnet.serve.journal to a PostgreSQL URL, since the "
    "store is not a folder"
)
K = Annotated[int, Query(ge=1, le=bodies.MAX_K, description="Products wanted.")]
Categories = Annotated[list[str] | None, Query(description="Only these categories.")]
FilterText = Annotated[str | None, Query(alias="filter", description="A filter in JSON, as in POST /v1/search.")]
Whole = Annotated[bool, Query(description="Answer 503 rather than without a shard that is down.")]
ReleaseName = Annotated[str, Path(pattern="^[A-Za-z0-9_.-]{1,200}$")]
ProductIds = Annotated[list[str], Query(alias="product_id", min_length=1, max_length=MAX_PRODUCTS)]


@serve.ingress(api)
class Ingress:
    """Answers HTTP.

    Args:
        journal: where the journal is, if there is one.
        controller: the handle of the controller.
    """

    def __init__(
        self, store: Store, settings: ServeSettings, journal: str | None, controller: DeploymentHandle
    ) -> None:
        self._store = store
        self._settings = settings
        self._controller = controller
        self._access = Access(store)
        self._budget = BodyBudget(settings.max_body_mib * 2**20)
        self._follower = Follower(uuid.uuid4().hex, store, settings, controller)
        self._embedding = Embedding(Photos(kept=settings.cached_photos), self._follower)
        self._writer: Writer | None = None
        if journal is not None:
            fetcher = GuardedFetcher(settings.fetch_hosts, FetchSettings(), allow_private=settings.fetch_private)
            self._writer = Writer(open_journal(journal), fetcher)
        self._scrape = Scrape()
        for reason in SHED_REASONS:
            telemetry.SHED.add(reason, amount=0)
        observed(self._follower.measure)
        with contextlib.suppress(RuntimeError):  # no event loop yet: the first request starts it
            self._follower.start()

    @api.post("/v1/search", openapi_extra=SEARCH_SCHEMA, response_model=bodies.SearchAnswer)
    async def search(self, request: Request) -> Response:
        """Products that look like a photo (multipart `image`, or JSON `image` in base64), like the items in it or a
        part of it (`box`), like a product or like a vector."""
        self._access.require(request, "read")
        clock = Clock()
        async with self._serving() as served, self._budget.read(request) as body:
            asked, photo = await read_search(request, body)
            where = asked.filter.checked(served.schema)
            clock.lap("read")
            if photo is not None:
                return await self._search_photo(served, asked, photo, where, clock)
            if asked.product_id is not None:
                vector_D = await searching.stored_vector(served, asked.product_id)
            else:
                vector_D = searching.given_vector(served, asked.vector or [])
            clock.lap("embed")
            without = [asked.product_id] if asked.product_id is not None else []
            found = await searching.search(served, vector_D, asked.k, where, without=without)
            clock.lap("search")
            return found_answer(served, wanted(found, asked.min_score, asked.whole), clock)

    async def _search_photo(
        self, served: Served, asked: bodies.SearchRequest, data: bytes, where: Filter | None, clock: Clock
    ) -> Response:
        photo = locating.wanted_parts(served, asked, data)
        looked = await self._embedding.parts(served, photo)
        clock.lap("embed")
        weight = self._settings.detection.category_weight
        parts = await locating.search_parts(served, looked, asked.k, where, weight=weight)
        parts = [replace(part, found=wanted(part.found, asked.min_score, asked.whole)) for part in parts]
        clock.lap("search")
        located = locating.located(photo, looked)
        items = parts if located.by == "detection" else []
        return photo_answer(served, locating.together(parts), items, clock, located)

    @api.get("/v1/recommend/{product_id:path}", response_model=bodies.RecommendAnswer)
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

    @api.post("/v1/recommend", openapi_extra=RECOMMEND_SCHEMA, response_model=bodies.RecommendAnswer)
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
    async def embed(self, request: Request) -> bodies.EmbedAnswer:
        """A photo's vector by the encoder of the release; the body is the image itself."""
        self._access.require(request, "read")
        async with self._serving() as served, self._budget.read(request) as body:
            vector_D = await self._embedding.photo(served, read_photo(body))
            release = served.manifest
            return bodies.EmbedAnswer(release=release.release, encoder=release.encoder, vector=vector_D.tolist())

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

    @api.get("/v1/products/{product_id:path}/image", response_class=Response)
    async def image(
        self, request: Request, product_id: str, if_none_match: Annotated[str | None, Header()] = None
    ) -> Response:
        """A product's picture, as the catalogue or the journal has it."""
        self._access.require(request, "read")
        async with self._serving() as served:
            picture: Picture | None = await served.fan_out.owner(product_id).call("picture", product_id)
        if picture is None:
            raise ProblemError(404, f"there is no product {product_id!r}")
        headers = {"ETag": f'"{picture.content_hash}"', "Cache-Control": "private, max-age=60"}
        if if_none_match == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if picture.data is not None:
            return Response(picture.data, media_type=media_type(picture.data), headers=headers)
        if picture.uri and picture.uri.startswith(("http://", "https://")):
            return RedirectResponse(picture.uri)
        raise ProblemError(404, f"the picture of product {product_id!r} is not in the catalogue")

    @api.get("/v1/products/{product_id:path}", response_model=bodies.ProductAnswer)
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

    @api.get("/v1/releases")
    async def releases(self, request: Request) -> bodies.ReleasesAnswer:
        """The releases of the store, which of them is served, and how a switch stands."""
        self._access.require(request, "read")
        return await switching.releases(self._store, self._controller)

    @api.post("/v1/releases/{release}/promote", responses={202: {"model": bodies.SwitchAnswer}})
    async def promote(
        self, request: Request, release: ReleaseName, force: bool = False, wait_s: switching.Wait = 20.0
    ) -> JSONResponse:
        """Serve a release: its parts are started beside those that serve, and when all stand, it becomes the current
        one. 202: it is still being prepared. 409: it may not, or can't, be served; everything is as it was."""
        self._access.require(request, "admin")
        self._follower.start()
        return await switching.promote(self._controller, release, force=force, wait_s=wait_s)

    @api.post("/v1/releases/rollback", responses={202: {"model": bodies.SwitchAnswer}})
    async def rollback(self, request: Request, wait_s: switching.Wait = 20.0) -> JSONResponse:
        """Serve the release before the current one again; as promote."""
        self._access.require(request, "admin")
        self._follower.start()
        return await switching.rollback(self._store, self._controller, wait_s=wait_s)

    @api.get("/metrics", response_class=Response)
    async def metrics(self, request: Request) -> Response:
        """The service's metrics, of all its nodes, as Prometheus reads them."""
        self._access.require(request, "read")
        return Response(await self._scrape.text(), media_type=MEDIA_TYPE)

    @api.get("/livez")
    async def live(self) -> dict[str, str]:
        """This process answers."""
        return {"status": "ok"}

    @api.get("/readyz")
    async def ready(self) -> bodies.ReadyAnswer:
        """Embedder and all shards answer; 503 while one does not."""
        async with self._serving() as served:
            return await readiness(served, self._follower.state)

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[Served]:
        """The release that this request is answered by, from here to the end of the block."""
        self._follower.start()
        try:
            async with asyncio.timeout(FIRST_WAIT_S):
                served = await self._follower.served()
        except TimeoutError:
            problem = self._follower.state.problem if self._follower.state is not None else ""
            raise ProblemError(503, f"no release is served yet{f': {problem}' if problem else ''}") from None
        exchange.note(release=served.manifest.release)
        served.busy += 1
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                yield served
        except TimeoutError:
            raise ProblemError(504, f"no answer within {self._settings.request_timeout_s:g} s") from None
        finally:
            served.busy -= 1

    def _writes(self) -> Writer:
        if self._writer is None:
            raise ProblemError(409, NO_JOURNAL)
        return self._writer
