"""From image bytes to vectors: each stage of the encoder alone, and the encoder. The pass: benchmarks/embed_pass.py.

    python benchmarks/embed.py
    python benchmarks/embed.py --recipe visnet --device cuda --batch-size 256

What bounds it: the bare forward pass of the network on pixels that are ready, and decoding on all cores. Where both
share the cores they add up (the bound is 1 / (1 / decoding + 1 / forward)); beside a GPU they overlap, and the slower
one is the bound. `Encoder.encode` decodes on one core and does nothing at the same time, so it stays below the bound:
the catalogue pass decodes in processes of its own. On a GPU a line says what its own JPEG decoder does.

visnet-tiny sees PNGs of 28x28, the other recipes photo-like JPEGs of 1600x1200; both are generated. Needs no Ray.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pictures import photo_jpegs, pictures_for, sees_tiny
from timing import in_turns, machine, report

from visnet.platform.allocator import keep_freed_memory
from visnet.platform.encoder import Encoder
from visnet.platform.networks import make_recipe

# B batch, H height, W width, C channels

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
GPU_DECODE_COLUMNS = {
    "gpu": "GPU/s|,.0f",
    "cpu": "one core/s|,.0f",
    "cores": "worth so many cores|.1f",
    "difference": "mean difference of a pixel, of 255|.2f",
}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    hardware = f"{machine(options.device)}, {options.threads} threads"
    given = {"machine": hardware, "device": options.device, "batch_size": options.batch_size}
    lines = [stages(recipe, options) for recipe in options.recipe]
    report(f"stages of the encoder, images a second; {hardware}", COLUMNS, lines, benchmark="embed", **given)
    if options.device.startswith("cuda"):
        lines = [gpu_decoding(options)]
        report("JPEGs decoded on the GPU", GPU_DECODE_COLUMNS, lines, benchmark="embed-gpu-decode", **given)


def stages(recipe: str, options: argparse.Namespace) -> dict[str, float | str]:
    """One line of the table: the stages of one recipe's encoder, with pictures of its kind."""
    encoder = Encoder(make_recipe(recipe), device=options.device)
    tiny = sees_tiny(encoder)
    batch_size = options.batch_size or (256 if tiny else 16)
    images = pictures_for(encoder, batch_size)
    taken = in_turns(encoder_works(encoder, images), budget_s=options.budget_s)
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


def encoder_works(encoder: Encoder, images: Sequence[bytes]) -> dict[str, Callable[[], object]]:
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", help="may be repeated; default: visnet-tiny and visnet")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch-size", type=int, help="default: 256 tiny pictures or 16 photos")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--budget-s", type=float, default=10.0, help="seconds of measuring for each recipe")
    options = parser.parse_args()
    options.recipe = options.recipe or ["visnet-tiny", "visnet"]
    return options


if __name__ == "__main__":
    main()
