"""The service as a Serve application: the ingress, and the controller that sees to the parts behind it."""

from __future__ import annotations

from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig

from visnet.platform.pools import ALL, Pool
from visnet.platform.settings import ServeSettings
from visnet.platform.store import Store
from visnet.serve.controller import Controller
from visnet.serve.ingress import Ingress
from visnet.serve.parts import actor_options
from visnet.serve.problems import RETRY_AFTER_S

INGRESS_CPUS = 0.5
CONTROLLER_CPUS = 0.1


def build(store: Store, settings: ServeSettings, journal: str | None, pool: Pool = ALL) -> Application:
    """The application that serves a store's current release; its parts are started by its controller.

    Args:
        pool: the nodes that it may use, with those that may come; that of the settings.
    """
    controller = serve.deployment(
        Controller,
        name="controller",
        max_ongoing_requests=1_000,
        ray_actor_options=actor_options(settings, CONTROLLER_CPUS),
    )
    ingress = serve.deployment(
        Ingress,
        name="ingress",
        num_replicas=settings.ingress_replicas,
        max_replicas_per_node=1 if settings.ingress_apart else None,
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
        ray_actor_options=actor_options(settings, INGRESS_CPUS),
        logging_config={"enable_access_log": False},  # it writes its own
    )
    return ingress.bind(store, settings, journal, controller.bind(store, settings, journal, pool))
