"""A running service under load: requests a second and latencies, always beside a bound of the same run.

    python benchmarks/serve.py                                         # tiny pictures, 5,000 products
    python benchmarks/serve.py --recipe visnet --products 500 --only photo items --clients 1 16

What bounds it. Recommendations and searches by product or vector: HTTP itself, so the bound is a FastAPI deployment
that answers {} behind the same HAProxy and the same Serve; a deployment without FastAPI stands beside it as `bare`.
Photos: decoding and the network, so the bound is the pipeline without Ray: decode, encode in batches and search in one
process with as many threads as the embedder has, which is all the network gets in the service too. `items` are the
same photos, of each of which two items are found and searched for; the bound stays that of the whole photo, so the
column says what finding them costs. While products are written: the rate of the same questions without.

wrk asks in a closed loop: each client has one connection and asks again once it is answered. It shares the machine's
cores with the service and with the bound: with few of them, every part takes its share of every figure. Photos are
embedded anew each time: the cache is off. The products' pictures are made up, the encoder is untrained: as fast as a
trained one, and its answers mean nothing.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import httpx
import numpy as np
import pyarrow.parquet as pq
import ray
import torch
import yaml
from fastapi import FastAPI
from load import Wrk
from pictures import catalogue_rows, pictures_for
from ray import serve
from timing import machine, report

from visnet.platform import cluster
from visnet.platform.allocator import keep_freed_memory
from visnet.platform.detector import Detector, save_detector
from visnet.platform.detectors import make_detector_recipe
from visnet.platform.encoder import Encoder, load_encoder, save_encoder
from visnet.platform.index import load_shard, read_index
from visnet.platform.keys import create_key
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.networks import make_recipe
from visnet.platform.ports import is_free
from visnet.platform.release import current_release
from visnet.platform.shard import Shard
from visnet.platform.store import Store

ASKED_PRODUCTS = 400
K = 10
BOUND = "no-op"
ITEMS = 2
KINDS = (BOUND, "bare", "recommend", "product", "vector", "filter", "photo", "items")
PHOTO_KINDS = ("photo", "items")
NO_OPS = (BOUND, "bare")
UPSERTS = (0, 100, 1000)
IN_A_BODY = 20
COLUMNS = {
    "question": "question|s",
    "clients": "clients|d",
    "requests_per_s": "requests/s|,.0f",
    "p50_ms": "p50 ms|.1f",
    "p95_ms": "p95 ms|.1f",
    "p99_ms": "p99 ms|.1f",
    "failed": "failed|d",
    "to_bound": "of the bound|.3f",
}
WRITING_COLUMNS = {
    "question": "question|s",
    "upserts_per_s": "upserts/s asked|d",
    "written_per_s": "written/s|,.0f",
    "requests_per_s": "requests/s|,.0f",
    "p99_ms": "p99 ms|.1f",
    "failed": "failed|d",
    "to_static": "of the rate without|.3f",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """A service of the benchmark's own."""

    store: Store
    url: str
    noop_url: str
    key: str
    pictures: list[bytes]


def main() -> None:
    options = _options()
    keep_freed_memory()  # as the embedder does
    wrk = Wrk()
    with own_service(options) as service:
        asked = questions(service)
        kinds = [kind for kind in KINDS if kind in NO_OPS or not options.only or kind in options.only]
        pipeline = pipeline_rate(service, options) if set(kinds) & set(PHOTO_KINDS) else 0.0
        lines = []
        for clients in options.clients:
            measured = [line(wrk, kind, asked[kind], clients, options.seconds) for kind in kinds]
            bound = measured[0]["requests_per_s"]
            lines += [
                {**one, "to_bound": one["requests_per_s"] / (pipeline if one["question"] in PHOTO_KINDS else bound)}
                for one in measured
            ]
        writing = [] if options.only else while_writing(wrk, service, asked, options)
    title = f"the service under load: k={K}, {options.products} products, {options.recipe}; {machine()} for all"
    report(
        title,
        COLUMNS,
        lines,
        benchmark="serve",
        machine=machine(),
        recipe=options.recipe,
        products=options.products,
        pipeline_photos_per_s=round(pipeline, 1),
        seconds=options.seconds,
    )
    if writing:
        report("the same while products are written, 16 clients", WRITING_COLUMNS, writing, benchmark="serve-writing")


