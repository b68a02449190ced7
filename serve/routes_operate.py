"""Routes of those who run the service: releases, and how everything stands."""

from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import JSONResponse, Response

from visnet.platform.client.operating import PreviewAnswer, ReadyAnswer, ReleasesAnswer, StatusAnswer, SwitchAnswer
from visnet.serve import standing, switching
from visnet.serve.readiness import readiness
from visnet.serve.routes import Routes, api
from visnet.serve.scrape import MEDIA_TYPE

ReleaseName = Annotated[str, Path(pattern="^[A-Za-z0-9_.-]{1,200}$")]


class OperateRoutes(Routes):
    """Releases, state, metrics."""

    @api.get("/v1/releases")
    async def releases(self, request: Request) -> ReleasesAnswer:
        """The releases of the store, which of them is served, and how a switch stands."""
        self._access.require(request, "read")
        return await switching.releases(self._store, self._controller)

    @api.post("/v1/releases/{release}/promote", responses={202: {"model": SwitchAnswer}})
    async def promote(
        self, request: Request, release: ReleaseName, force: bool = False, wait_s: switching.Wait = 20.0
    ) -> JSONResponse:
        """Serve a release: its parts are started beside those that serve, and when all stand, it becomes the current
        one. 202: it is still being prepared. 409: it may not, or can't, be served; everything is as it was."""
        self._access.require(request, "admin")
        self._follower.start()
        return await switching.promote(self._controller, release, force=force, wait_s=wait_s)

    @api.post("/v1/releases/rollback", responses={202: {"model": SwitchAnswer}})
    async def rollback(self, request: Request, wait_s: switching.Wait = 20.0) -> JSONResponse:
        """Serve the release before the current one again; as promote."""
        self._access.require(request, "admin")
        self._follower.start()
        return await switching.rollback(self._store, self._controller, wait_s=wait_s)

    @api.post("/v1/releases/{release}/preview", responses={202: {"model": SwitchAnswer}})
    async def preview(self, request: Request, release: ReleaseName, wait_s: switching.Wait = 20.0) -> JSONResponse:
        """Start a release beside the one that is served, for searches that name it; as promote, but nobody else is
        answered by it, and gates that it did not pass do not matter. One at a time: it takes the place of another."""
        self._access.require(request, "admin")
        self._follower.start()
        return await switching.preview(self._controller, release, wait_s=wait_s)

    @api.delete("/v1/releases/preview")
    async def end_preview(self, request: Request) -> PreviewAnswer:
        """End the release that is beside the served one, if there is one."""
        self._access.require(request, "admin")
        await self._controller.end_preview.remote()
        return PreviewAnswer(preview=None)

    @api.get("/v1/status")
    async def status(self, request: Request) -> StatusAnswer:
        """How the parts of the service, its shards and its journal stand."""
        self._access.require(request, "read")
        async with self._serving() as served:
            return await standing.status(served, self._controller, self._journal)

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
    async def ready(self) -> ReadyAnswer:
        """Embedder and all shards answer; 503 while one does not."""
        async with self._serving() as served:
            return await readiness(served, self._follower.state)
