"""The controller: one small actor that sees to it that the wanted release is the one that is served.

It looks at how things stand, `placement.decide` says what to do, and it does that; a second later it looks again.
Wanted is what the alias `current` names, or a release that is being promoted over HTTP: that one becomes current only
when all of its parts stand. The service goes on while the controller is away, and a new one takes up where it died:
what is served is in the store (`service/serving.json`), the rest it sees.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Mapping

import pydantic

from visnet.platform import release as releases
from visnet.platform.errors import NotFoundError, VisnetError
from visnet.platform.placement import Activate, End, Ingress, Plan, Refuse, Resize, Running, Seen, Start, State, decide
from visnet.platform.pools import Pool
from visnet.platform.ray_nodes import free
from visnet.platform.settings import ServeSettings
from visnet.platform.store import Store
from visnet.serve import telemetry
from visnet.serve.backfill import Backfill
from visnet.serve.cluster_view import applications, end, resize, start
from visnet.serve.observed import observed
from visnet.serve.part_status import PartStatus, part_statuses
from visnet.serve.parts import embedder_name, plan_of, serving_of, targets
from visnet.serve.previewed import Previewed
from visnet.serve.service_state import Encoder, Promotion, ServiceState, Switch
from visnet.serve.switching import refusal

LOOK_S = 1.0
LOOK_OFTEN_S = 0.25
"""While a switch is under way."""
SILENT_S = 10.0
"""An ingress that has not been heard of for so long is gone."""
TRY_AGAIN_S = 30.0
"""After a plan was refused."""
SERVING = "service/serving.json"

logger = logging.getLogger(__name__)


class Controller:
    """Serves the current release of a store.

    Args:
        journal: where the journal is, if there is one.
        pool: the nodes that the service may use, with those that may come.
    """

    def __init__(self, store: Store, settings: ServeSettings, journal: str | None, pool: Pool) -> None:
        self._store = store
        self._settings = settings
        self._journal = journal
        self._pool = pool
        self._plans: dict[str, Plan] = {}
        self._digests: dict[str, str] = {}
        self._running: dict[str, Running] = {}
        self._serving = self._remembered()
        self._wanted: Plan | None = None
        self._reports: dict[str, tuple[float, Ingress]] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._promotion: Promotion | None = None
        self._preview = Previewed(store)
        self._problem = ""
        self._backfill = Backfill(store, journal) if journal is not None else None
        self._looking: asyncio.Task[None] | None = None
        for outcome in ("served", "refused"):
            telemetry.SWITCHES.add(outcome, amount=0)
        observed(self._measure)

    async def report(self, ingress: str, plan: str | None, busy: Mapping[str, int]) -> ServiceState:
        """An ingress says which plan it answers by and how many requests it has under way, and hears what it should."""
        self._look_after()
        self._reports[ingress] = (time.monotonic(), Ingress(plan=plan, busy=dict(busy)))
        return self._state()

    async def state(self) -> ServiceState:
        """How the service stands."""
        self._look_after()
        return self._state()

    async def promote(self, release: str, *, force: bool = False, rollback: bool = False) -> tuple[int, str] | None:
        """Begin to make a release the current one; `state` says what becomes of it.

        Returns:
            The HTTP status and the reason, if it may not become the current one.
        """
        self._look_after()
        try:
            if not rollback:
                await asyncio.to_thread(releases.check_promotable, self._store, release, force=force)
            plan = await self._plan(release)
        except VisnetError as error:
            return refusal(error)
        self._refused.pop(plan.name, None)
        self._promotion = Promotion(release=release, force=force, rollback=rollback)
        return None

    async def preview(self, release: str) -> tuple[int, str] | None:
        """Start a release beside the one that is served, instead of one that is there so already; as `promote`."""
        self._look_after()
        if self._serving is None or self._serving.release == release:
            return 409, f"release {release} is served already" if self._serving else "no release is served yet"
        try:
            plan = await self._plan(release)
        except VisnetError as error:
            return refusal(error)
        await self._preview.keep(plan)
        return None

    async def end_preview(self) -> None:
        """Let the release go that is beside the served one, if there is one."""
        self._look_after()
        await self._preview.keep(None)

    async def parts(self) -> list[PartStatus]:
        """How every deployment of the service stands."""
        return await asyncio.to_thread(part_statuses, list(self._plans.values()))

    def _look_after(self) -> None:
        """Start looking; the constructor has no event loop to do it in."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._look()
                self._problem = ""
            except VisnetError as error:  # such as no current release: somebody has to mend it, and may
                self._problem = str(error)
            except Exception as error:
                self._problem = f"{type(error).__name__}: {error}"
                logger.exception("the controller failed; looking again")
            await asyncio.sleep(LOOK_S if self._serves(self._wanted) else LOOK_OFTEN_S)

    async def _look(self) -> None:
        wanted = await self._choose()
        self._wanted = wanted
        beside = await self._beside(wanted)
        running = self._running = await asyncio.to_thread(applications)
        missing = any(_missing(plan, running) for plan in (wanted, beside) if plan is not None)
        seen = Seen(
            wanted=wanted,
            serving=self._serving,
            running=running,
            nodes=await asyncio.to_thread(free, self._pool) if missing else [],
            ingresses=self._heard(),
            beside=beside,
        )
        for action in decide(seen):
            await self._act(action)
        if self._promotion is not None and wanted is not None and self._serves(wanted):
            await self._activate(wanted)  # it stood already
        for plan in (wanted, beside):
            if self._backfill is not None and plan is not None and self._embeds(plan):
                await self._backfill.run(plan)

    async def _beside(self, wanted: Plan | None) -> Plan | None:
        """The plan of the release that is previewed; none any more once it is the one to be served."""
        kept = self._preview
        if kept.before is not None:
            try:
                await kept.keep(await self._plan(kept.before))
            except NotFoundError:  # it was removed meanwhile
                await kept.keep(None)
        if kept.plan is not None and wanted is not None and kept.plan.name == wanted.name:
            if self._serves(wanted):
                await kept.keep(None)
            return None
        return kept.plan

    async def _choose(self) -> Plan | None:
        """The plan of the release that is to be served, unless it was refused a moment ago."""
        promotion = self._promotion
        if promotion is None:
            current = await asyncio.to_thread(releases.current_release, self._store)
            release = current.release
        else:
            release = promotion.release
        plan = await self._plan(release)
        refused_at, _ = self._refused.get(plan.name, (-TRY_AGAIN_S, ""))
        if time.monotonic() - refused_at < TRY_AGAIN_S:
            return self._serving
        return plan

    async def _plan(self, release: str) -> Plan:
        if release not in self._plans:
            self._plans[release] = await asyncio.to_thread(plan_of, self._store, release, self._settings, self._journal)
        return self._plans[release]

    async def _act(self, action: Start | Activate | Resize | End | Refuse) -> None:
        match action:
            case Start(plan=plan, parts=parts):
                logger.info("starting %s", ", ".join(part.name for part in parts))
                made = targets(self._store, plan, parts, self._settings, self._journal)
                await asyncio.to_thread(start, made)
            case Activate(plan=plan):
                await self._activate(plan)
            case Resize(part=part, replicas=replicas):
                logger.info("%s: %d replicas", part, replicas)
                await asyncio.to_thread(resize, part, replicas)
            case End(parts=names):
                logger.info("ending %s", ", ".join(names))
                await asyncio.to_thread(end, names)
            case Refuse(plan=plan, reason=reason):
                if self._is_beside(plan):
                    logger.error("release %s can't be previewed: %s", plan.release, reason)
                    await self._preview.give_up(plan, reason)
                else:
                    self._refuse(plan, reason)

    def _is_beside(self, plan: Plan) -> bool:
        wanted, kept = self._wanted, self._preview.plan
        return kept is not None and kept.name == plan.name and (wanted is None or wanted.name != plan.name)

    async def _activate(self, plan: Plan) -> None:
        """Let the ingresses move to a plan. What is promoted becomes current first: a restart then serves it too."""
        promotion = self._promotion
        if promotion is not None and promotion.release == plan.release:
            try:
                await asyncio.to_thread(promotion.carry_out, self._store)
            except VisnetError as error:
                return self._refuse(plan, str(error))
            self._promotion = None
        remembered = json.dumps(dataclasses.asdict(plan)).encode()
        await asyncio.to_thread(self._store.write, SERVING, remembered)
        logger.info("serving release %s", plan.release)
        telemetry.SWITCHES.add("served")
        self._serving = plan
        return None

    def _refuse(self, plan: Plan, reason: str) -> None:
        logger.error("release %s can't be served: %s", plan.release, reason)
        telemetry.SWITCHES.add("refused")
        self._refused[plan.name] = (time.monotonic(), reason)
        if self._promotion is not None and self._promotion.release == plan.release:
            self._promotion = None

    def _measure(self) -> None:
        telemetry.CONTROLLER_PROBLEM.set(float(bool(self._problem)))

    def _heard(self) -> list[Ingress]:
        """The ingresses that are there."""
        now = time.monotonic()
        self._reports = {name: report for name, report in self._reports.items() if now - report[0] < SILENT_S}
        return [ingress for _, ingress in self._reports.values()]

    def _state(self) -> ServiceState:
        known = (self._serving, self._wanted, self._preview.plan)
        plans = [plan for plan in known if plan is not None and self._embeds(plan)]
        ingresses = self._heard()
        return ServiceState(
            serving=serving_of(self._serving) if self._serving is not None else None,
            encoders=tuple(dict.fromkeys(self._encoder(plan) for plan in plans)),
            moved=all(self._serving is not None and one.plan == self._serving.name for one in ingresses),
            settled=self._serves(self._wanted),
            switch=self._switch(),
            preview=self._preview.state(self._running, self._serving, ingresses),
            problem=self._problem,
        )

    def _serves(self, plan: Plan | None) -> bool:
        return plan is not None and self._serving is not None and plan.name == self._serving.name

    def _embeds(self, plan: Plan) -> bool:
        """Whether a plan's embedder answers: writes do not wait for one that is being started."""
        embedder = self._running.get(embedder_name(plan))
        return embedder is not None and embedder.state is State.READY

    def _encoder(self, plan: Plan) -> Encoder:
        if plan.release not in self._digests:
            self._digests[plan.release] = releases.read_release(self._store, plan.release).encoder_digest
        return Encoder(digest=self._digests[plan.release], application=embedder_name(plan))

    def _switch(self) -> Switch | None:
        """The switch that is under way, or the one that failed last."""
        if self._promotion is not None:
            return Switch(release=self._promotion.release, failed="")
        if self._wanted is not None and not self._serves(self._wanted):
            return Switch(release=self._wanted.release, failed="")
        if self._refused:
            name, (_, reason) = max(self._refused.items(), key=lambda item: item[1][0])
            release = next((plan.release for plan in self._plans.values() if plan.name == name), name)
            return Switch(release=release, failed=reason)
        return None

    def _remembered(self) -> Plan | None:
        """What was served when the last controller died, if it runs still; by other settings than now, perhaps."""
        if not self._store.exists(SERVING):
            return None
        try:
            plan = pydantic.TypeAdapter(Plan).validate_json(self._store.read(SERVING))
        except pydantic.ValidationError:  # of another visnet: the wanted parts are looked for anew
            return None
        running = applications()
        return plan if all(part.name in running for part in plan.parts) else None


def _missing(plan: Plan, running: Mapping[str, Running]) -> bool:
    return any(part.name not in running for part in plan.parts)
