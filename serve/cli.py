"""`visnet serve` and `python -m visnet.serve`: the current release over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import threading

import click

from visnet.platform.command import Invocation, cluster_options, overridden, shared_options
from visnet.platform.errors import ClusterError
from visnet.platform.index import read_index
from visnet.platform.journal_place import journal_place
from visnet.platform.pools import Pool
from visnet.platform.ports import is_free
from visnet.platform.release import current_release, promote
from visnet.platform.settings import ServeSettings
from visnet.platform.store import Store

APPLICATION = "visnet"
LOOK_S = 0.25


@click.command()
@click.option("--release", metavar="ID", help="Make this the current release first, as visnet release promote does.")
@click.option("--host", help="Where HTTP listens; 0.0.0.0 to be reached from other machines.")
@click.option("--port", type=int, help="Default: the cluster file's, 8000.")
@click.option("--detach", is_flag=True, help="Return once it serves; it goes on as long as its cluster.")
@cluster_options
@shared_options
def serve(
    invocation: Invocation,
    release: str | None,
    host: str | None,
    port: int | None,
    detach: bool,
    address: str | None,
    fit: bool,
) -> None:
    """Serve the current release over HTTP with Ray Serve, until Ctrl-C.

    The service follows the store: a release that is promoted or rolled back, here or over HTTP, is started beside the
    one that serves, and takes over when it stands. Run again while it serves, with other settings, this changes it in
    place, such as the number of replicas. Products are written over HTTP with a key: visnet key create --scope write
    """
    store = invocation.store
    if release is not None:
        promote(store, release)
    chosen = current_release(store)
    with invocation.cluster(address, serving=True) as connection:
        if detach and connection.local:
            raise ClusterError("--detach needs a cluster that stays: start one, then pass --address or set RAY_ADDRESS")
        settings = overridden(invocation.fitted(fit).serve, host=host, port=port)
        settings = dataclasses.replace(settings, pool=connection.pool.name)  # None where the cluster keeps none apart
        start(store, chosen.release, settings, connection.pool)
        url = f"http://{settings.host}:{settings.port}"
        invocation.report(
            {"url": url, "release": chosen.release, "shards": read_index(store, chosen.index).shards},
            f"serving release {chosen.release} on {url} (open it in a browser; the API is described at {url}/docs)",
        )
        if not detach:
            _wait()
            stop()


def start(store: Store, release: str, settings: ServeSettings, pool: Pool) -> None:
    """Start the service on the connected cluster and wait until it serves a release.

    Args:
        pool: the nodes that it may use, that of the settings.

    Raises:
        ClusterError: the port is taken, or a part of the service did not start.
    """
    from ray import serve as ray_serve

    from visnet.serve.app import build

    if not _served() and not is_free(settings.port, settings.host):
        raise ClusterError(f"port {settings.port} is in use: pass --port, or stop what listens there")
    ray_serve.start(proxy_location="HeadOnly", http_options={"host": settings.host, "port": settings.port})
    journal = journal_place(store, settings.journal)
    try:
        ray_serve.run(build(store, settings, journal, pool), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise ClusterError(f"the service did not start: {error}; the reason is in the log above") from error
    asyncio.run(_until_serving(release))


async def _until_serving(release: str) -> None:
    """Wait until a release is served as the settings say, or the controller says why it can't be.

    In an event loop, because a job's driver has the cluster's throughput mode, whose handles need one.
    """
    from ray import serve as ray_serve

    from visnet.serve.service_state import ServiceState

    controller = ray_serve.get_deployment_handle("controller", APPLICATION)
    while True:
        state: ServiceState = await controller.state.remote()
        failed = state.switch.failed if state.switch is not None and state.switch.release == release else ""
        if reason := failed or state.problem:
            raise ClusterError(f"release {release} can't be served so: {reason}")
        if state.settled:
            return
        await asyncio.sleep(LOOK_S)


def stop() -> None:
    """Stop the service on the connected cluster."""
    from ray import serve as ray_serve

    ray_serve.shutdown()


def _served() -> bool:
    """Whether Serve already runs on the connected cluster, and so holds the port itself."""
    from ray import serve as ray_serve

    return bool(ray_serve.status().proxies)


def _wait() -> None:
    """Until SIGINT or SIGTERM."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(0.5):
        pass
