"""The catalogue pass beside bare processes that do nothing but decode and encode.

    python benchmarks/embed_pass.py
    python benchmarks/embed_pass.py --recipe visnet-tiny --actors 2
    python benchmarks/embed_pass.py --recipe visnet --device cuda --batch-size 256 --processes 16 --photos 20000

The real pass on Ray Data, over a generated catalogue on a cluster of this machine: reading, decoding, encoding,
writing. Its bound is measured before and after it by as many bare processes at once as the pass has actors, of one
thread each, that only decode and run the network on the same pictures: two cores of a machine are seldom twice as fast
as one. On CPUs the two share the cores and add up, 1 / (1 / decoding + 1 / forward); with --processes the pass runs
without Ray on one GPU, and the slower one is the bound.

The pass is timed from when every actor has handed in its first unit (processes that import torch come up in seconds
that a large catalogue does not notice), and as a whole.

visnet-tiny sees PNGs of 28x28, the other recipes photo-like JPEGs of 1600x1200; both are generated.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from embed import encoder_works, stages
from pictures import catalogue_rows, pictures_for, sees_tiny
from timing import in_turns, machine, report

from visnet.platform.allocator import keep_freed_memory
from visnet.platform.encoder import Encoder
from visnet.platform.networks import make_recipe

COLUMNS = {
    "recipe": "recipe|s",
    "actors": "actors|d",
    "images": "images|,d",
    "decode": "bare decode/s|,.0f",
    "forward": "bare forward/s|,.0f",
    "bound": "bound/s|,.0f",
    "images_per_s": "pass/s|,.0f",
    "to_bound": "pass/bound|.2f",
    "to_forward": "pass/forward|.2f",
    "write": "parts/s|,.0f",
    "seconds": "whole pass, s|.1f",
    "binds": "what binds|s",
}
BARE_S = 4.0
_READY: list[Any] = []
"""In a bare process: the barrier at which it meets the others."""


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if options.processes:
        hardware = f"{machine(options.device)}, {options.processes} decoding processes without Ray"
        lines = passes_without_ray(options)
    else:
        hardware, lines = machine(), passes(options)
    given = {"machine": hardware, "device": options.device, "processes": options.processes}
    report(f"the catalogue pass; {hardware}", COLUMNS, lines, benchmark="embed-pass", **given)


def passes(options: argparse.Namespace) -> list[dict[str, float | str]]:
    """The real pass over generated catalogues, by recipe and number of actors, next to bare processes."""
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    from visnet.batch.embed_job import OnRay
    from visnet.platform.cluster import session
    from visnet.platform.command import LOGICAL_CPUS_PER_CORE

    cpus = LOGICAL_CPUS_PER_CORE * (os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder, session(num_cpus=cpus, object_store_bytes=2**30):
        return [
            beside_bare(folder, recipe, actors, OnRay(), options)
            for recipe in options.recipe
            for actors in options.actors
        ]


def beside_bare(
    folder: str, recipe: str, actors: int, runner: Any, options: argparse.Namespace
) -> dict[str, float | str]:
    """One line of the second table: a pass between two measurements of its bound."""
    before = bare(recipe, actors)
    line = one_pass(f"{folder}/{actors}", recipe, actors, runner, options)
    after = bare(recipe, actors)
    decode, forward = (2 / (1 / before[stage] + 1 / after[stage]) for stage in ("decode", "forward"))
    return against(line, decode=decode, forward=forward, bound=1 / (1 / decode + 1 / forward))


def passes_without_ray(options: argparse.Namespace) -> list[dict[str, float | str]]:
    """The same pass with decoding in processes of this machine and the network on its GPU."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in options.recipe:
            stage = stages(recipe, options)
            line = one_pass(folder, recipe, 1, Processes(options.processes), options)
            decode, forward = float(stage["decode_per_core"]) * options.processes, float(stage["forward"])
            lines.append(against(line, decode=decode, forward=forward, bound=min(decode, forward)))
    return lines


def against(line: dict[str, Any], *, decode: float, forward: float, bound: float) -> dict[str, float | str]:
    """A pass's line with its bound, all in pictures a second."""
    return {
        **line,
        "decode": decode,
        "forward": forward,
        "bound": bound,
        "to_bound": line["images_per_s"] / bound,
        "to_forward": line["images_per_s"] / forward,
        "binds": "decoding" if decode < forward else "the network",
    }


