"""How fast a training goes, said every few seconds."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

LOG_EVERY_S = 5.0


class Clock:
    """Says where the training stands.

    Args:
        steps: in all.
        batch_size: examples in a step, over all workers.
        unit: what the examples are called: "anchors".
    """

    def __init__(self, steps: int, batch_size: int, unit: str) -> None:
        self._steps, self._batch_size, self._unit = steps, batch_size, unit
        self._since: tuple[float, int] | None = None

    def rate(self, step: int) -> float:
        """Examples a second since the last line; 0 before the first steps, which pay for a process's warm-up."""
        if self._since is None:
            return 0.0
        seconds, steps = time.monotonic() - self._since[0], step - self._since[1]
        return steps * self._batch_size / max(seconds, 1e-9)

    def tick(self, step: int, words: str, *, speak: bool) -> None:
        """Say where `step` stands if the last line was some seconds ago, or it is the last step.

        Args:
            words: about the step's figures.
        """
        if self._since is None:
            self._since = (time.monotonic(), step)
            return
        seconds = time.monotonic() - self._since[0]
        if seconds < LOG_EVERY_S and step < self._steps:
            return
        rate = self.rate(step)
        if speak:
            left_s = (self._steps - step) * self._batch_size / max(rate, 1e-9)
            logger.info("step %d of %d: %s, %.0f %s/s, %.0f s left", step, self._steps, words, rate, self._unit, left_s)
        self._since = (time.monotonic(), step)
