"""The HTTP side of the service: reads a request, asks the embedder and the shards, and answers in products.

A photo goes to the embedder, its vector waits a moment for others, and the batch goes to all shards at once: a hop
costs a millisecond or more of CPU, so it is paid per batch and not per request.
"""

import asyncio
import logging
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Header, Query, Request
from fastapi.responses import RedirectResponse, Response
from ray import serve
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from visnet.platform.index import read_index
from visnet.platform.release import read_release
from visnet.platform.settings import ServeSettings
from visnet.platform.store import Store
from visnet.serve import api as bodies
from visnet.serve.answers import Clock, media_type, product_fields, result
from visnet.serve.fan_out import FanOut
from visnet.serve.messages import Embedded, Found, Hit, Picture, ProductRows
from visnet.serve.messages import Query as VectorQuery
from visnet.serve.problems import RESPONSES, ProblemError, register
from visnet.serve.requests import SCHEMA, describe_search, read_search

# D embedding

logger = logging.getLogger(__name__)

api = FastAPI(
    title="visnet",
    description="Products that look like a photo, like a product, or like a vector. Errors are problem details.",
    responses=RESPONSES,
)
register(api)
describe_search(api)

READY_TIMEOUT_S = 3.0
K = Annotated[int, Query(ge=1, le=bodies.MAX_K, description="Products wanted.")]
Categories = Annotated[list[str] | None, Query(description="Only these categories.")]