def questions(service: Service) -> dict[str, list[httpx.Request]]:
    """Requests of each kind; each is tried once first."""
    with httpx.Client(base_url=service.url, timeout=30) as client:
        search = "/v1/search"
        photos = service.pictures[:ASKED_PRODUCTS]
        products = [f"product-{number:06d}" for number in range(min(ASKED_PRODUCTS, len(service.pictures)))]
        first = client.post("/v1/embed", content=photos[0], headers={"content-type": "image/*"}).raise_for_status()
        shape = (len(products), len(first.json()["vector"]))
        vectors = np.random.default_rng(0).normal(size=shape).round(4).tolist()
        where = {"must": [{"field": "category", "in": ["category-1", "category-2"]}]}
        asked = {
            BOUND: [client.build_request("GET", f"{service.noop_url}/")],
            "bare": [client.build_request("GET", f"{service.noop_url}-bare")],
            "recommend": [client.build_request("GET", f"/v1/recommend/{name}?k={K}") for name in products],
            "product": [client.build_request("POST", search, json={"product_id": name, "k": K}) for name in products],
            "vector": [client.build_request("POST", search, json={"vector": vector, "k": K}) for vector in vectors],
            "filter": [
                client.build_request("POST", search, json={"vector": vector, "k": K, "filter": where})
                for vector in vectors
            ],
            "photo": [_photo(client, photo, detect=False) for photo in photos],
            "items": [_photo(client, photo, detect=True) for photo in photos],
        }
        for kind, requests in asked.items():
            answer = client.send(requests[0]).raise_for_status().json()
            if kind not in NO_OPS and (answer["partial"] or len(answer["results"]) != K):
                raise SystemExit(f"the service does not answer in full to a {kind}: {answer}")
    return asked


def _photo(client: httpx.Client, photo: bytes, *, detect: bool) -> httpx.Request:
    data = {"k": K, "detect": str(detect).lower(), "max_items": ITEMS}
    return client.build_request("POST", "/v1/search", files={"image": photo}, data=data)


