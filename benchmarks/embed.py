"""From image bytes to vectors: each stage of the encoder alone, the encoder, and the pass over a catalogue.

    python benchmarks/embed.py
    python benchmarks/embed.py --recipe visnet-tiny --actors 2
    python benchmarks/embed.py --recipe visnet --device cuda --batch-size 256 --processes 16 --photos 20000

What bounds it: the bare forward pass of the network on pixels that are ready, and decoding on all cores. Where both
share the cores they add up (the bound is 1 / (1 / decoding + 1 / forward)); beside a GPU they overlap, and the slower
one is the bound.

The first table is one process. `Encoder.encode` decodes on one core and does nothing at the same time, so it stays
below the bound: the catalogue pass decodes in processes of its own. On a GPU a line says what its own JPEG decoder
does.

The second table is the whole pass on Ray Data, over a generated catalogue on a cluster of this machine: reading,
decoding, encoding, writing. Its bound is measured before and after it by as many bare processes at once as the pass
has actors, of one thread each, that only decode and run the network on the same pictures: two cores of a machine are
seldom twice as fast as one. With --processes the pass runs without Ray, on one GPU. The pass is timed from when every
actor has handed in its first unit (processes that import torch come up in seconds that a large catalogue does not
notice), and as a whole.

visnet-tiny sees PNGs of 28x28, the other recipes photo-like JPEGs of 1600x1200; both are generated.
"""

from __future__ import annotations

import argparse
import io
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from timing import in_turns, machine, report

from visnet.platform.encoder import Encoder
from visnet.platform.imaging import encode_png
from visnet.platform.networks import make_recipe

# B batch, C channels, H height, W width

