"""Runs the stages of a triplet generation on a connected Ray cluster; what they do is elsewhere.

Units travel through Ray Data as one row each, with the decoded pixels as bytes: decoding on CPU tasks stays beside the
scorers' actors, and no batch ever mixes two units, so the vectors do not depend on how Ray cuts its blocks. Where the
actors ask for CPUs alone, Ray Data fuses both.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from visnet.platform.devices import device_for
from visnet.platform.ray_nodes import gpus_are_pretended
from visnet.platform.ray_tasks import run_tasks
from visnet.platform.settings import TripletSettings
from visnet.platform.store import Store
from visnet.train.triplets.scorers import Scorer
from visnet.train.triplets.units import Account, DecodeUnits, EmbedUnits, Unit

J = TypeVar("J")
R = TypeVar("R")


class OnRay:
    """A `Runner` on the cluster this process is connected to."""

    def __init__(self, settings: TripletSettings) -> None:
        self._settings = settings
        self.device = "cuda" if settings.gpus_per_actor and not gpus_are_pretended() else "cpu"

    def embed(
        self, units: Sequence[Unit], decode: DecodeUnits, store: Store, directory: str, scorers: Mapping[str, Scorer]
    ) -> Iterator[Account]:
        import ray.data

        rows = ray.data.from_items(
            [{"part": unit.part, "first": unit.first, "last": unit.last} for unit in units],
            override_num_blocks=len(units),
        )
        decoded = rows.map_batches(DecodeRow(decode), batch_format="pyarrow", batch_size=1)
        accounts = decoded.map_batches(
            EmbedRow,
            fn_constructor_kwargs={
                "store": store,
                "directory": directory,
                "scorers": ray.put(dict(scorers)),
                "settings": self._settings,
            },
            batch_format="pyarrow",
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self._settings.actors, len(units))),
            num_cpus=self._settings.cpus_per_actor,
            num_gpus=self._settings.gpus_per_actor or None,
        )
        for batch in accounts.iter_batches(batch_size=None, batch_format="pyarrow"):
            for account in batch["account"].to_pylist():
                yield pickle.loads(account)

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        share = self._settings.gpus_per_actor
        on_one_thread = functools.partial(_on_one_thread, function)
        return run_tasks(on_one_thread, jobs, num_cpus=0 if share else 1, num_gpus=share)


def _on_one_thread(function: Callable[[J], R], job: J) -> R:
    import faiss

    faiss.omp_set_num_threads(1)  # as many tasks as CPUs
    return function(job)


class DecodeRow:
    """A row that names a unit -> a row with its decoded pictures."""

    def __init__(self, decode: DecodeUnits) -> None:
        self._decode = decode

    def __call__(self, rows: pa.Table) -> pa.Table:
        units = [Unit(**row) for row in rows.to_pylist()]
        packed = [pickle.dumps(self._decode(unit), protocol=5) for unit in units]
        return pa.table({"decoded": pa.array(packed, pa.large_binary())})


class EmbedRow:
    """A row of decoded pictures -> its account, on an actor that holds the scorers."""

    def __init__(self, store: Store, directory: str, scorers: Any, settings: TripletSettings) -> None:
        import ray
        import torch

        torch.set_num_threads(max(1, int(settings.cpus_per_actor)))
        held = ray.get(scorers)
        self._embed = EmbedUnits(store, directory, held, device=device_for(settings.gpus_per_actor))

    def __call__(self, rows: pa.Table) -> pa.Table:
        accounts = [self._embed(pickle.loads(packed.as_buffer())) for packed in rows["decoded"]]
        return pa.table({"account": pa.array([pickle.dumps(account) for account in accounts], pa.binary())})
