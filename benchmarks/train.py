"""A training step under each setting, and the Ray Train job against a bare PyTorch loop.

    python benchmarks/train.py
    python benchmarks/train.py --recipe visnet --size 160 --compile --no-job
    python benchmarks/train.py --recipe visnet visnet-vgg16 --device cuda --batch-size 256 --compile --no-job

The step (forward, hinge, backward, AdamW) is bound by the hardware's multiply-adds; on a GPU its share of --peak-tflops
is printed. Times of the settings are taken in turns, so that a busy machine is so for all.

The job is `visnet train` on a local cluster, on a generated catalogue that fits the object store; its rate is taken
between its first and its last checkpoint, so without start-up, with checkpoints. The bare loop is the same network,
loss and changes of pictures on the same decoded pictures in memory, in as many processes (DDP over gloo) with as many
threads, without Ray, checkpoints or logs. It runs before and after the job, and the mean counts. What the job lacks
goes to handing over the pictures, to checkpoints, and on a machine without spare cores to Ray's own processes.
Only the job needs Ray.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from timing import in_turns, machine, report
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp

from visnet.platform.encoder import Encoder
from visnet.platform.imaging import Preprocessing, encode_png
from visnet.platform.networks import make_recipe
from visnet.platform.settings import TrainSettings
from visnet.platform.views import wild_views
from visnet.train.batch import Embedded
from visnet.train.losses import TripletHinge

# B batch, C channels, H height, W width, D embedding

STEP_COLUMNS = {
    "recipe": "recipe|s",
    "precision": "precision|s",
    "channels_last": "channels-last|s",
    "compile": "compile|s",
    "images_per_s": "images/s|,.1f",
    "to_plain": "to the first|.2f",
    "tflops": "TFLOP/s|.2f",
    "to_peak": "of peak|.2f",
}
JOB_COLUMNS = {
    "workers": "workers|d",
    "bare": "bare loop, anchors/s|,.0f",
    "job": "job, anchors/s|,.0f",
    "ratio": "job/bare|.3f",
}
RECIPE_SIZES = {"visnet": "image_size", "mildnet": "image_size", "visnet-tiny": "image_size"}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    hardware = f"{machine(options.device)}, {options.threads} threads"
    lines = [line for recipe in options.recipe for line in steps(recipe, options)]
    given = {"machine": hardware, "size": options.size, "batch_size": options.batch_size}
    columns = {key: heading for key, heading in STEP_COLUMNS.items() if key != "to_peak" or options.peak_tflops}
    report(f"a training step, batch {options.batch_size}; {hardware}", columns, lines, benchmark="train", **given)
    if options.job:
        jobs = [job_against_bare(workers, options) for workers in options.workers]
        title = f"the Ray Train job against a bare loop, visnet-tiny, batch {options.job_batch_size}; {hardware}"
        report(title, JOB_COLUMNS, jobs, benchmark="train-job", machine=hardware, steps=options.job_steps)


def steps(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A line for every combination of settings."""
    sizes = {RECIPE_SIZES[name]: options.size} if name in RECIPE_SIZES and options.size else {}
    if "image_size" in sizes and name != "visnet-tiny":
        sizes["resize"] = options.size
    compiled = (False, True) if options.compile else (False,)
    settings = list(itertools.product(("float32", "bfloat16"), (False, True), compiled))
    works = {}
    for precision, channels_last, compile in settings:
        encoder = Encoder(make_recipe(name, **_without_weights(name), **sizes), device=options.device)
        works[f"{precision} {channels_last} {compile}"] = Step(
            encoder, options.batch_size, precision=precision, channels_last=channels_last, compile=compile
        )
    tflop = next(iter(works.values())).tflop()
    seconds = in_turns(works, budget_s=options.budget_s)
    first = next(iter(seconds.values()))
    return [
        {
            "recipe": name,
            "precision": precision,
            "channels_last": "yes" if channels_last else "no",
            "compile": "yes" if compile else "no",
            "images_per_s": options.batch_size / taken,
            "to_plain": first / taken,
            "tflops": tflop / taken,
            **({"to_peak": tflop / taken / options.peak_tflops} if options.peak_tflops else {}),
        }
        for (precision, channels_last, compile), taken in zip(settings, seconds.values(), strict=True)
    ]


def _without_weights(name: str) -> dict[str, bool]:
    return {"pretrained": False} if name != "visnet-tiny" else {}