@serve.ingress(api)
class Ingress:
    """Answers HTTP for one release."""

    def __init__(
        self,
        store: Store,
        release: str,
        settings: ServeSettings,
        embedder: DeploymentHandle,
        *shards: DeploymentHandle,
    ) -> None:
        self._manifest = read_release(store, release)
        self._dimension = read_index(store, self._manifest.index).dimension
        self._settings = settings
        self._embedder = embedder
        self._fan_out = FanOut(shards, release=release, timeout_s=settings.shard_timeout_s)
        self._batched.set_max_batch_size(settings.search_batch_size)
        self._batched.set_batch_wait_timeout_s(settings.search_batch_wait_s)

    @serve.batch(max_concurrent_batches=4)
    async def _batched(self, queries: list[VectorQuery]) -> list[Found]:
        return await self._fan_out.search(queries)

    @api.post("/v1/search", openapi_extra=SCHEMA)
    async def search(self, request: Request) -> bodies.SearchAnswer:
        """Products that look like a photo (multipart `image`, or JSON `image` in base64), a product or a vector."""
        clock = Clock()
        body, photo = await read_search(request)
        clock.lap("read")
        vector_D = await self._query_vector(body, photo)
        clock.lap("embed")
        found = await self._find(vector_D, body.k, body.filter.category, without=body.product_id)
        clock.lap("search")
        hits = [hit for hit in found.hits if body.min_score is None or hit.score >= body.min_score]
        return bodies.SearchAnswer(results=[result(hit) for hit in hits], **self._answer(clock, found))

    @api.get("/v1/recommend/{product_id:path}")
    async def recommend(self, product_id: str, k: K = 10, category: Categories = None) -> bodies.RecommendAnswer:
        """Products that look like a product: precomputed where they can be, searched live otherwise."""
        clock = Clock()
        found = None if category else await self._precomputed(product_id, k)
        precomputed = found is not None
        clock.lap("look up")
        if found is None:
            found = await self._find(await self._stored_vector(product_id), k, category, without=product_id)
        clock.lap("search")
        return bodies.RecommendAnswer(
            product_id=product_id,
            precomputed=precomputed,
            results=[result(hit) for hit in found.hits],
            **self._answer(clock, found),
        )

    @api.get("/v1/products/{product_id:path}/image", response_class=Response)
    async def image(self, product_id: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """A product's picture, as the catalogue has it."""
        owner = self._fan_out.owner(product_id)
        picture: Picture | None = await self._call(owner.picture.remote(self._manifest.release, product_id))
        if picture is None:
            raise ProblemError(404, f"there is no product {product_id!r}")
        headers = {"ETag": f'"{picture.content_hash}"', "Cache-Control": "public, max-age=3600"}
        if if_none_match == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if picture.data is not None:
            return Response(picture.data, media_type=media_type(picture.data), headers=headers)
        if picture.uri and picture.uri.startswith(("http://", "https://")):
            return RedirectResponse(picture.uri)
        raise ProblemError(404, f"the picture of product {product_id!r} is not in the catalogue")

    @api.get("/v1/products/{product_id:path}")
    async def product(self, product_id: str) -> bodies.ProductAnswer:
        """A product with its attributes."""
        clock = Clock()
        owner = self._fan_out.owner(product_id)
        found: ProductRows = await self._call(owner.product.remote(self._manifest.release, product_id))
        if not found.rows:
            raise ProblemError(404, f"there is no product {product_id!r}")
        clock.lap("look up")
        whole = Found(hits=[], shards_ok=1, shards_total=1)
        images = [str(row["image_id"]) for row in found.rows]
        return bodies.ProductAnswer(
            product=bodies.Product(**product_fields(found.rows[0])), images=images, **self._answer(clock, whole)
        )

    @api.get("/livez")
    async def live(self) -> dict[str, str]:
        """This process answers."""
        return {"status": "ok"}

    @api.get("/readyz")
    async def ready(self) -> bodies.ReadyAnswer:
        """Embedder and all shards answer; 503 while one does not."""
        clock = Clock()
        release = self._manifest.release
        asked = [shard.ready.remote(release) for shard in self._fan_out.shards]
        everyone = [self._embedder.ready.remote(), *asked]
        answers = await asyncio.gather(
            *[asyncio.wait_for(answer, READY_TIMEOUT_S) for answer in everyone], return_exceptions=True
        )
        rows = [answer for answer in answers[1:] if isinstance(answer, int)]
        if isinstance(answers[0], BaseException) or len(rows) < len(asked):
            embedder = "no embedder" if isinstance(answers[0], BaseException) else "an embedder"
            raise ProblemError(503, f"not ready: {embedder}, {len(rows)} of {len(asked)} shards")
        clock.lap("ask")
        found = Found(hits=[], shards_ok=len(rows), shards_total=len(asked))
        return bodies.ReadyAnswer(
            encoder=self._manifest.encoder,
            catalog=f"{self._manifest.catalog}-{self._manifest.catalog_version}",
            images=sum(rows),
            **self._answer(clock, found),
        )

    async def _query_vector(self, body: bodies.SearchRequest, photo: bytes | None) -> np.ndarray:
        if photo is not None:
            embedded: Embedded = await self._call(self._embedder.embed.remote(photo))
            if embedded.vector_D is None:
                raise ProblemError(413 if embedded.too_large else 422, f"image: {embedded.rejected}")
            return embedded.vector_D
        if body.product_id is not None:
            return await self._stored_vector(body.product_id)
        vector_D = np.array(body.vector, np.float32)
        length = float(np.linalg.norm(vector_D))
        if not np.isfinite(length) or length == 0:
            raise ProblemError(422, "vector: expected finite numbers that are not all 0")
        return vector_D / length

    async def _stored_vector(self, product_id: str) -> np.ndarray:
        owner = self._fan_out.owner(product_id)
        vector_D: np.ndarray | None = await self._call(owner.vector.remote(self._manifest.release, product_id))
        if vector_D is None:
            raise ProblemError(404, f"there is no product {product_id!r}")
        return vector_D

    async def _find(self, vector_D: np.ndarray, k: int, categories: list[str] | None, *, without: str | None) -> Found:
        if len(vector_D) != self._dimension:
            raise ProblemError(422, f"vector: expected {self._dimension} numbers, got {len(vector_D)}")
        asked = k if without is None else k + 1
        chosen = tuple(sorted(set(categories))) if categories is not None else None
        found: Found = await self._batched(VectorQuery(vector_D=vector_D, k=asked, categories=chosen))
        if not found.shards_ok:
            raise ProblemError(503, "no shard answered; try again")
        hits = [hit for hit in found.hits if hit.row["product_id"] != without][:k]
        return Found(hits=hits, shards_ok=found.shards_ok, shards_total=found.shards_total)

    async def _precomputed(self, product_id: str, k: int) -> Found | None:
        """A product's first `k` precomputed recommendations; None if there are not as many."""
        owner = self._fan_out.owner(product_id)
        similar = await self._call(owner.neighbours.remote(self._manifest.release, product_id))
        if similar is None or len(similar) < k:
            return None
        hits = await self._products_of(similar[:k])
        shards = len(self._fan_out.shards)
        return Found(hits=hits, shards_ok=shards, shards_total=shards) if len(hits) == k else None

    async def _products_of(self, scored: list[tuple[str, float]]) -> list[Hit]:
        """The rows of some products, one call per shard; those that no shard holds are left out."""
        by_owner: dict[Any, list[tuple[int, str]]] = {}
        for place, (product_id, _) in enumerate(scored):
            by_owner.setdefault(self._fan_out.owner(product_id), []).append((place, product_id))
        release = self._manifest.release
        calls = [owner.products.remote(release, [name for _, name in wanted]) for owner, wanted in by_owner.items()]
        answers = await asyncio.gather(*[self._call(call) for call in calls])
        rows: dict[int, dict[str, object]] = {}
        for wanted, found in zip(by_owner.values(), answers, strict=True):
            rows |= {place: known.rows[0] for (place, _), known in zip(wanted, found, strict=True) if known.rows}
        return [Hit(score=scored[place][1], row=rows[place]) for place in sorted(rows)]

    async def _call(self, response: Any) -> Any:
        """Wait for one deployment's answer; what goes wrong with it is a 503."""
        try:
            return await asyncio.wait_for(response, self._settings.shard_timeout_s)
        except BackPressureError:
            raise ProblemError(503, "the service is overloaded; try again") from None
        except TimeoutError:
            raise ProblemError(503, f"no answer within {self._settings.shard_timeout_s:g} s; try again") from None
        except Exception:  # whatever a dead or dying replica raises
            logger.exception("a deployment failed")
            raise ProblemError(503, "a part of the service is not available; try again") from None

    def _answer(self, clock: Clock, found: Found) -> dict[str, Any]:
        return {
            "release": self._manifest.release,
            "shards": bodies.Shards(ok=found.shards_ok, total=found.shards_total),
            "partial": found.shards_ok < found.shards_total,
            "timings_ms": clock.total(),
        }
