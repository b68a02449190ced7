"""The cluster as the controller sees and changes it: Serve's applications.

Not for the driver: it is called in a replica, on a thread. Ours are the applications without a route.
"""

from __future__ import annotations

from collections.abc import Sequence

import ray
from ray import serve
from ray.serve._private.common import DeploymentID  # what the call that Serve's REST API makes takes
from ray.serve.api import RunTarget
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus

from visnet.platform.placement import Running, State
from visnet.serve.parts import EMBEDDER, SHARD

# What stood and lost a replica is starting, not failed: Serve starts another one, and a switch waits for it.
_STATES = {
    ApplicationStatus.RUNNING: State.READY,
    ApplicationStatus.DEPLOY_FAILED: State.FAILED,
}
_GONE = (ApplicationStatus.DELETING, ApplicationStatus.NOT_STARTED)


def applications() -> dict[str, Running]:
    """The parts that run, by name."""
    found = {}
    for name, application in serve.status().applications.items():
        if not name.startswith((f"{EMBEDDER}-", f"{SHARD}-")) or application.status in _GONE:
            continue
        state = _STATES.get(application.status, State.STARTING)
        replicas = sum(
            count
            for deployment in application.deployments.values()
            for what, count in deployment.replica_states.items()
            if str(what) != "STOPPING"
        )
        reasons = [deployment.message for deployment in application.deployments.values() if deployment.message]
        found[name] = Running(state=state, replicas=replicas, reason=" ".join([application.message, *reasons]).strip())
    return found


def start(targets: Sequence[RunTarget]) -> None:
    """Start applications; does not wait until they run."""
    serve.run_many(list(targets), wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def end(names: Sequence[str]) -> None:
    """End applications; their replicas answer what they have begun."""
    for name in names:
        serve.delete(name, _blocking=False)


def resize(name: str, replicas: int) -> None:
    """Change the number of replicas of an application's deployment, without a restart of those that are there."""
    client = _get_global_client()
    ray.get(client._controller.update_deployment_replicas.remote(DeploymentID(name=SHARD, app_name=name), replicas))
