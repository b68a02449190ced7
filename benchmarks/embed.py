"""From image bytes to vectors: each stage of the encoder alone, the encoder, and the pass over a catalogue.

    python benchmarks/embed.py
    python benchmarks/embed.py --recipe visnet-tiny --pass
    python benchmarks/embed.py --recipe visnet --device cuda --batch-size 256

What bounds it: the bare forward pass of the network on pixels that are ready, and decoding on all cores. Where both
share the cores they add up (the bound is 1 / (1 / decoding + 1 / forward)); beside a GPU they overlap, and the slower
one is the bound. Decoding is measured on one core and multiplied; `Encoder.encode` decodes on one core and does
nothing at the same time, so it stays below the bound: the catalogue pass decodes in processes of its own.

visnet-tiny sees PNGs of 28x28, the other recipes photo-like JPEGs of 1600x1200; both are generated. --pass embeds a
generated catalogue of tiny PNGs with Ray Data on a cluster of this machine. A pass starts processes that import torch,
which takes longer than embedding thousands of tiny pictures: the rate beyond that is what --images take longer than
a pass of a thousand, both after one to warm up. Only --pass needs Ray.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
from collections.abc import Callable, Sequence

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
SMALL_PASS = 1_000
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
    "images": "images|,d",
    "seconds": "seconds|.1f",
    "start_s": "a thousand's seconds|.1f",
    "images_per_s": "images/s|,.0f",
    "to_forward": "pass/forward|.2f",
    "beyond_start": "images/s beyond|,.0f",
    "beyond_to_forward": "of forward|.2f",
    "beyond_to_bound": "of bound|.2f",
}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    hardware = f"{machine(options.device)}, {options.threads} threads"
    given = {"machine": hardware, "device": options.device, "batch_size": options.batch_size}
    lines = [stages(recipe, options) for recipe in options.recipe]
    report(f"stages of the encoder, images a second; {hardware}", COLUMNS, lines, benchmark="embed", **given)
    if options.whole_pass:
        tiny = next((line for line in lines if line["recipe"] == "visnet-tiny"), None) or stages("visnet-tiny", options)
        line = catalogue_pass(options.images, tiny)
        report(f"the catalogue pass; {hardware}", PASS_COLUMNS, [line], benchmark="embed-pass", **given)


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


def catalogue_pass(images: int, tiny: dict[str, float | str]) -> dict[str, float]:
    """The real pass over a generated catalogue, next to the bare forward pass measured above."""
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    from visnet.batch.embed import embed
    from visnet.platform.catalog import write_catalog
    from visnet.platform.cluster import session
    from visnet.platform.command import LOGICAL_CPUS_PER_CORE
    from visnet.platform.encoder import save_encoder
    from visnet.platform.settings import Settings
    from visnet.platform.store import Store

    cores = os.cpu_count() or 1
    settings = Settings().cut_to(cpus=cores, gpus=0).embed
    cpus = LOGICAL_CPUS_PER_CORE * cores
    seconds = {}
    with tempfile.TemporaryDirectory() as folder, session(num_cpus=cpus, object_store_bytes=2**30):
        store = Store(folder)
        encoder = save_encoder(store, Encoder(make_recipe("visnet-tiny"))).encoder
        for name, count in (("warm-up", SMALL_PASS), ("small", SMALL_PASS), ("whole", images)):
            rows = catalogue_rows(tiny_pngs(count))
            batches = (rows.slice(start, SMALL_PASS) for start in range(0, count, SMALL_PASS))
            catalog = write_catalog(store, name=name, version="1", source="generated", batches=batches)
            seconds[name] = embed(store, catalog, encoder, settings)[1]["seconds"]
    beyond = (images - SMALL_PASS) / (seconds["whole"] - seconds["small"])
    return {
        "images": images,
        "seconds": seconds["whole"],
        "start_s": seconds["small"],
        "images_per_s": images / seconds["whole"],
        "to_forward": images / seconds["whole"] / float(tiny["forward"]),
        "beyond_start": beyond,
        "beyond_to_forward": beyond / float(tiny["forward"]),
        "beyond_to_bound": beyond / float(tiny["bound"]),
    }


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
    parser.add_argument("--pass", dest="whole_pass", action="store_true", help="also the pass on Ray Data")
    parser.add_argument("--images", type=int, default=40_000, help="size of the pass")
    options = parser.parse_args()
    options.recipe = options.recipe or ["visnet-tiny", "visnet"]
    return options


if __name__ == "__main__":
    main()
