"""Scenes and labelled photos through Ray Data: composed and decoded in CPU tasks, handed to the workers as uint8."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from visnet.platform.detectors.network import Boxes
from visnet.platform.errors import CatalogError
from visnet.train.detection.decode import NO_BOX, ComposeScenes, DecodeLabelled
from visnet.train.detection.labels import Labels

if TYPE_CHECKING:
    import ray.data

# B pictures of this worker, C channels, H height, W width, N boxes

SCENES_AT_ONCE = 32
"""Composed by a task as one block."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneBatch:
    """One worker's part of a step."""

    image_BCHW: Tensor
    """uint8 squares."""
    truth: list[Boxes]
    """What is in each."""

    def __len__(self) -> int:
        return len(self.image_BCHW)


def composed_scenes(bank: Any, *, scenes: int, side: int, seed: int, most_items: int) -> ray.data.Dataset:
    """So many scenes, composed while they are asked for.

    Args:
        bank: a reference to a `Bank` in the object store.
    """
    import ray

    compose = ComposeScenes(functools.partial(ray.get, bank), side=side, seed=seed, most_items=most_items)
    blocks = max(1, scenes // SCENES_AT_ONCE)
    numbers = ray.data.range(scenes, override_num_blocks=blocks)
    return numbers.map_batches(compose, batch_format="numpy", batch_size=None)


def labelled_photos(labels: Labels, classes: list[str], *, side: int) -> ray.data.Dataset:
    """The labelled photos that are trained on, decoded once and kept in the object store."""
    decoder = DecodeLabelled(classes, side=side)
    photos = labels.training().map_batches(decoder, batch_format="pyarrow", batch_size=SCENES_AT_ONCE).materialize()
    if not photos.count():
        raise CatalogError(f"none of the labelled photos ({labels.describe()}) can be trained on")
    return photos


def batches(
    scenes: Any, photos: Any | None, *, size: int, photo_share: float, seed: int, device: torch.device
) -> Iterator[SceneBatch]:
    """One epoch of a worker's shard of the scenes, each batch filled up with labelled photos.

    Args:
        scenes: the worker's `ray.data.DataIterator`; None of them where only photos are learned from.
        photos: likewise, all of them; they are gone through again and again.
    """
    from_photos = round(size * photo_share) if photos is not None else 0
    photo_rows = _again_and_again(photos, from_photos, seed) if from_photos else None
    if from_photos == size:
        assert photo_rows is not None
        for rows in photo_rows:
            yield _batch([rows], device)
        return
    for rows in scenes.iter_batches(
        batch_size=size - from_photos, batch_format="numpy", drop_last=True, prefetch_batches=4
    ):
        yield _batch([rows, *([next(photo_rows)] if photo_rows is not None else [])], device)


def _again_and_again(photos: Any, size: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches of photos without end, each time in another order; a batch may reach over the end of a round."""
    kept: list[dict[str, np.ndarray]] = []
    have = 0
    turn = 0
    while True:
        for rows in photos.iter_batches(
            batch_size=size,
            batch_format="numpy",
            local_shuffle_buffer_size=8 * size,
            local_shuffle_seed=seed + turn,
        ):
            kept.append(rows)
            have += len(rows["image"])
            while have >= size:
                whole = {name: np.concatenate([part[name] for part in kept]) for name in rows}
                yield {name: column[:size] for name, column in whole.items()}
                kept, have = [{name: column[size:] for name, column in whole.items()}], have - size
        turn += 1


def _batch(parts: list[dict[str, np.ndarray]], device: torch.device) -> SceneBatch:
    columns = {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}
    truth = []
    for box_N4, label_N in zip(columns["box"].to(device), columns["label"].to(device), strict=True):
        there = label_N != NO_BOX
        truth.append(Boxes(box_N4=box_N4[there], label_N=label_N[there]))
    return SceneBatch(image_BCHW=columns["image"].to(device).permute(0, 3, 1, 2), truth=truth)
