"""Promotions and rollbacks over HTTP: asked of the controller, and waited for."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.responses import JSONResponse

from visnet.platform import release as releases_of
from visnet.platform.client.operating import GateEntry, ReleaseEntry, ReleasesAnswer, SwitchAnswer
from visnet.platform.errors import GateError, NotFoundError, VisnetError
from visnet.platform.release import ReleaseManifest, figures
from visnet.platform.store import Store
from visnet.serve.problems import ProblemError
from visnet.serve.service_state import ServiceState

LOOK_S = 0.2
Wait = Annotated[float, Query(ge=0, le=25, description="How long to wait for it, in seconds.")]


async def releases(store: Store, controller: Any) -> ReleasesAnswer:
    """The releases of a store and how the service stands to them."""
    loop = asyncio.get_running_loop()
    known = await loop.run_in_executor(None, releases_of.list_releases, store)
    history = await loop.run_in_executor(None, releases_of.history, store)
    state: ServiceState = await controller.state.remote()
    preview = state.preview
    return ReleasesAnswer(
        current=history[-1].release if history else None,
        serving=state.serving.release if state.serving is not None else None,
        previous=await loop.run_in_executor(None, _previous, store),
        switching_to=state.switch.release if state.switch is not None else None,
        failed=state.switch.failed if state.switch is not None else "",
        preview=preview.release if preview is not None and not preview.failed else None,
        preview_ready=preview is not None and preview.reached,
        preview_failed=preview.failed if preview is not None else "",
        releases=[_entry(manifest) for manifest in known],
    )


def _entry(manifest: ReleaseManifest) -> ReleaseEntry:
    return ReleaseEntry(
        release=manifest.release,
        encoder=manifest.encoder,
        detector=manifest.detector,
        detect_by_default=manifest.detect_by_default,
        catalog=f"{manifest.catalog}-{manifest.catalog_version}",
        created_at=manifest.created_at,
        passed=all(gate.passed for gate in manifest.gates),
        gates=[GateEntry(name=gate.name, passed=gate.passed, detail=gate.detail) for gate in manifest.gates],
        figures=figures(manifest.evaluation),
    )


def _previous(store: Store) -> str | None:
    try:
        return releases_of.previous_release(store)
    except NotFoundError:
        return None


async def promote(controller: Any, release: str, *, force: bool, wait_s: float, rollback: bool = False) -> JSONResponse:
    """Begin a switch and wait for it.

    Raises:
        ProblemError: 404, no such release; 409, it did not pass its gates, or can't be served.
    """
    refused = await controller.promote.remote(release, force=force, rollback=rollback)
    if refused is not None:
        status, detail = refused
        raise ProblemError(status, detail)
    over = time.monotonic() + wait_s
    while True:
        state: ServiceState = await controller.state.remote()
        switch = state.switch
        if switch is not None and switch.release == release and switch.failed:
            raise ProblemError(409, f"release {release} can't be served: {switch.failed}")
        if state.settled and state.moved and state.serving is not None and state.serving.release == release:
            return _answer(release, "serving")
        if time.monotonic() > over:
            return _answer(release, "preparing")
        await asyncio.sleep(LOOK_S)


async def preview(controller: Any, release: str, *, wait_s: float) -> JSONResponse:
    """Begin a preview and wait for it.

    Raises:
        ProblemError: 404, no such release; 409, it is served already, or can't be beside the one that is.
    """
    refused = await controller.preview.remote(release)
    if refused is not None:
        raise ProblemError(*refused)
    over = time.monotonic() + wait_s
    while True:
        state: ServiceState = await controller.state.remote()
        kept = state.preview
        if kept is None or kept.release != release:
            raise ProblemError(409, f"release {release} is not previewed any more: somebody ended it, or promoted it")
        if kept.failed:
            raise ProblemError(409, f"release {release} can't be previewed: {kept.failed}")
        if kept.reached:
            return _answer(release, "serving")
        if time.monotonic() > over:
            return _answer(release, "preparing")
        await asyncio.sleep(LOOK_S)


def _answer(release: str, state: Literal["serving", "preparing"]) -> JSONResponse:
    answer = SwitchAnswer(release=release, state=state)
    return JSONResponse(answer.model_dump(), 200 if state == "serving" else 202)


async def rollback(store: Store, controller: Any, *, wait_s: float) -> JSONResponse:
    """Switch to the release before the current one; raises as `promote`."""
    loop = asyncio.get_running_loop()
    try:
        release = await loop.run_in_executor(None, releases_of.previous_release, store)
    except NotFoundError as error:
        raise ProblemError(409, str(error)) from None
    return await promote(controller, release, force=False, wait_s=wait_s, rollback=True)


def refusal(error: VisnetError) -> tuple[int, str]:
    """A refusal as it travels from the controller: status and reason."""
    if isinstance(error, NotFoundError):
        return 404, str(error)
    return (409 if isinstance(error, GateError) else 503), str(error)
