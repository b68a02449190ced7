"""Which release is kept beside the one that is served; remembered in the store, so that a new controller goes on with
it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from visnet.platform.placement import Ingress, Plan, Running, State
from visnet.platform.store import Store
from visnet.serve.parts import serving_of
from visnet.serve.service_state import Preview

PREVIEW = "service/preview.json"


class Previewed:
    """The preview of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.plan: Plan | None = None
        self._failed: Preview | None = None
        self.before = self._remembered()
        """The release that the last controller had, until its plan is known."""

    async def keep(self, plan: Plan | None) -> None:
        """Preview this from now on; None: nothing."""
        self.plan, self._failed, self.before = plan, None, None
        remembered = json.dumps({"release": plan.release if plan is not None else None})
        await asyncio.to_thread(self._store.write, PREVIEW, remembered.encode())

    async def give_up(self, plan: Plan, reason: str) -> None:
        """It can't be there; why is said until something else is previewed."""
        await self.keep(None)
        self._failed = Preview(release=plan.release, serving=None, failed=reason)

    def state(
        self, running: Mapping[str, Running], serving: Plan | None, ingresses: Sequence[Ingress]
    ) -> Preview | None:
        """How it stands; none once it is the one that is served."""
        if self.plan is None:
            return self._failed
        if serving is not None and serving.name == self.plan.name:
            return None
        parts = [running.get(part.name) for part in self.plan.parts]
        stands = all(part is not None and part.state is State.READY for part in parts)
        return Preview(
            release=self.plan.release,
            serving=serving_of(self.plan) if stands else None,
            reached=stands and all(self.plan.name in ingress.busy for ingress in ingresses),
        )

    def _remembered(self) -> str | None:
        if not self._store.exists(PREVIEW):
            return None
        try:
            release = json.loads(self._store.read(PREVIEW))["release"]
        except (ValueError, KeyError, TypeError):  # of another visnet: there is none then
            return None
        return str(release) if release is not None else None
