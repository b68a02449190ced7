"""A shop that is really served, small: releases made in this process, the service started by its command."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import torch
import yaml
from PIL import Image

from tests import embedding
from tests.ports import free_port
from tests.release_pieces import detector
from visnet.batch.recommend import run_pass
from visnet.batch.recommend_runner import InProcess as RecommendInProcess
from visnet.platform import index_build
from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.index_scatter import Sources
from visnet.platform.keys import create_key
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.networks import make_recipe
from visnet.platform.release import Localisation, create_release, promote
from visnet.platform.settings import EmbedSettings, IndexSettings, RecommendSettings
from visnet.platform.store import Store

ROOT = Path(__file__).parents[1]
CATEGORIES = ("bags", "coats", "shoes")


def picture(seed: int) -> bytes:
    """A picture of its own for every seed: a few coloured bars."""
    random = np.random.default_rng(seed)
    bars = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(bars).resize((48, 48), Image.Resampling.NEAREST).save(buffer, format="PNG")
    return buffer.getvalue()


def product(number: int) -> dict[str, Any]:
    """A product of the catalogue, as a client would write it."""
    return {
        "product_id": f"p{number:04d}",
        "category": CATEGORIES[number % len(CATEGORIES)],
        "attributes": {"price": float(number % 50), "stock": number % 10, "brand": f"b{number % 7}"},
        "image": base64.b64encode(picture(number)).decode(),
    }


def shop_catalog(store: Store, products: int, *, version: str = "v1") -> Catalog:
    """A catalogue of so many products, a picture each."""
    made = [product(number) for number in range(products)]
    table = pa.table(
        {
            "image_id": [one["product_id"] for one in made],
            "product_id": [one["product_id"] for one in made],
            "category": [one["category"] for one in made],
            "image": pa.array([base64.b64decode(one["image"]) for one in made], pa.binary()),
            **{name: [one["attributes"][name] for one in made] for name in ("price", "stock", "brand")},
        }
    )
    return write_catalog(store, name="shop", version=version, source="a test", batches=[table])


def make_release(
    store: Store,
    catalog: Catalog,
    *,
    seed: int,
    shards: int,
    rules: RecommendSettings | None = None,
    current: bool = False,
    with_detector: bool = False,
    evaluation: dict[str, Any] | None = None,
) -> str:
    """A release of a catalogue by an untrained encoder of its own for every seed; its detector, if it is to have one,
    finds something in every picture, wherever that may be."""
    torch.manual_seed(seed)
    encoder = save_encoder(store, Encoder(make_recipe("visnet-tiny"))).encoder
    embeddings = embedding.run(store, catalog, encoder, EmbedSettings(gpus_per_actor=0))
    sources = Sources(catalog, embeddings)
    index = index_build.build(sources, IndexSettings(shards=shards), index_build.InProcess())
    rules = rules or RecommendSettings(k=10, gpus_per_shard=0.0)
    runner = RecommendInProcess(store, index, rules)
    recommendations, _ = run_pass(store, index, rules, runner, started=time.monotonic())
    localisation = None
    if with_detector:
        found_by = detector(store, classes=CATEGORIES, seed=seed, min_confidence=0.05).detector
        localisation = Localisation(detector=found_by, measured={}, by_default=False)
    release = create_release(
        store,
        index=index.index,
        recommendations=recommendations.recommendations,
        evaluation=evaluation or {},
        localisation=localisation,
    ).release
    if current:
        promote(store, release, force=True)
    return release


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that runs."""

    store: Store
    cluster: LocalCluster
    url: str
    key: str
    """An admin's."""

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, headers={"X-API-Key": self.key})

    def processes(self, part: str) -> list[int]:
        """The ids of the replicas whose name begins so, such as shard-1."""
        found = []
        for pid in self.cluster.processes():
            with contextlib.suppress(OSError):
                title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if title.startswith(f"ray::ServeReplica:{part}"):
                    found.append(pid)
        return found

    def command(self, *arguments: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a command against this service's cluster and store; returns its JSON."""
        return run_command(self.store, self.cluster, *arguments, settings=settings)


def run_command(
    store: Store, cluster: LocalCluster, *arguments: str, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    file = Path(store.path("cluster.yaml"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"metadata": {"visnet": settings or {}}}))
    command = [sys.executable, "-m", "visnet.platform", *arguments, "--json", "--store", store.location]
    finished = subprocess.run(
        [*command, "--cluster-file", str(file)],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, f"{arguments}\n{finished.stdout}\n{finished.stderr}"
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def small(*, replicas: int = 1, **further: Any) -> dict[str, Any]:
    """Settings of a service for one small machine."""
    return {
        "serve": {
            "shard": {"replicas": replicas, "apart": False, "gpus": 0.0, "cpus": 0.2},
            "embedder": {"max_replicas": 1, "gpus": 0.0, "cpus": 1.0},
            **further,
        }
    }


@contextlib.contextmanager
def served(store: Store, settings: dict[str, Any], *, environment: dict[str, str] | None = None) -> Iterator[Service]:
    """The current release of a store, served on a cluster of its own; `environment` is for its processes."""
    key = create_key(store, name=f"test-{time.time_ns()}", scope="admin").presented
    with LocalCluster(num_cpus=8, object_store_bytes=200 * 2**20, env=environment) as cluster:
        port = free_port()
        result = run_command(store, cluster, "serve", "--detach", "--port", str(port), settings=settings)
        yield Service(store=store, cluster=cluster, url=result["url"], key=key)
