"""Runs the parts of a catalogue pass: in this process, or on the Ray cluster that it is connected to.

On CPUs an actor reads, decodes and encodes whole units, so that no pixel leaves its process. With GPUs decoding runs
in CPU tasks of its own, and a unit's uint8 pixels travel to the GPU's actor through the object store.

The pool of actors has one fixed size, the most that is wanted: those for which there is no room wait, which makes an
autoscaling cluster grow, and the others work meanwhile. (A pool between bounds does not grow on the pinned Ray: its
issue 59144.) Where other jobs share the cluster, that size is what `admission_desk.py` grants, and changes with it.
When a node is lost, its actors wait for room again and its units are done elsewhere.
"""

from __future__ import annotations

import gc
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from visnet.batch.embed_plan import PlanFiles, missing_units
from visnet.batch.embed_units import Decoded, UnitDecoder, UnitEncoder
from visnet.platform.admission_desk import Grant, admitted
from visnet.platform.allocator import ENVIRONMENT
from visnet.platform.catalog import Catalog
from visnet.platform.devices import device_for
from visnet.platform.encoder import load_encoder
from visnet.platform.errors import StoreError
from visnet.platform.imaging import Preprocessing
from visnet.platform.ray_tasks import run_tasks
from visnet.platform.settings import EmbedSettings

J = TypeVar("J")
R = TypeVar("R")

logger = logging.getLogger(__name__)

BLOCKS = 10_000
"""Pieces of the list of units that Ray handles at most; each costs the driver a few milliseconds."""
UNITS_TO_GROW = 4
"""Units that every actor must still get for a pass to grow."""
FEW = 24
"""Jobs that are done in the driver: before Ray has started its workers they are over."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a process needs to know to compute units."""

    catalog: Catalog
    files: PlanFiles
    encoder: str
    preprocessing: Preprocessing
    settings: EmbedSettings

    def decoder(self, *, threads: int = 1, processes: int = 1) -> UnitDecoder:
        return UnitDecoder(
            catalog=self.catalog,
            files=self.files,
            preprocessing=self.preprocessing,
            fetching=self.settings.fetch,
            threads=threads,
            processes=processes,
        )

    def encode(self, *, threads: int) -> UnitEncoder:
        """Sets the process's threads and loads the network, on the GPU if the settings give it one."""
        import torch

        torch.set_num_threads(threads)
        device = device_for(self.settings.gpus_per_actor)
        encoder = load_encoder(self.catalog.store, self.encoder, device=device)
        bfloat16 = device == "cuda" if self.settings.precision == "auto" else self.settings.precision == "bfloat16"
        return UnitEncoder(self.files, encoder, bfloat16=bfloat16)


class Runner(Protocol):
    """Runs the work and gives its results as they come, in any order."""

    def units(self, work: Work, units: Sequence[int]) -> Iterator[int]:
        """Compute units; the rows of each."""

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        """Call the function with every job."""


class InProcess:
    """One after the other, here."""

    def units(self, work: Work, units: Sequence[int]) -> Iterator[int]:
        decode, encode = work.decoder(), work.encode(threads=1)
        return (encode(decode(unit)) for unit in units)

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        return map(function, jobs)


class OnRay:
    """On the cluster this process is connected to."""

    def units(self, work: Work, units: Sequence[int]) -> Iterator[int]:
        """As `Runner.units`. The pass waits for room, shrinks while another job waits, and grows when there is more."""
        settings, plan = work.settings, work.files.plan
        with admitted(
            kind="embed",
            least=1,
            most=settings.actors,
            cpus=settings.cpus_per_actor,
            gpus=settings.gpus_per_actor,
            beside_cpus=settings.decoding_cpus if settings.gpus_per_actor else 0.0,
            shrinks=True,
        ) as grant:
            left = list(units)
            while left:
                sized = replace(work, settings=replace(settings, actors=grant.copies))
                told = 0
                for rows in self._until_resized(sized, left, grant):
                    told += rows
                    yield rows
                gc.collect()  # what still refers to the dataset would keep its actors
                before, left = left, missing_units(work.files)
                if len(left) == len(before):
                    raise StoreError(f"{len(left)} units of {work.files.directory} were computed, but not written")
                yield plan.rows_of(before) - plan.rows_of(left) - told  # done, but not told before it was stopped
                if left:
                    logger.info("embedding goes on with %d actors", grant.resize())

    def _until_resized(self, work: Work, units: Sequence[int], grant: Grant) -> Iterator[int]:
        """Compute units until all are done, or the pass should have another size."""
        done = 0
        grant.limit_data()
        running = self._dataset(work, units).iter_batches(batch_size=None, batch_format="pyarrow")
        for batch in running:
            done += len(batch)
            yield from batch["rows"].to_pylist()
            if resizes(grant.copies, grant.wanted, len(units) - done):
                return

    def _dataset(self, work: Work, units: Sequence[int]) -> Any:
        import ray.data

        table = pa.table({"unit": np.array(units, np.int64)})
        blocks = np.array_split(np.arange(len(units)), min(len(units), BLOCKS))
        rows = ray.data.from_arrow([table.slice(block[0], len(block)) for block in blocks])
        run = self._on_gpus if work.settings.gpus_per_actor else self._on_cpus
        return run(work, rows, len(units))

    def _on_cpus(self, work: Work, rows: Any, units: int) -> Any:
        actors = min(_processes(work), units)
        return rows.map_batches(
            EmbedUnits,
            fn_constructor_args=(work, actors),
            **_one_by_one(actors),
            num_cpus=work.settings.cpus_per_actor,
            runtime_env={"env_vars": ENVIRONMENT},
        )

    def _on_gpus(self, work: Work, rows: Any, units: int) -> Any:
        if work.files.plan.some_unread:
            downloaders = _downloaders(work)
            decoded = rows.map_batches(
                DecodeUnits, fn_constructor_args=(work, downloaders), **_one_by_one(downloaders), num_cpus=1
            )
        else:
            decoded = rows.map_batches(_DecodeInTask(work), batch_format="pyarrow", batch_size=1)
        return decoded.map_batches(
            EncodeUnits,
            fn_constructor_args=(work,),
            **_one_by_one(min(work.settings.actors, units)),  # a short pass asks for no more nodes than it has units
            num_cpus=work.settings.cpus_per_actor,
            num_gpus=work.settings.gpus_per_actor,
        )

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        if len(jobs) <= FEW:
            yield from map(function, jobs)
            return
        yield from run_tasks(function, jobs)


