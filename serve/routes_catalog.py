"""Routes about the catalogue as a whole: what there is to search, and its shape."""

from typing import Annotated

from fastapi import Query, Request

from visnet.platform.client.models import CatalogAnswer, MapAnswer
from visnet.serve.answers import Clock
from visnet.serve.routes import Routes, api

MapSize = Annotated[int, Query(ge=8, le=3_000, description="Products on it; the time it takes grows with them.")]


class CatalogRoutes(Routes):
    """The catalogue."""

    @api.get("/v1/catalog")
    async def catalog(self, request: Request) -> CatalogAnswer:
        """Its categories and attributes with their values, and how alike chance is."""
        self._access.require(request, "read")
        clock = Clock()
        async with self._serving() as served:
            return await self._describing.catalog(served, writable=self._writer is not None, clock=clock)

    @api.get("/v1/map")
    async def map(self, request: Request, sample: MapSize = 1_000) -> MapAnswer:
        """A sample of it on a plane, so that what looks alike lies together. The first answer of a release takes some
        seconds; a map that is not done in time is there when it is asked for again."""
        self._access.require(request, "read")
        async with self._serving() as served:
            return await self._describing.map(served, sample)
