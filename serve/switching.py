"""Promotions and rollbacks over HTTP: asked of the controller, and waited for."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import JSONResponse

from visnet.platform import release as releases_of
from visnet.platform.errors import GateError, NotFoundError, VisnetError
from visnet.platform.store import Store
from visnet.serve import api as bodies
from visnet.serve.problems import ProblemError
from visnet.serve.service_state import ServiceState

LOOK_S = 0.2
Wait = Annotated[float, Query(ge=0, le=25, description="How long to wait for it, in seconds.")]


async def releases(store: Store, controller: Any) -> bodies.ReleasesAnswer:
    """The releases of a store and how the service stands to them."""
    loop = asyncio.get_running_loop()
    known = await loop.run_in_executor(None, releases_of.list_releases, store)
    history = await loop.run_in_executor(None, releases_of.history, store)
    state: ServiceState = await controller.state.remote()
    return bodies.ReleasesAnswer(
        current=history[-1].release if history else None,
        serving=state.serving.release if state.serving is not None else None,
        switching_to=state.switch.release if state.switch is not None else None,
        failed=state.switch.failed if state.switch is not None else "",
        releases=[
            bodies.ReleaseEntry(
                release=manifest.release,
                encoder=manifest.encoder,
                detector=manifest.detector,
                catalog=f"{manifest.catalog}-{manifest.catalog_version}",
                created_at=manifest.created_at,
                passed=all(gate.passed for gate in manifest.gates),
            )
            for manifest in known
        ],
    )


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
        if state.settled and state.serving is not None and state.serving.release == release:
            return JSONResponse(bodies.SwitchAnswer(release=release, state="serving").model_dump())
        if time.monotonic() > over:
            return JSONResponse(bodies.SwitchAnswer(release=release, state="preparing").model_dump(), 202)
        await asyncio.sleep(LOOK_S)


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
