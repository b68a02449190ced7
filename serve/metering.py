"""What a process measures, kept as plain numbers until somebody reads them.

Requests come by the thousand a second, and Ray's own histograms send every observation on by itself: its agent replays
them one by one, each as the middle of its bucket. Here an observation is an addition under a lock, half a microsecond,
and what is sent on every few seconds are the sums, exact.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a family."""

    name: str
    """The family's; of a histogram, with `_bucket`, `_sum` or `_count` after it."""
    labels: Mapping[str, str]
    value: float


class _Family:
    """Numbers of one name, told apart by their labels.

    Args:
        name: with the unit, as Prometheus has it.
        about: what it says, for people.
        labels: their names. Their values are few: never an id, a query or a path.
    """

    kind: Kind

    def __init__(self, name: str, about: str, *labels: str) -> None:
        self.name, self.about, self.labels = name, about, labels
        self._lock = threading.Lock()

    @property
    def sample_labels(self) -> dict[str, tuple[str, ...]]:
        """The names of its samples, and of their labels."""
        return {self.name: self.labels}

    def _named(self, values: Sequence[str]) -> dict[str, str]:
        return dict(zip(self.labels, values, strict=True))


class Counter(_Family):
    """Counts what happened."""

    kind = "counter"

    def __init__(self, name: str, about: str, *labels: str) -> None:
        super().__init__(name, about, *labels)
        self._counts: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *values: str, amount: float = 1.0) -> None:
        """Count on; `values` are those of the labels. By 0, it is there: the first time is then an increase."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0.0) + amount

    def samples(self) -> Iterator[Sample]:
        with self._lock:
            counts = list(self._counts.items())
        for values, count in counts:
            yield Sample(self.name, self._named(values), count)


class Gauge(_Family):
    """Says how something stands."""

    kind = "gauge"

    def __init__(self, name: str, about: str, *labels: str) -> None:
        super().__init__(name, about, *labels)
        self._levels: dict[tuple[str, ...], float] = {}

    def set(self, value: float, *values: str) -> None:
        with self._lock:
            self._levels[values] = value

    def replace(self, levels: Mapping[tuple[str, ...], float]) -> None:
        """How it stands now, and nothing of before: what is not among these is gone."""
        with self._lock:
            self._levels = dict(levels)

    def samples(self) -> Iterator[Sample]:
        with self._lock:
            levels = list(self._levels.items())
        for values, level in levels:
            yield Sample(self.name, self._named(values), level)


class Histogram(_Family):
    """How often something took how much.

    Args:
        bounds: the buckets' upper ends, ascending; one without an end comes after them.
    """

    kind = "histogram"

    def __init__(self, name: str, about: str, *labels: str, bounds: Sequence[float]) -> None:
        super().__init__(name, about, *labels)
        self._bounds = tuple(bounds)
        self._ends = (*(f"{bound:g}" for bound in bounds), "+Inf")
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, value: float, *values: str, times: int = 1) -> None:
        bucket = bisect.bisect_left(self._bounds, value)
        with self._lock:
            counts = self._counts.get(values)
            if counts is None:
                counts = self._counts[values] = [0] * len(self._ends)
            counts[bucket] += times
            self._sums[values] = self._sums.get(values, 0.0) + value * times

    @property
    def sample_labels(self) -> dict[str, tuple[str, ...]]:
        names = {f"{self.name}_{part}": self.labels for part in ("sum", "count")}
        return {f"{self.name}_bucket": (*self.labels, "le"), **names}

    def samples(self) -> Iterator[Sample]:
        with self._lock:
            taken = [(values, list(counts), self._sums[values]) for values, counts in self._counts.items()]
        for values, counts, total in taken:
            labels = self._named(values)
            upto = list(itertools.accumulate(counts))
            for end, count in zip(self._ends, upto, strict=True):
                yield Sample(f"{self.name}_bucket", {**labels, "le": end}, count)
            yield Sample(f"{self.name}_sum", labels, total)
            yield Sample(f"{self.name}_count", labels, upto[-1])


Family = Counter | Gauge | Histogram
