"""An ingress follows the controller: it says what it is doing, hears which release is served, and moves over.

An ingress that hears nothing goes on with the release it has.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from visnet.platform.settings import ServeSettings
from visnet.platform.store import Store
from visnet.serve import telemetry
from visnet.serve.served import Served, open_served
from visnet.serve.service_state import ServiceState

REPORT_S = 0.25
ANSWER_S = 5.0

logger = logging.getLogger(__name__)


class Follower:
    """What an ingress knows of the service.

    Args:
        name: this ingress's own.
        controller: its handle.
    """

    def __init__(self, name: str, store: Store, settings: ServeSettings, controller: Any) -> None:
        self._name = name
        self._store = store
        self._settings = settings
        self._controller = controller
        self._known: dict[str, Served] = {}
        self._task: asyncio.Task[None] | None = None
        self.current: Served | None = None
        """What is served; None until the controller has said it."""
        self.preview: Served | None = None
        """A second release that may be asked for by its name."""
        self.state: ServiceState | None = None
        """What the controller said last."""

    def start(self) -> None:
        """Begin, on the running event loop; nothing happens if it has begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def served(self) -> Served:
        """What is served, as soon as it is known."""
        while self.current is None:
            await asyncio.sleep(REPORT_S / 5)
        return self.current

    def measure(self) -> None:
        """What this ingress answers by and whom it reaches, for who looks from outside."""
        served = self.current
        if served is not None:
            telemetry.RELEASE_INFO.replace({(served.manifest.release, served.manifest.encoder): 1.0})
            telemetry.SHARD_UP.replace({(str(one.number),): float(not one.is_down) for one in served.fan_out.shards})

    async def _follow(self) -> None:
        while True:
            try:
                busy = {name: served.busy for name, served in self._known.items()}
                plan = self.current.plan if self.current is not None else None
                report = self._controller.report.remote(self._name, plan, busy)
                state: ServiceState = await asyncio.wait_for(report, ANSWER_S)
                self.state = state
                await self._move(state)
                self._forget()
                await self._look_beside(state)
            except Exception as error:  # the controller, or a part, is away: go on with what there is
                logger.warning("could not follow the controller: %s", str(error).strip().splitlines()[-1:] or error)
            await asyncio.sleep(REPORT_S)

    async def _move(self, state: ServiceState) -> None:
        serving = state.serving
        if serving is None or (self.current is not None and self.current.plan == serving.plan):
            return
        if serving.plan not in self._known:
            self._known[serving.plan] = await open_served(self._store, serving, self._settings)
        self.current = self._known[serving.plan]
        logger.info("answering by release %s", serving.release)

    async def _look_beside(self, state: ServiceState) -> None:
        serving = state.preview.serving if state.preview is not None else None
        if serving is None:
            self.preview = None
            return
        if serving.plan not in self._known:
            self._known[serving.plan] = await open_served(self._store, serving, self._settings)
        self.preview = self._known[serving.plan]

    def _forget(self) -> None:
        """Releases that nobody asks any more."""
        kept = (self.current, self.preview)
        for name in [name for name, served in self._known.items() if served not in kept and not served.busy]:
            self._known.pop(name).close()