TINY_SIDE = 64
"""Recipes that see no more than this get tiny pictures."""
COLUMNS = {
    "recipe": "recipe|s",
    "pictures": "pictures|s",
    "decode_per_core": "decode/s a core|,.0f",
    "forward": "bare forward/s|,.0f",
    "pixels": "pixels to vectors/s|,.0f",
    "encode": "encode/s|,.0f",
    "bound": "bound/s|,.0f",
    "to_bound": "encode/bound|.2f",
    "binds": "what binds|s",
}
PASS_COLUMNS = {
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
GPU_DECODE_COLUMNS = {
    "gpu": "GPU/s|,.0f",
    "cpu": "one core/s|,.0f",
    "cores": "worth so many cores|.1f",
    "difference": "mean difference of a pixel, of 255|.2f",
}
BARE_S = 4.0
_READY: list[Any] = []
"""In a bare process: the barrier at which it meets the others."""


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    hardware = f"{machine(options.device)}, {options.threads} threads"
    given = {"machine": hardware, "device": options.device, "batch_size": options.batch_size}
    lines = [stages(recipe, options) for recipe in options.recipe]
    report(f"stages of the encoder, images a second; {hardware}", COLUMNS, lines, benchmark="embed", **given)
    if options.device.startswith("cuda"):
        lines = [gpu_decoding(options)]
        report("JPEGs decoded on the GPU", GPU_DECODE_COLUMNS, lines, benchmark="embed-gpu-decode", **given)
    if options.processes:
        lines = passes_without_ray(options)
        title = f"the catalogue pass without Ray, {options.processes} decoding processes; {hardware}"
        report(title, PASS_COLUMNS, lines, benchmark="embed-pass-without-ray", processes=options.processes, **given)
    elif options.whole_pass:
        lines = passes(options)
        report(f"the catalogue pass; {machine()}", PASS_COLUMNS, lines, benchmark="embed-pass", machine=machine())


def stages(recipe: str, options: argparse.Namespace) -> dict[str, float | str]:
    """One line of the table: the stages of one recipe's encoder, with pictures of its kind."""
    encoder = Encoder(make_recipe(recipe), device=options.device)
    tiny = encoder.preprocessing.crop <= TINY_SIDE
    batch_size = options.batch_size or (256 if tiny else 16)
    images = tiny_pngs(batch_size) if tiny else photo_jpegs(batch_size)
    taken = in_turns(_works(encoder, images), budget_s=options.budget_s)
    per_s = {name: len(images) / seconds for name, seconds in taken.items()}
    decoding = per_s["decode"] * (os.cpu_count() or 1)
    shared = encoder.device.type == "cpu"
    bound = 1 / (1 / decoding + 1 / per_s["forward"]) if shared else min(decoding, per_s["forward"])
    return {
        "recipe": recipe,
        "pictures": "PNG 28x28" if tiny else "JPEG 1600x1200",
        "decode_per_core": per_s["decode"],
        **{name: per_s[name] for name in ("forward", "pixels", "encode")},
        "bound": bound,
        "to_bound": per_s["encode"] / bound,
        "binds": "decoding" if decoding < per_s["forward"] else "the network",
    }


def gpu_decoding(options: argparse.Namespace) -> dict[str, float]:
    """Photos decoded, scaled and cut by the GPU, next to one core, and what that does to the pixels."""
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import functional

    preprocessing = make_recipe("visnet").preprocessing
    images = photo_jpegs(options.batch_size or 64)
    packed = [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in images]

    def on_gpu() -> torch.Tensor:
        decoded = decode_jpeg(packed, mode=ImageReadMode.RGB, device=options.device)
        scaled = [functional.resize(image, [preprocessing.resize], antialias=True) for image in decoded]
        pixels = torch.stack([functional.center_crop(image, [preprocessing.crop]) for image in scaled])
        torch.cuda.synchronize(options.device)
        return pixels

    def on_cpu() -> np.ndarray:
        return np.stack([preprocessing.pixels(image) for image in images])

    taken = in_turns({"gpu": on_gpu, "cpu": on_cpu}, budget_s=options.budget_s)
    difference = on_gpu().permute(0, 2, 3, 1).cpu().numpy().astype(int) - on_cpu()
    gpu, cpu = len(images) / taken["gpu"], len(images) / taken["cpu"]
    return {"gpu": gpu, "cpu": cpu, "cores": gpu / cpu, "difference": float(np.abs(difference).mean())}


def _works(encoder: Encoder, images: Sequence[bytes]) -> dict[str, Callable[[], object]]:
    pixel_BHWC = np.stack([encoder.pixels(image) for image in images])
    ready_BCHW = encoder.normalise(torch.from_numpy(pixel_BHWC).permute(0, 3, 1, 2))  # channels last, as encoding does

    @torch.inference_mode()
    def forward() -> None:
        encoder.network(ready_BCHW)
        if encoder.device.type == "cuda":
            torch.cuda.synchronize(encoder.device)

    return {
        "decode": lambda: [encoder.pixels(image) for image in images],
        "forward": forward,
        "pixels": lambda: encoder.encode_pixels(pixel_BHWC, batch_size=len(images)),
        "encode": lambda: encoder.encode(images, batch_size=len(images)),
    }


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
    tiny = encoder.preprocessing.crop <= TINY_SIDE
    images = options.images if tiny else options.photos
    rows = catalogue_rows(tiny_pngs(images) if tiny else many_photos(images))
    batches = (rows.slice(start, 1_000) for start in range(0, images, 1_000))
    catalog = write_catalog(store, name="made", version="1", source="generated", batches=batches)
    saved = save_encoder(store, encoder).encoder
    settings = EmbedSettings(
        actors=actors,
        gpus_per_actor=float(options.device.startswith("cuda")),
        cpus_per_actor=1.0,
        batch_size=options.batch_size or (256 if tiny or options.device.startswith("cuda") else 16),
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
    _READY.append(ready)


def _bare_rates(recipe: str) -> dict[str, float]:
    encoder = Encoder(make_recipe(recipe))
    images = tiny_pngs(256) if encoder.preprocessing.crop <= TINY_SIDE else photo_jpegs(16)
    works = {name: work for name, work in _works(encoder, images).items() if name in ("decode", "forward")}
    _READY[0].wait()
    return {name: len(images) / seconds for name, seconds in in_turns(works, budget_s=BARE_S).items()}


def catalogue_rows(images: Sequence[bytes]) -> pa.Table:
    """A catalogue's rows: every picture a product of its own."""
    names = [f"product-{number:06d}" for number in range(len(images))]
    category = [f"category-{number % 10}" for number in range(len(images))]
    return pa.table({"image_id": names, "product_id": names, "category": category, "image": pa.array(images)})


def tiny_pngs(count: int, *, side: int = 28, seed: int = 0) -> list[bytes]:
    """Grey pictures of soft blobs, as PNG."""
    dice = np.random.default_rng(seed)
    coarse = dice.integers(0, 256, (count, 5, 5), dtype=np.uint8)
    blobs = [Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC) for grid in coarse]
    return [encode_png(np.asarray(blob)) for blob in blobs]


def many_photos(count: int) -> list[bytes]:
    """As many photos with bytes of their own: few that differ, each with a number behind its end."""
    kinds = photo_jpegs(16)
    return [kinds[number % len(kinds)] + number.to_bytes(4, "big") for number in range(count)]


def photo_jpegs(count: int, *, size: tuple[int, int] = (1600, 1200), seed: int = 0) -> list[bytes]:
    """Pictures with a photo's mix of large forms, texture and noise, as JPEG of about a third of a megabyte."""
    dice = np.random.default_rng(seed)
    photos = []
    for _ in range(count):
        mixed = np.zeros((size[1], size[0], 3), np.float32)
        for cells, weight in ((6, 0.6), (60, 0.25), (400, 0.15)):
            grid = Image.fromarray(dice.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            mixed += weight * np.asarray(grid.resize(size, Image.Resampling.BICUBIC), np.float32)
        buffer = io.BytesIO()
        Image.fromarray(mixed.astype(np.uint8)).save(buffer, format="JPEG", quality=85)
        photos.append(buffer.getvalue())
    return photos


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", help="may be repeated; default: visnet-tiny and visnet")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; of the network, never of the pass")
    parser.add_argument("--batch-size", type=int, help="default: 256 tiny pictures or 16 photos")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--budget-s", type=float, default=10.0, help="seconds of measuring for each recipe")
    parser.add_argument("--no-pass", dest="whole_pass", action="store_false", help="without Ray")
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
