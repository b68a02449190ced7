"""What runs the stages of a triplet generation: in this process, or (`triplets_job.py`) on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from visnet.platform.store import Store
from visnet.train.triplets.scorers import Scorer
from visnet.train.triplets.units import Account, DecodeUnits, EmbedUnits, Unit

J = TypeVar("J")
R = TypeVar("R")


class Runner(Protocol):
    """Runs a stage's work and gives its results as they come, in any order."""

    device: str
    """Where the searches run: "cpu" or "cuda"."""

    def embed(
        self, units: Sequence[Unit], decode: DecodeUnits, store: Store, directory: str, scorers: Mapping[str, Scorer]
    ) -> Iterator[Account]:
        """Embed units into files below `directory`."""

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        """Call the function with every job."""


class InProcess:
    """One after the other, here."""

    device = "cpu"

    def embed(
        self, units: Sequence[Unit], decode: DecodeUnits, store: Store, directory: str, scorers: Mapping[str, Scorer]
    ) -> Iterator[Account]:
        embedder = EmbedUnits(store, directory, scorers, device=self.device)
        return (embedder(decode(unit)) for unit in units)

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        return map(function, jobs)
