"""What a deployment does first: its log lines and its numbers are those of a replica from then on."""

from __future__ import annotations

from collections.abc import Callable

from ray import serve
from ray.serve.exceptions import RayServeException

from visnet.serve.logs import log_lines
from visnet.serve.publishing import publish


def observed(*measure: Callable[[], None]) -> None:
    """Let this replica be seen from outside; nothing happens outside Serve.

    Args:
        measure: called every few seconds, from a thread; they set the gauges that nobody else does.
    """
    try:
        context = serve.get_replica_context()
    except RayServeException:
        return
    replica = {"deployment": context.deployment, "replica": context.replica_tag}
    publish(replica, log_lines(replica).flush, *measure)