def one_pass(folder: str, recipe: str, actors: int, runner: Any, options: argparse.Namespace) -> dict[str, float | str]:
    """Make a catalogue, embed it, and say how fast that was."""
    from visnet.batch.embed import embed
    from visnet.platform.catalog import write_catalog
    from visnet.platform.encoder import save_encoder
    from visnet.platform.settings import EmbedSettings
    from visnet.platform.store import Store

    store = Store(f"{folder}/{recipe}")
    encoder = Encoder(make_recipe(recipe))
    tiny = sees_tiny(encoder)
    images = options.images if tiny else options.photos
    rows = catalogue_rows(pictures_for(encoder, images))
    batches = (rows.slice(start, 1_000) for start in range(0, images, 1_000))
    catalog = write_catalog(store, name="made", version="1", source="generated", batches=batches)
    saved = save_encoder(store, encoder).encoder
    settings = EmbedSettings(
        actors=actors,
        gpus_per_actor=float(options.device.startswith("cuda")),
        cpus_per_actor=1.0,
        batch_size=options.batch_size or 256,
    )
    timed = Timed(runner)
    manifest, figures = embed(store, catalog, saved, settings, timed)
    assert manifest.embedded == images
    return {
        "recipe": recipe,
        "actors": actors,
        "images": images,
        "images_per_s": timed.per_s(actors),
        "write": images / timed.mapping_s,
        "seconds": figures["seconds"],
    }


class Timed:
    """A runner with a stopwatch: the rows of every unit and when it came."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.units_done: list[tuple[float, int]] = []
        self.mapping_s = 0.0

    def units(self, work: Any, units: Sequence[int]) -> Iterator[int]:
        for rows in self._runner.units(work, units):
            self.units_done.append((time.perf_counter(), rows))
            yield rows

    def map(self, function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
        started = time.perf_counter()
        yield from self._runner.map(function, jobs)
        self.mapping_s = time.perf_counter() - started

    def per_s(self, actors: int) -> float:
        """Pictures a second after the first unit of every actor."""
        (first, _), (last, _) = self.units_done[actors - 1], self.units_done[-1]
        return sum(rows for _, rows in self.units_done[actors:]) / (last - first)


class Processes:
    """A runner without Ray: units are decoded in so many processes and encoded here, on one GPU."""

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def units(self, work: Any, units: Sequence[int]) -> Iterator[int]:
        decode, encode = work.decoder(), work.encode(threads=1)
        waiting = iter(units)
        with ProcessPoolExecutor(self._processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            ahead = [pool.submit(decode, unit) for unit in itertools.islice(waiting, 2 * self._processes)]
            while ahead:
                decoded = ahead.pop(0).result()
                ahead += [pool.submit(decode, unit) for unit in itertools.islice(waiting, 1)]
                yield encode(decoded)

    def map(self, function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
        return map(function, jobs)


def bare(recipe: str, processes: int) -> dict[str, float]:
    """What so many bare processes of one thread do at once, all together: pictures decoded, and encoded, a second."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes)
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare, initargs=(ready,)) as pool:
        rates = list(pool.map(_bare_rates, [recipe] * processes))
    return {stage: sum(rate[stage] for rate in rates) for stage in ("decode", "forward")}


def _prepare(ready: Any) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # as the pass does
    _READY.append(ready)


def _bare_rates(recipe: str) -> dict[str, float]:
    encoder = Encoder(make_recipe(recipe))
    images = pictures_for(encoder, 256 if sees_tiny(encoder) else 16)
    works = {name: work for name, work in encoder_works(encoder, images).items() if name in ("decode", "forward")}
    _READY[0].wait()
    return {name: len(images) / seconds for name, seconds in in_turns(works, budget_s=BARE_S).items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", help="may be repeated; default: visnet-tiny and visnet")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; of the network, never of the pass")
    parser.add_argument("--batch-size", type=int, help="default: 256; on CPUs at most 16 photos")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--budget-s", type=float, default=10.0, help="seconds of measuring for each recipe")
    parser.add_argument("--processes", type=int, default=0, help="the pass without Ray, so many processes decoding")
    parser.add_argument("--actors", type=int, action="append", help="of the pass; may be repeated; default: 1 and 2")
    parser.add_argument("--images", type=int, default=60_000, help="tiny pictures of a pass")
    parser.add_argument("--photos", type=int, default=600, help="photos of a pass")
    options = parser.parse_args()
    options.recipe = options.recipe or ["visnet-tiny", "visnet"]
    options.actors = options.actors or [1, 2]
    return options


if __name__ == "__main__":
    main()
