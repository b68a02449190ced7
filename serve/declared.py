"""The service as Serve's declarative interface takes it: what a RayService's `serveConfigV2` names.

`visnet serve` starts the service by a call; KubeRay sends Serve a configuration instead, with import paths. Both come
to the same application, and its controller starts the parts behind it by calls. Serve leaves what a call started alone
when it is sent a configuration again (it deletes only what an earlier configuration started), so the two go together;
tests/integration/test_declared_service.py holds that.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.exceptions import RayServeException

from visnet.platform.fleet.definition import find_definition
from visnet.platform.journal_place import journal_place
from visnet.platform.pools import pool_of
from visnet.platform.settings_file import find_cluster_file, parse_settings
from visnet.platform.store import Store
from visnet.serve.app import build
from visnet.serve.cli import APPLICATION
from visnet.serve.service_state import ServiceState

LOOK_S = 1.0


def application(args: dict[str, Any]) -> Application:
    """The service.

    Args:
        args: `settings`, as under metadata.visnet in cluster.yaml.

    Raises:
        SettingsError: a setting is unknown or wrong, or no node type is of the service's pool; the text names the key.
    """
    settings = parse_settings(args.get("settings") or {}, source="serveConfigV2")
    file = find_cluster_file()
    definition = None if file is None else find_definition(file)
    pool = pool_of(definition, settings.serve.pool, setting="serve.pool")
    store = Store(settings.store)
    return build(store, settings.serve, journal_place(store, settings.serve.journal), pool)


def standing(args: dict[str, Any]) -> Application:
    """An application that stands as soon as the service serves a release.

    KubeRay sends requests to a new cluster when all of its applications stand; the service's own does before there are
    shards.
    """
    return serve.deployment(Standing, name="standing", ray_actor_options={"num_cpus": 0}).bind()


class Standing:
    """Its constructor ends when a release is served."""

    async def __init__(self) -> None:  # type: ignore[misc]  # Serve awaits it
        while not await _is_settled():
            await asyncio.sleep(LOOK_S)


async def _is_settled() -> bool:
    try:
        controller = serve.get_deployment_handle("controller", APPLICATION)
        state: ServiceState = await controller.state.remote()
    except RayServeException:  # it has not been started yet
        return False
    return state.settled
