"""A catalogue of a million products, from nothing to a release, within this machine's memory.

    python benchmarks/scale.py
    python benchmarks/scale.py --images 1000000 --shards 4

The stages are the real ones, one after the other on a Ray cluster of this machine: a generated catalogue of tiny
pictures, the catalogue pass, the same pass again over a new version with a share of new pictures, the index, the
recommendations (within the category, as most shops show them), the release with its gates. For each: seconds, rate,
and the peak of memory, which is what all processes of the cluster and this one held together (proportional set size:
what they share counts once). `idle` is the cluster before it does anything.

What bounds the pass is decoding and the network (benchmarks/embed_pass.py), the recommendations exact search
(benchmarks/recommend.py). What a stage costs for 50 million and a billion products: docs/scale.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pictures import tiny_pngs
from timing import machine, report

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.networks import make_recipe
from visnet.platform.release import create_release
from visnet.platform.settings import EmbedSettings, IndexSettings, RecommendSettings
from visnet.platform.store import Store

BLOCK = 5_000
CATEGORIES = 100
SAMPLE_S = 0.5
COLUMNS = {
    "stage": "stage|s",
    "rows": "rows|,d",
    "seconds": "seconds|,.1f",
    "per_s": "rows/s|,.0f",
    "peak_mib": "peak MiB, all processes|,.0f",
    "largest_mib": "largest process MiB|,.0f",
    "note": "|s",
}


def main() -> None:
    options = _options()
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        cluster = LocalCluster(num_cpus=4 * cores, object_store_bytes=options.object_store_mib * 2**20)
        with cluster:
            lines = Scale(options, Store(folder), cluster).run()
    report(f"{options.images:,} products on {machine()}", COLUMNS, lines, benchmark="scale", machine=machine())


class Scale:
    """The stages, each with its stopwatch and its memory."""

    def __init__(self, options: argparse.Namespace, store: Store, cluster: LocalCluster) -> None:
        self._options, self._store, self._cluster = options, store, cluster
        self.lines: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        from visnet.platform.cluster import session

        with session(self._cluster.address):
            encoder = save_encoder(self._store, Encoder(make_recipe(self._options.recipe))).encoder
            with self._stage("idle", 0):
                time.sleep(3)
            with self._stage("catalogue", self._options.images):
                catalog = self._catalog("1", changed=0.0)
            self._embed(catalog, encoder, "embed")
            with self._stage("catalogue, changed", self._options.images):
                changed = self._catalog("2", changed=self._options.changed)
            self._embed(changed, encoder, "embed, changed")
            self._serve_pieces(changed, encoder)
        return self.lines

    def _embed(self, catalog: Catalog, encoder: str, name: str) -> None:
        from visnet.batch.embed import embed

        settings = EmbedSettings(actors=self._options.actors, gpus_per_actor=0.0)
        with self._stage(name, catalog.manifest.images) as line:
            made, _ = embed(self._store, catalog, encoder, settings)
            line["note"] = f"{made.embedded:,} embedded, {made.reused:,} reused"

    def _serve_pieces(self, catalog: Catalog, encoder: str) -> None:
        from visnet.batch.index import build_index
        from visnet.batch.recommend import recommend

        with self._stage("index", catalog.manifest.images) as line:
            built, _ = build_index(self._store, catalog, encoder, IndexSettings(shards=self._options.shards))
            line["note"] = f"{self._store.size_bytes(f'indexes/{built.index}') / 2**20:,.0f} MiB on disk"
        with self._stage("recommend", built.products) as line:
            similar, _ = recommend(self._store, built.index, RecommendSettings(same_category=True, gpus_per_shard=0.0))
            line["note"] = f"{similar.neighbours:,} neighbours, each of its product's category"
        with self._stage("release", built.rows) as line:
            made = create_release(
                self._store, index=built.index, recommendations=similar.recommendations, evaluation={}
            )
            line["note"] = f"{sum(gate.passed for gate in made.gates)} of {len(made.gates)} gates passed"

    def _catalog(self, version: str, *, changed: float) -> Catalog:
        """Every block of pictures has a seed of its own; of each so many are others than in version 1."""
        return write_catalog(
            self._store, name="made", version=version, source="generated", batches=self._blocks(changed)
        )

    def _blocks(self, changed: float) -> Iterator[pa.Table]:
        for first in range(0, self._options.images, BLOCK):
            count = min(BLOCK, self._options.images - first)
            images = tiny_pngs(count, seed=first)
            new = round(changed * count)
            if new:
                images[:new] = tiny_pngs(new, seed=first + 1)
            ids = [f"product-{number:08d}" for number in range(first, first + count)]
            category = [f"category-{number % CATEGORIES:03d}" for number in range(first, first + count)]
            price = np.random.default_rng(first).uniform(5, 500, count).round(2)
            columns = {"image_id": ids, "product_id": ids, "category": category, "image": pa.array(images)}
            yield pa.table({**columns, "price": price})

    @contextlib.contextmanager
    def _stage(self, name: str, rows: int) -> Iterator[dict[str, Any]]:
        line: dict[str, Any] = {"stage": name, "rows": rows, "note": ""}
        with Memory(self._cluster) as memory:
            started = time.perf_counter()
            yield line
            seconds = time.perf_counter() - started
        line |= {"seconds": seconds, "per_s": rows / seconds}
        line |= {"peak_mib": memory.peak / 2**20, "largest_mib": memory.largest / 2**20}
        self.lines.append(line)
        print(f"{name}: {seconds:.1f} s, peak {line['peak_mib']:,.0f} MiB  {line['note']}", flush=True)


class Memory:
    """Watches what the cluster's processes and this one hold, bytes."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = self.largest = 0

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            held = [proportional_set_bytes(pid) for pid in {os.getpid(), *self._cluster.processes()}]
            self.peak, self.largest = max(self.peak, sum(held)), max(self.largest, *held)
            if self._over.wait(SAMPLE_S):
                return


def proportional_set_bytes(pid: int) -> int:
    """What a process holds, shared pages by their share; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="products of one picture each; docs: 1000000")
    parser.add_argument(
        "--recipe", default="visnet-tiny", help="its weights are not trained: that changes no figure here"
    )
    parser.add_argument("--changed", type=float, default=0.01, help="share of new pictures in the second version")
    parser.add_argument("--actors", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--object-store-mib", type=int, default=2048)
    parser.add_argument("--directory", help="where the store is made, and deleted again; default: the system's own")
    return parser.parse_args()


if __name__ == "__main__":
    main()
