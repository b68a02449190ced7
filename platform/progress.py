"""Progress of long work: a bar on a terminal, a line every few seconds where there is none."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm

logger = logging.getLogger(__name__)

LINE_EVERY_S = 10.0


class Progress(Protocol):
    def update(self, count: int) -> object:
        """So many more are done."""


@contextmanager
def progress(description: str, *, total: int | None, unit: str) -> Iterator[Progress]:
    """Shows how far `description` is, in `unit`s of `total` (None: unknown)."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=description, unit=unit, unit_scale=True) as bar:
            yield bar
    else:
        lines = _Lines(description, total, unit)
        yield lines
        lines.close()


class _Lines:
    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done = 0
        self._start = self._last_line = time.monotonic()

    def update(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._say()

    def close(self) -> None:
        self._say()

    def _say(self) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        of_total = f" of {self._total:,}" if self._total is not None else ""
        rate = self._done / seconds
        logger.info("%s: %s%s %s, %.0f/s", self._description, f"{self._done:,}", of_total, self._unit, rate)