def resizes(has: int, wanted: int, left: int) -> bool:
    """Whether a pass is stopped to go on with another number of actors: at once for fewer, as somebody waits; for more
    only where they would have units enough, since they all start anew."""
    return wanted < has or (wanted > has and left > UNITS_TO_GROW * wanted)


def _processes(work: Work) -> int:
    """Actors of a pass on CPUs; where pictures are downloaded, no more than connections that a host may see."""
    return min(work.settings.actors, _downloaders(work)) if work.files.plan.some_unread else work.settings.actors


def _downloaders(work: Work) -> int:
    import ray

    cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    if work.settings.gpus_per_actor:
        cpus = min(cpus, max(1, int(work.settings.actors * work.settings.decoding_cpus)))
    return min(work.settings.fetch.at_once, work.settings.fetch.per_host, cpus)


def _one_by_one(actors: int) -> dict[str, Any]:
    """A unit is a row, so that no batch mixes two."""
    import ray.data

    return {"batch_format": "pyarrow", "batch_size": 1, "compute": ray.data.ActorPoolStrategy(size=actors)}


class EmbedUnits:
    """Rows that name units -> rows done, on an actor without a GPU."""

    def __init__(self, work: Work, processes: int) -> None:
        threads = max(1, int(work.settings.cpus_per_actor))
        self._decode = work.decoder(threads=threads, processes=processes)
        self._encode = work.encode(threads=threads)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.table({"rows": [self._encode(self._decode(unit)) for unit in batch["unit"].to_pylist()]})


class DecodeUnits:
    """Rows that name units -> rows with their pixels, on an actor."""

    def __init__(self, work: Work, processes: int) -> None:
        self._decode = work.decoder(processes=processes)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.concat_tables(_packed(self._decode(unit)) for unit in batch["unit"].to_pylist())


@dataclass(frozen=True)
class _DecodeInTask:
    """The same in a task."""

    work: Work

    def __call__(self, batch: pa.Table) -> pa.Table:
        return DecodeUnits(self.work, 1)(batch)


class EncodeUnits:
    """Rows with pixels -> rows done, on an actor that holds the network."""

    def __init__(self, work: Work) -> None:
        self._encode = work.encode(threads=max(1, int(work.settings.cpus_per_actor)))

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.table({"rows": [self._encode(decoded) for decoded in _unpacked(batch)]})


def _packed(decoded: Decoded) -> pa.Table:
    """One row; the pixels are neither copied nor pickled."""
    pixels = np.ascontiguousarray(decoded.pixel_UHWC)
    offsets = pa.py_buffer(np.array([0, pixels.nbytes], np.int64))
    return pa.table(
        {
            "meta": pa.array([pickle.dumps(replace(decoded, pixel_UHWC=np.empty((0, *pixels.shape[1:]), np.uint8)))]),
            "pixels": pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(pixels)]),
        }
    )


def _unpacked(batch: pa.Table) -> Iterator[Decoded]:
    for meta, pixels in zip(batch["meta"], batch["pixels"], strict=True):
        decoded: Decoded = pickle.loads(meta.as_py())
        shape = (-1, *decoded.pixel_UHWC.shape[1:])
        yield replace(decoded, pixel_UHWC=np.frombuffer(pixels.as_buffer(), np.uint8).reshape(shape))
