"""Where a command's Ray cluster comes from: the one it is told to use, the job it is in, or one of its own.

    with cluster.session(address) as connection:   # every command: `visnet train`, `visnet embed`, …
        ...                                        # ray is connected

Authentication is always explicit (`ray_auth`), and what goes wrong is a `ClusterError` that says what to do.
"""

import contextlib
import contextvars
import dataclasses
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

from visnet.platform.errors import ClusterError, VisnetError
from visnet.platform.local_cluster import OBJECT_STORE_BYTES, LocalCluster
from visnet.platform.pools import ALL, Pool
from visnet.platform.ray_auth import ensure_token
from visnet.platform.ray_probe import mapped_loopback, probe

__all__ = ["Connection", "LocalCluster", "connect", "current", "ensure_token", "selector", "session"]

NAMESPACE = "visnet"
CONNECT_TIMEOUT_S = 15.0

_JOIN_HINT = "a driver needs a Ray node on its own machine: run it there, or submit it as a job"
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A driver's connection to a cluster."""

    address: str
    """The GCS, `host:port`."""
    dashboard_url: str | None
    """The dashboard and jobs API, `http://host:port`; None if the cluster has none."""
    local: bool = False
    """Whether the cluster was started for this session and ends with it."""
    pool: Pool = ALL
    """The nodes that this session's work may use."""


_SESSION: contextvars.ContextVar[Connection | None] = contextvars.ContextVar("session", default=None)


def connect(
    address: str | None = None,
    *,
    timeout_s: float = CONNECT_TIMEOUT_S,
    log_to_driver: bool = False,
    logging_level: int = logging.WARNING,
    runtime_env: Mapping[str, Any] | None = None,
) -> Connection:
    """Connect this process as a driver, in the namespace `visnet`. If it already is connected, that connection stays.

    Args:
        address: the cluster's `host:port`; None for `RAY_ADDRESS`, or the cluster of the job that this process is in.
        timeout_s: how long the cluster may take to answer.
        log_to_driver: print what tasks and actors print.
        logging_level: of Ray's own logger in this process.
        runtime_env: Ray's runtime environment for this driver's tasks and actors.

    Raises:
        ClusterError: there is no address, nothing answers there, it refuses our token, or this process is already
            connected to another cluster; the text says which.
    """
    import ray

    ensure_token()
    if ray.is_initialized():
        return _same(_connection(ray.init(ignore_reinit_error=True, logging_level=logging.ERROR)), address)
    target = _target(address)
    if target != "auto" and (reason := probe(target, timeout_s=timeout_s)) is not None:
        raise ClusterError(f"can't use the Ray cluster at {address or target}: {reason}")
    try:
        context = ray.init(
            target,
            namespace=NAMESPACE,
            log_to_driver=log_to_driver,
            logging_level=logging_level,
            runtime_env=dict(runtime_env) if runtime_env else None,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"can't join the Ray cluster at {address or target}: {error}; {_JOIN_HINT}") from error
    return _connection(context)


@contextlib.contextmanager
def session(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    object_store_bytes: int = OBJECT_STORE_BYTES,
    env: Mapping[str, str] | None = None,
    log_to_driver: bool = False,
    logging_level: int = logging.WARNING,
    runtime_env: Mapping[str, Any] | None = None,
    pool: Pool | None = None,
) -> Iterator[Connection]:
    """A connected cluster for the length of a command.

    Attaches if an address is given, `RAY_ADDRESS` is set or this process is in a Ray job or already connected;
    otherwise starts a `LocalCluster` (the other arguments are its own) and ends it afterwards, whatever happens:
    an exception, Ctrl-C, SIGTERM or SIGHUP. After an exception its logs stay, and their folder is logged.

    Args:
        pool: the nodes that its work may use, where the cluster has pools; `current` gives it to whoever starts work.

    Raises:
        ClusterError: as `connect` and `LocalCluster.start`.
    """
    options: dict[str, Any] = {
        "log_to_driver": log_to_driver,
        "logging_level": logging_level,
        "runtime_env": runtime_env,
    }
    if _attaches(address):
        with _disconnecting():
            found = connect(address, **options)
            with _current(dataclasses.replace(found, pool=_usable(pool or ALL))) as connection:
                yield connection
        return
    own = LocalCluster(num_cpus=num_cpus, num_gpus=num_gpus, object_store_bytes=object_store_bytes, env=env)
    with _signals_raise(), own, _keeping_logs(own), _disconnecting():
        found = connect(own.address, **options)
        with _current(dataclasses.replace(found, local=True)) as connection:
            yield connection