def line(wrk: Wrk, kind: str, requests: Sequence[httpx.Request], clients: int, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    found = wrk.run(requests, clients=clients, seconds=seconds)
    return {"question": kind, "clients": clients, **dataclasses.asdict(found)}


def pipeline_rate(service: Service, options: argparse.Namespace) -> float:
    """Photos a second from bytes to products without Ray, in this process, on as many threads as the embedder has."""
    release = current_release(service.store)
    encoder = load_encoder(service.store, release.encoder)
    index = read_index(service.store, release.index)
    shards = [load_shard(service.store, release.index, number) for number in range(index.shards)]
    torch.set_num_threads(options.embedder_threads)
    faiss.omp_set_num_threads(options.embedder_threads)
    photos = service.pictures[:ASKED_PRODUCTS]
    _pipeline(encoder, shards, photos[:32])
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < 2 * options.seconds:
        first = done % max(1, len(photos) - 32)
        _pipeline(encoder, shards, photos[first : first + 32])
        done += 32
    return done / (time.perf_counter() - started)


def _pipeline(encoder: Encoder, shards: Sequence[Shard], photos: Sequence[bytes]) -> None:
    vectors = encoder.encode_pixels(np.stack([encoder.pixels(photo) for photo in photos]))
    for shard in shards:
        shard.search(vectors, K)


def while_writing(
    wrk: Wrk, service: Service, asked: dict[str, list[httpx.Request]], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The same questions while products are written: new prices for products whose pictures are known."""
    lines = []
    for kind in ("vector", "recommend"):
        static = 0.0
        for wanted in UPSERTS:
            with writer(service, wanted) as written:
                before, started = written[0], time.perf_counter()
                found = wrk.run(asked[kind], clients=16, seconds=options.seconds)
                rate = (written[0] - before) / (time.perf_counter() - started)
            static = static or found.requests_per_s
            lines.append(
                {
                    "question": kind,
                    "upserts_per_s": wanted,
                    "written_per_s": rate,
                    "requests_per_s": found.requests_per_s,
                    "p99_ms": found.p99_ms,
                    "failed": found.failed,
                    "to_static": found.requests_per_s / static,
                }
            )
    return lines


@contextlib.contextmanager
def writer(service: Service, per_s: int) -> Iterator[list[int]]:
    """Writes so many products a second in the background; yields how many were acknowledged."""
    written, over = [0], threading.Event()

    def write() -> None:
        turn = 0
        started = time.perf_counter()
        with httpx.Client(base_url=service.url, timeout=60, headers={"X-API-Key": service.key}) as client:
            while not over.is_set():
                body = {"products": [_upsert(service, turn * IN_A_BODY + place) for place in range(IN_A_BODY)]}
                client.put("/v1/products", json=body).raise_for_status()
                written[0] += IN_A_BODY
                turn += 1
                over.wait(max(0.0, started + turn * IN_A_BODY / per_s - time.perf_counter()))

    thread = threading.Thread(target=write)
    if per_s:
        thread.start()
    try:
        yield written
    finally:
        over.set()
        if per_s:
            thread.join()


def _upsert(service: Service, number: int) -> dict[str, Any]:
    number %= min(1_000, len(service.pictures))
    picture = base64.b64encode(service.pictures[number]).decode()
    return {"product_id": f"product-{number:06d}", "category": f"category-{number % 10}", "image": picture}


@contextlib.contextmanager
def own_service(options: argparse.Namespace) -> Iterator[Service]:
    """A service over generated pictures on a cluster of its own, made by the commands a user has; and the no-op."""
    env = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(num_cpus=8, object_store_bytes=2**29, env=env) as local,
    ):
        store = Store(f"{folder}/store")
        encoder = Encoder(make_recipe(options.recipe))
        save_encoder(store, encoder)
        detector = Detector(make_detector_recipe(options.detector), ["product"], min_confidence=0.0)
        save_detector(store, detector, catalog="bench")
        pictures = pictures_for(encoder, options.products)
        table = Path(folder) / "products.parquet"
        pq.write_table(catalogue_rows(pictures), table)
        settings = Path(folder) / "cluster.yaml"
        settings.write_text(yaml.safe_dump({"metadata": {"visnet": {"serve": _settings(options)}}}))
        for arguments in (
            ("catalog", "import", "table", str(table), "--name", "bench"),
            ("embed", "--catalog", "bench", "--fit"),
            ("index", "build", "--catalog", "bench", "--fit", "--shards", str(options.shards)),
            ("recommend", "--fit"),
            ("release", "create", "--promote"),
            ("serve", "--detach", "--port", str(_free_port()), "--cluster-file", str(settings)),
        ):
            result = _visnet(store, local.address, *arguments)
        url = result["url"]
        cluster.connect(local.address)
        try:
            serve.run(NoOp.bind(), name="no-op", route_prefix="/no-op")  # type: ignore[attr-defined]
            serve.run(Bare.bind(), name="bare", route_prefix="/no-op-bare")  # type: ignore[attr-defined]
            key = create_key(store, name="benchmark", scope="write").presented
            time.sleep(3)  # until the ingress has seen the key
            yield Service(store=store, url=url, noop_url=f"{url}/no-op", key=key, pictures=pictures)
        finally:
            ray.shutdown()


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "cached_photos": 0,
        "shard": {"gpus": 0.0, "cpus": 1.0},
        "embedder": {"max_replicas": 1, "gpus": 0.0, "cpus": float(options.embedder_threads)},
    }


api = FastAPI()


@serve.deployment(ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=256)
@serve.ingress(api)
class NoOp:
    """The bound: what HAProxy, Serve and FastAPI cost by themselves."""

    @api.get("/")
    async def answer(self) -> dict[str, str]:
        return {}


@serve.deployment(ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=256)
class Bare:
    """The same without FastAPI."""

    async def __call__(self, _request: Any) -> dict[str, str]:
        return {}


def _visnet(store: Store, address: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "visnet.platform", *arguments, "--json", "--store", store.location]
    environment = {**os.environ, "RAY_ADDRESS": address}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"visnet {' '.join(arguments)} failed:\n{finished.stderr}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def _free_port() -> int:
    return next(port for port in range(18_300, 18_500) if is_free(port))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="visnet-tiny")
    parser.add_argument("--detector", default="fcos-lite")
    parser.add_argument("--products", type=int, default=5_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--embedder-threads", type=int, default=1)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=4.0, help="measured for each kind and number of clients")
    parser.add_argument("--only", nargs="+", choices=KINDS[2:], help="these questions, and nothing is written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