class Step:
    """One training step on ready pixels, as the loop makes it."""

    def __init__(self, encoder: Encoder, images: int, *, precision: str, channels_last: bool, compile: bool) -> None:
        self._device, side = encoder.device, encoder.preprocessing.crop
        self._network: nn.Module = encoder.network.train()
        self._image_BCHW = torch.randn(images, 3, side, side, device=self._device)
        if channels_last:
            self._network.to(memory_format=torch.channels_last)
            self._image_BCHW = self._image_BCHW.contiguous(memory_format=torch.channels_last)
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=1e-4)
        self._called = torch.compile(self._network) if compile else self._network
        self._mixed = precision == "bfloat16"

    def __call__(self) -> None:
        with torch.autocast(self._device.type, torch.bfloat16) if self._mixed else contextlib.nullcontext():
            embedding_BD = self._called(self._image_BCHW)
        loss = hinge(embedding_BD.float(), torch.arange(len(embedding_BD) // 2, device=self._device))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def tflop(self) -> float:
        """Multiply-adds of a step as 2 each, forward and backward, counted by PyTorch."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self()
        return counter.get_total_flops() / 1e12


def hinge(embedding_BD: Tensor, product_B: Tensor) -> Tensor:
    """The default loss, the first half of the embeddings being anchors and the second their positives."""
    anchor_BD, positive_BD = embedding_BD.chunk(2)
    embedded = Embedded(
        anchor_BD=anchor_BD,
        positive_BD=positive_BD,
        product_B=product_B,
        category_B=product_B % 10,
        negative_MD=positive_BD[:0],
        negative_product_M=product_B[:0],
        negative_category_M=product_B[:0],
    )
    return TripletHinge()(embedded)[0]


def job_against_bare(workers: int, options: argparse.Namespace) -> dict[str, float]:
    """One line: the job between two runs of the bare loop."""
    before = bare(workers, options)
    job = job_rate(workers, options)
    after = bare(workers, options)
    mean = (before + after) / 2
    print(f"{workers} workers: bare {before:.0f} and {after:.0f}, job {job:.0f} anchors/s", flush=True)
    return {"workers": workers, "bare": mean, "bare_before": before, "bare_after": after, "job": job,
            "ratio": job / mean}  # fmt: skip


def pictures(count: int) -> list[bytes]:
    """Products on black: a coloured block of its own each."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        pixels = np.zeros((28, 28, 3), np.uint8)
        top, left = random.integers(2, 10, 2)
        pixels[top : top + 14, left : left + 10] = random.integers(60, 255, (14, 10, 3))
        found.append(encode_png(pixels))
    return found


def bare(workers: int, options: argparse.Namespace) -> float:
    """Anchors a second of the bare loop, over all processes."""
    with tempfile.TemporaryDirectory() as folder:
        given = (workers, folder, options.job_steps, options.job_batch_size, options.images)
        mp.start_processes(_bare_worker, args=given, nprocs=workers, start_method="spawn")
        return float(np.mean([torch.load(f"{folder}/{rank}.pt") for rank in range(workers)]))


def _bare_worker(rank: int, workers: int, folder: str, steps: int, batch_size: int, images: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    torch.manual_seed(0)
    encoder = Encoder(make_recipe("visnet-tiny"))
    network: nn.Module = nn.parallel.DistributedDataParallel(encoder.network.train())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(rank)
    preprocessing = Preprocessing(resize=encoder.preprocessing.resize, crop=encoder.preprocessing.resize)
    decoded = np.stack([preprocessing.pixels(picture) for picture in pictures(images)])
    size = batch_size // workers
    started, first = 0.0, steps // 5
    for step, row_B in enumerate(_rows(images, size, steps, rank)):
        if step == first:  # as the job's rate begins at its first checkpoint
            dist.barrier()
            started = time.perf_counter()
        positive_BCHW = torch.from_numpy(decoded[row_B]).permute(0, 3, 1, 2)
        anchor_BCHW = wild_views(positive_BCHW, generator=generator)
        embedding_BD = network(encoder.normalise(torch.cat([anchor_BCHW, positive_BCHW])))
        loss = hinge(embedding_BD, torch.from_numpy(row_B))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    dist.barrier()
    torch.save((steps - first) * batch_size / (time.perf_counter() - started), f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # without Python's own end: gloo's threads abort the process there now and then


def _rows(images: int, size: int, steps: int, rank: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(rank)
    for _ in range(steps):
        yield random.integers(0, images, size)


def job_rate(workers: int, options: argparse.Namespace) -> float:
    """Anchors a second of the job, between its first and its last checkpoint."""
    import ray

    from visnet.platform.catalog import write_catalog
    from visnet.platform.local_cluster import LocalCluster
    from visnet.platform.store import Store
    from visnet.train.examples import plan_examples
    from visnet.train.job import train_encoder

    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    every = options.job_steps // 5
    settings = TrainSettings(
        recipe="visnet-tiny",
        workers=workers,
        gpus_per_worker=0.0,
        batch_size=options.job_batch_size,
        steps=options.job_steps,
        learning_rate=1e-3,
        checkpoint_every_steps=every,
        validation_share=0.0,
    )
    with tempfile.TemporaryDirectory() as folder, LocalCluster(num_cpus=8, object_store_bytes=2**30) as cluster:
        ids = [f"p{number}" for number in range(options.images)]
        rows = pa.table({"image_id": ids, "product_id": ids, "category": [f"c{n % 10}" for n in range(len(ids))],
                         "image": pictures(len(ids))})  # fmt: skip
        catalog = write_catalog(Store(folder), name="bench", version="1", source="generated", batches=[rows])
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        try:
            manifest, _ = train_encoder(catalog.store, catalog, plan_examples(catalog), settings)
        finally:
            ray.shutdown()
        history = json.loads(catalog.store.read(f"encoders/{manifest.encoder}/metrics.json"))["history"]
    first, last = history[0], history[-1]
    return (last["step"] - first["step"]) * settings.batch_size / (last["seconds"] - first["seconds"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="+", default=["visnet", "mildnet"], help="whose step is timed")
    parser.add_argument("--size", type=int, default=160, help="side of the pictures, where the recipe can choose")
    parser.add_argument("--batch-size", type=int, default=32, help="images in a step: anchors and positives")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compile", action="store_true", help="time torch.compile too; the first call takes minutes")
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="the device's, in bfloat16 (H100 SXM: 989)")
    parser.add_argument("--budget-s", type=float, default=20.0, help="for the steps of one recipe")
    parser.add_argument("--job", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--job-steps", type=int, default=150)
    parser.add_argument("--job-batch-size", type=int, default=256)
    parser.add_argument("--images", type=int, default=8_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