def current() -> Connection | None:
    """The connection of the session that this is in; None outside of one, as in a task or an actor."""
    return _SESSION.get()


def selector() -> dict[str, str]:
    """Ray's label selector for whatever this session starts."""
    connection = current()
    return {} if connection is None else connection.pool.selector


@contextlib.contextmanager
def _current(connection: Connection) -> Iterator[Connection]:
    """Make a connection the current one, and keep what Ray Data starts to its pool."""
    token = _SESSION.set(connection)
    try:
        import ray.data

        context = ray.data.DataContext.get_current()
        context.execution_options.label_selector = connection.pool.selector or None
        context.use_datasource_v2 = False  # its 32 actors for a parquet file's footers run anywhere, whatever the label
        yield connection
    finally:
        _SESSION.reset(token)


def _usable(pool: Pool) -> Pool:
    """The pool, or all nodes if the cluster keeps none apart.

    Raises:
        ClusterError: it has pools, but not this one.
    """
    from visnet.platform import ray_nodes

    if pool.name is None or ray_nodes.capacity(pool):
        return pool
    if known := ray_nodes.known_pools():
        raise ClusterError(f"no node of the cluster is of {pool}, only of {', '.join(sorted(known))}")
    logger.info("the cluster has no pools, so %s is all of it", pool)
    return ALL


def _target(address: str | None) -> str:
    given = address or os.environ.get("RAY_ADDRESS")
    if given is None and "RAY_JOB_ID" in os.environ:
        return "auto"
    if not given:
        raise ClusterError("no Ray cluster given: pass --address host:port or set RAY_ADDRESS")
    if "://" in given:
        raise ClusterError(f"{given} is a URL; a driver needs the head's host:port (6379 unless changed)")
    return mapped_loopback(given)


def _attaches(address: str | None) -> bool:
    return bool(address or os.environ.get("RAY_ADDRESS")) or "RAY_JOB_ID" in os.environ or _connected()


def _connected() -> bool:
    if "ray" not in sys.modules:  # an import for nothing takes seconds
        return False
    import ray

    return bool(ray.is_initialized())


def _connection(context: Any) -> Connection:
    url = context.dashboard_url or None
    return Connection(
        address=context.address_info["gcs_address"],
        dashboard_url=url if url is None or "://" in url else f"http://{url}",
    )


def _same(connection: Connection, address: str | None) -> Connection:
    if address and mapped_loopback(address) != mapped_loopback(connection.address):
        raise ClusterError(f"already connected to {connection.address}; disconnect before connecting to {address}")
    return connection


@contextlib.contextmanager
def _disconnecting() -> Iterator[None]:
    """Disconnect at the end, unless the process was connected before."""
    before = _connected()
    try:
        yield
    finally:
        if _connected() and not before:
            import ray

            ray.shutdown()


@contextlib.contextmanager
def _keeping_logs(own: LocalCluster) -> Iterator[None]:
    """Leave the logs of a cluster under which something unexpected went wrong."""
    try:
        yield
    except VisnetError:
        raise
    except Exception:
        own.keep_logs = True
        logger.warning("Ray's logs of this session stay in %s", own.directory)
        raise


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `SystemExit`, so that `finally` runs. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _exit) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
