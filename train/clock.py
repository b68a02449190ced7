"""How fast a training goes, said every few seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

logger = logging.getLogger(__name__)

LOG_EVERY_S = 5.0


class Clock:
    """Says where the training stands.

    Args:
        steps: in all.
        batch_size: anchors in a step, over all workers.
    """

    def __init__(self, steps: int, batch_size: int) -> None:
        self._steps, self._batch_size = steps, batch_size
        self._since: tuple[float, int] | None = None

    def rate(self, step: int) -> float:
        """Anchors a second since the last line; 0 before the first steps, which pay for a process's warm-up."""
        if self._since is None:
            return 0.0
        seconds, steps = time.monotonic() - self._since[0], step - self._since[1]
        return steps * self._batch_size / max(seconds, 1e-9)

    def tick(self, step: int, figures: Mapping[str, float], *, speak: bool) -> None:
        """Say where `step` stands if the last line was some seconds ago, or it is the last step."""
        if self._since is None:
            self._since = (time.monotonic(), step)
            return
        seconds = time.monotonic() - self._since[0]
        if seconds < LOG_EVERY_S and step < self._steps:
            return
        rate = self.rate(step)
        if speak:
            left_s = (self._steps - step) * self._batch_size / max(rate, 1e-9)
            logger.info(
                "step %d of %d: loss %.4f, %.2f%% of negatives nearer than the positive, %.0f anchors/s, %.0f s left",
                *(step, self._steps, figures["loss"], 100 * figures["wrong_share"], rate, left_s),
            )
        self._since = (time.monotonic(), step)
