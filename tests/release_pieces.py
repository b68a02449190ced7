"""The pieces of a small release, manifests and files, as the passes leave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from visnet.platform.detector import Detector, save_detector
from visnet.platform.detector_manifest import DetectorManifest
from visnet.platform.detectors import make_detector_recipe
from visnet.platform.detectors.fcos_lite import FCOSLite
from visnet.platform.detectors.network import DetectionNetwork
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory
from visnet.platform.encoder_manifest import EncoderManifest
from visnet.platform.index import IndexManifest
from visnet.platform.manifest import Manifest, write_manifest
from visnet.platform.recommendations import SCHEMA, RecommendationsManifest, write_part
from visnet.platform.release import (
    create_release,
)
from visnet.platform.store import Store

DIGEST = "d" * 64
DIRECTORIES = {"encoder": "encoders/e", "index": "indexes/x", "recommendations": "recommendations/r"}


def pieces(store: Store, **changes: dict[str, Any]) -> None:
    """A matching encoder, embeddings, index and recommendations; `changes` by piece."""
    catalog = {"catalog": "shop", "catalog_version": "v1"}
    made: dict[str, Manifest] = {
        "encoder": EncoderManifest(encoder="e", digest=DIGEST, recipe={}, dimension=8),
        "embeddings": EmbeddingsManifest(
            encoder="e", encoder_digest=DIGEST, dimension=8, parts=["part-00000.parquet"], images=12, embedded=6,
            reused=3, quarantined=3, settings={}, **catalog,
        ),
        "index": IndexManifest(
            index="x", encoder="e", encoder_digest=DIGEST, dimension=8, metric="inner_product", rows=9, products=7,
            shard_rows=[4, 5], settings={}, **catalog,
        ),
        "recommendations": RecommendationsManifest(
            recommendations="r", index="x", encoder_digest=DIGEST, products=7, k=20, parts=[1, 2]
        ),
    }  # fmt: skip
    directories = {**DIRECTORIES, "embeddings": embeddings_directory("e", "shop", "v1")}
    for name, manifest in made.items():
        write_manifest(store, directories[name], dataclasses.replace(manifest, **changes.get(name, {})))
    write_files(store, directories["embeddings"])


def write_files(store: Store, embeddings: str) -> None:
    """What the manifests are about."""
    for name, rows in (("part-00000.parquet", 9), ("quarantine.parquet", 3)):
        pq.write_table(pa.table({"image_id": ["i"] * rows}), store.path(f"{embeddings}/{name}"))
    for shard, rows in enumerate((4, 5)):
        with store.writer(f"indexes/x/shard-{shard:04d}/vectors.npy") as file:
            np.save(file, np.zeros((rows, 8), np.float16))
        write_arrow(store, f"indexes/x/shard-{shard:04d}/rows.arrow", rows)
    for shard, part, products in ((0, 0, 3), (1, 0, 3), (1, 1, 1)):
        columns = [["p"] * products, [["q"]] * products, [[0.5]] * products]
        write_part(store, "r", shard, part, pa.record_batch(columns, schema=SCHEMA))


def write_arrow(store: Store, name: str, rows: int) -> None:
    table = pa.table({"image_id": ["i"] * rows})
    with store.writer(name) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def light_detectors(patch: pytest.MonkeyPatch) -> None:
    """From now on, detectors' networks are a single layer: for tests in which nothing is to be found."""

    def build(_: FCOSLite, classes: int) -> DetectionNetwork:
        return DetectionNetwork(nn.Linear(2, classes), first_label=0, pretrained="")

    patch.setattr(FCOSLite, "build", build)


def detector(
    store: Store,
    *,
    catalog: str = "shop",
    classes: Sequence[str] = ("bags", "coats", "shoes"),
    seed: int = 0,
    min_confidence: float = 0.3,
) -> DetectorManifest:
    """An untrained detector of its own for every seed: small, but of the kind that serves."""
    torch.manual_seed(seed)
    recipe = make_detector_recipe("fcos-lite", image_size=64, channels=32, convolutions=1)
    return save_detector(store, Detector(recipe, classes, min_confidence=min_confidence), catalog=catalog)


def release(store: Store, recall: float | None = None, *, queries: str = "q", **recalls: float) -> str:
    """Another release for every evaluation."""
    recall_at_k = {"10": recall, **recalls} if recall is not None else recalls
    evaluation = {"queries_digest": queries, "recall_at_k": recall_at_k} if recall_at_k else {}
    return create_release(store, index="x", recommendations="r", evaluation=evaluation).release
