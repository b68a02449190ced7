"""The metrics of the whole service as one text: what each node's Ray agent exports, as far as it is ours.

So that one target suffices. A large cluster's Prometheus had better ask the nodes themselves (`observability/README`);
the names are the same there but for Ray's prefix, and the types, which Ray does not know.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from visnet.serve import telemetry
from visnet.serve.metering import Family

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "ray_visnet_"
KEPT_S = 1.0
"""An answer is given again for so long: who asks all the time does not make the nodes work all the time."""
TIMEOUT_S = 3.0
AT_ONCE = 16
"""Nodes asked at once."""
NOT_OURS = re.compile(r'(?:Component|SessionName|Version|WorkerId|JobId|NodeId|otel_scope_\w+)="(?:[^"\\]|\\.)*",?')
"""Labels that Ray adds and that say nothing more than `replica` does."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Nodes of the cluster are asked through no proxy."""


class Scrape:
    """Asks the nodes of the connected cluster."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1)
        self._kept = (float("-inf"), "")

    async def text(self) -> str:
        """The metrics in Prometheus's text format; nodes that don't answer are left out."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._text)

    def _text(self) -> str:
        """On the one thread: who waited for another's answer gets that."""
        if time.monotonic() - self._kept[0] > KEPT_S:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                self._kept = (time.monotonic(), merged(threads.map(_ask, _addresses())))
        return self._kept[1]


def merged(exports: Iterable[str]) -> str:
    """What several nodes export, as one text with our families only, each with its type."""
    by_name: dict[str, list[str]] = {}
    for export in exports:
        for line in export.splitlines():
            if line.startswith(PREFIX):
                name = re.split(r"[{ ]", line, maxsplit=1)[0].removeprefix("ray_")
                by_name.setdefault(name, []).append(_plain(line))
    return "".join(_family(family, by_name) for family in telemetry.FAMILIES)


def _family(family: Family, by_name: dict[str, list[str]]) -> str:
    lines = [line for name in family.sample_labels for line in by_name.get(name, ())]
    if not lines:
        return ""
    head = [f"# HELP {family.name} {family.about}", f"# TYPE {family.name} {family.kind}"]
    return "\n".join([*head, *lines]) + "\n"


def _plain(line: str) -> str:
    """A line without Ray's prefix and labels."""
    labels, close, value = line.removeprefix("ray_").rpartition("}")
    return f"{NOT_OURS.sub('', labels).rstrip(',')}{close}{value}"


def _addresses() -> list[str]:
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"] and node["MetricsExportPort"]]
    return [_url(node["NodeManagerAddress"], node["MetricsExportPort"]) for node in nodes]


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"


def _ask(url: str) -> str:
    try:
        with _DIRECT.open(url, timeout=TIMEOUT_S) as response:
            return str(response.read().decode())
    except OSError:  # a node that is going down
        return ""
