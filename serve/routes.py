"""What all routes of the HTTP API stand on: the application, and the ingress's ways to the rest of the service.

Every request takes the release that is served when it comes, or the one that it names, and stays with it, so an answer
is of one release as a whole. What a request does is in `searching`, `writing` and their like; the routes are only what
HTTP adds.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from visnet.platform.guarded_fetch import GuardedFetcher
from visnet.platform.journal import open_journal
from visnet.platform.settings import FetchSettings, ServeSettings
from visnet.platform.store import Store
from visnet.serve import exchange, telemetry
from visnet.serve.access import Access
from visnet.serve.access_log import AccessLog
from visnet.serve.bodies import BodyBudget
from visnet.serve.describing import Describing
from visnet.serve.embedding import Embedding
from visnet.serve.follower import Follower
from visnet.serve.observed import observed
from visnet.serve.photos import Photos
from visnet.serve.picture_answers import PictureAnswers
from visnet.serve.problems import RESPONSES, SHED_REASONS, ProblemError, register
from visnet.serve.requests import describe
from visnet.serve.scrape import Scrape
from visnet.serve.served import Served
from visnet.serve.writing import Writer

api = FastAPI(
    title="visnet",
    description="Products that look like a photo, like a product, or like a vector; written and deleted while it "
    "answers. Errors are problem details. The page at / shows it.",
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


class Routes:
    """What answers HTTP, without its routes.

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
        self._describing = Describing()
        fetcher = GuardedFetcher(settings.fetch_hosts, FetchSettings(), allow_private=settings.fetch_private)
        self._pictures = PictureAnswers(fetcher)
        self._journal = open_journal(journal) if journal is not None else None
        self._writer = Writer(self._journal, fetcher) if self._journal is not None else None
        self._scrape = Scrape()
        for reason in SHED_REASONS:
            telemetry.SHED.add(reason, amount=0)
        observed(self._follower.measure)
        with contextlib.suppress(RuntimeError):  # no event loop yet: the first request starts it
            self._follower.start()

    @contextlib.asynccontextmanager
    async def _serving(self, release: str | None = None) -> AsyncIterator[Served]:
        """The release that this request is answered by, from here to the end of the block."""
        served = await self._asked_for(release)
        exchange.note(release=served.manifest.release)
        served.busy += 1
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                yield served
        except TimeoutError:
            raise ProblemError(504, f"no answer within {self._settings.request_timeout_s:g} s") from None
        finally:
            served.busy -= 1

    async def _asked_for(self, release: str | None) -> Served:
        self._follower.start()
        try:
            async with asyncio.timeout(FIRST_WAIT_S):
                served = await self._follower.served()
        except TimeoutError:
            problem = self._follower.state.problem if self._follower.state is not None else ""
            raise ProblemError(503, f"no release is served yet{f': {problem}' if problem else ''}") from None
        for known in (served, self._follower.preview):
            if known is not None and release in (None, known.manifest.release):
                return known
        raise ProblemError(
            409,
            f"release {release} does not answer: {served.manifest.release} is served; another one can be put beside it "
            "with POST /v1/releases/RELEASE/preview",
        )

    def _writes(self) -> Writer:
        if self._writer is None:
            raise ProblemError(409, NO_JOURNAL)
        return self._writer
