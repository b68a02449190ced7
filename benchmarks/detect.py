"""What finding the items in a photo costs: photos to vectors, as a whole, of a box, and of the items found.

    python benchmarks/detect.py                                        # fcos-lite and visnet, photos of 1600x1200
    python benchmarks/detect.py --detector faster-rcnn --detector-option trunk=tf_efficientnet_lite0
    python benchmarks/detect.py --device cuda --batch-size 32

It runs what the service's embedder runs for a batch (`serve/looking.py`), without Ray. What bounds it: the two networks
alone, on pixels that are ready, for as many photos and crops; what is above that is decoding and cutting out. Both
networks have fresh weights, so what is found means nothing; it takes the first 1 or 3 items of each photo, as sure as
they may be. `share` columns say where the time of a batch goes.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import torch
from pictures import photo_jpegs
from timing import in_turns, machine, report

from visnet.platform.allocator import keep_freed_memory
from visnet.platform.detector import Detector
from visnet.platform.detectors import make_detector_recipe
from visnet.platform.encoder import Encoder
from visnet.platform.networks import make_recipe
from visnet.serve import telemetry
from visnet.serve.looking import Looking
from visnet.serve.messages import Photo

STAGES = ("decode", "detect", "crop", "network")
BOX = (0.25, 0.25, 0.75, 0.75)
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "box": {"box": BOX},
    "1 item": {"detect": True, "most": 1},
    "3 items": {"detect": True, "most": 3},
}


def main() -> None:
    options = _options()
    keep_freed_memory()  # as the embedder does
    torch.set_num_threads(options.threads)
    given = dict(option.split("=", 1) for option in options.detector_option)
    recipe = make_detector_recipe(options.detector, **{name: _plain(value) for name, value in given.items()})
    detector = Detector(recipe, ["product"], min_confidence=0.0, device=options.device)
    encoder = Encoder(make_recipe(options.recipe), device=options.device)
    looking = Looking(encoder, detector, margin=0.05, batch_size=max(options.batch_size))
    jpegs = photo_jpegs(max(options.batch_size))
    lines = []
    for batch in options.batch_size:
        photos = {name: [Photo(data=data, **way) for data in jpegs[:batch]] for name, way in WAYS.items()}
        works: dict[str, Callable[[], object]] = {
            name: functools.partial(looking.look, some) for name, some in photos.items()
        }
        for name, some in photos.items():
            parts = sum(len(looked.parts) for looked in looking.look(some))
            works[f"bound {name}"] = functools.partial(
                _networks, detector if WAYS[name].get("detect") else None, encoder, batch, parts
            )
        seconds = in_turns(works, budget_s=options.budget_s)
        for name, some in photos.items():
            shares = _shares(looking, some)
            lines.append(
                {
                    "way": name,
                    "batch": batch,
                    "photos_per_s": batch / seconds[name],
                    "ms_per_photo": 1000 * seconds[name] / batch,
                    "of_whole": seconds["whole"] / seconds[name],
                    "of_bound": seconds[f"bound {name}"] / seconds[name],
                    **{f"{stage}_share": share for stage, share in shares.items()},
                }
            )
    columns = {
        "way": "searched for|s",
        "batch": "batch|d",
        "photos_per_s": "photos/s|,.1f",
        "ms_per_photo": "ms a photo|.1f",
        "of_whole": "of the rate as a whole|.2f",
        "of_bound": "of the networks alone|.2f",
        **{f"{stage}_share": f"{stage}|.0%" for stage in STAGES},
    }
    where = machine(options.device)
    title = f"{options.detector} and {options.recipe}, photos of 1600x1200; {options.threads} threads on {where}"
    report(title, columns, lines, benchmark="detect", machine=where, detector=options.detector, recipe=options.recipe)


@torch.inference_mode()
def _networks(detector: Detector | None, encoder: Encoder, photos: int, parts: int) -> None:
    """The networks on pixels that are ready, and what comes of them back on the host."""
    if detector is not None:
        detector.network(_pixels(photos, detector.recipe.image_size, detector.device))
    encoder.network(_pixels(parts, encoder.preprocessing.crop, encoder.device)).cpu()


@functools.cache
def _pixels(count: int, side: int, device: torch.device) -> torch.Tensor:
    return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(0)).to(device)


def _shares(looking: Looking, photos: list[Photo]) -> dict[str, float]:
    """Each stage's share of a few batches."""
    before = _stage_seconds()
    for _ in range(3):
        looking.look(photos)
    spent = {stage: after - before.get(stage, 0.0) for stage, after in _stage_seconds().items()}
    total = sum(spent.get(stage, 0.0) for stage in STAGES)
    return {stage: spent.get(stage, 0.0) / total for stage in STAGES}


def _stage_seconds() -> dict[str, float]:
    samples = telemetry.STAGE_SECONDS.samples()
    return {one.labels["stage"]: one.value for one in samples if one.name.endswith("_sum")}


def _plain(value: str) -> object:
    return int(value) if value.isdecimal() else value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="fcos-lite")
    parser.add_argument("--detector-option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--recipe", default="visnet")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget-s", type=float, default=30.0, help="for each batch size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
