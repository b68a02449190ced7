"""The numbers of `telemetry` on their way to Ray's metrics, and so to Prometheus.

Each goes as a Ray gauge: Ray's agent forgets a gauge that is not set anew, so a replica that has ended leaves nothing
behind, and to Prometheus a counter is a number that grows whatever its type is said to be. A gauge costs 2.5 us to set.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from visnet.serve import telemetry

PUBLISH_S = 2.0
"""Ray sends gauges on every 10 s, or as `RAY_metrics_report_interval_ms` says."""

logger = logging.getLogger(__name__)


class Publisher:
    """Sets the numbers of this process in Ray's metrics.

    Args:
        replica: labels of all of them: which deployment and which replica they are of.
        make_gauge: makes a Ray gauge of a name, a text and the names of its labels.
    """

    def __init__(self, replica: Mapping[str, str], make_gauge: Callable[..., Any]) -> None:
        self._replica = dict(replica)
        self._make_gauge = make_gauge
        self._gauges: dict[str, Any] = {}

    def publish(self) -> None:
        """Set all of them."""
        for family in telemetry.FAMILIES:
            labels = family.sample_labels
            for sample in family.samples():
                if sample.name not in self._gauges:
                    keys = (*self._replica, *labels[sample.name])
                    self._gauges[sample.name] = self._make_gauge(sample.name, family.about, keys)
                self._gauges[sample.name].set(sample.value, {**self._replica, **sample.labels})


def publish(replica: Mapping[str, str], *first: Callable[[], None]) -> None:
    """Publish from now on, from a thread of this process.

    Args:
        first: called before each time, from that thread; they set what nobody else does.
    """
    from ray.util.metrics import Gauge

    publisher = Publisher(replica, Gauge)
    threading.Thread(target=_keep_publishing, args=(publisher, first), daemon=True, name="telemetry").start()


def _keep_publishing(publisher: Publisher, first: tuple[Callable[[], None], ...]) -> None:
    wait = threading.Event()
    while not wait.wait(PUBLISH_S):
        for work in (*first, publisher.publish):
            try:
                work()
            except Exception:  # what is measured goes on without its numbers
                logger.exception("could not measure")
