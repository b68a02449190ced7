"""A running service under load: requests a second and latencies by kind of question and number of clients.

    python benchmarks/serve.py                                # starts a service of its own, and ends it
    python benchmarks/serve.py --url http://127.0.0.1:8000    # one that runs on this machine, such as `make demo`'s

What bounds it: one HTTP request to one Python process. So the bound is a plain FastAPI application under uvicorn that
reads the same body (a vector as JSON) and answers {}, asked by the same client in the same run. A search makes two
hops more (ingress to shards and back, batched), a photo another two and the network. Client, service and bound share
the machine's cores: with few of them the client takes its part of every figure, the bound's too.

Closed loop: each client has one connection and asks again once it is answered. What was asked in the first half
second is left out. The service of its own is made by the commands a user has, with an untrained visnet-tiny over
generated pictures: as fast as a trained one, and its answers mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import pyarrow.parquet as pq
import uvicorn
from pictures import catalogue_rows, tiny_pngs
from fastapi import FastAPI
from timing import machine, report

from visnet.platform.command import LOGICAL_CPUS_PER_CORE
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.networks import make_recipe
from visnet.platform.ports import is_free
from visnet.platform.store import Store

PRODUCTS = 5_000
ASKED_PRODUCTS = 200
K = 10
WARM_UP_S = 0.5
BOUND = "no-op"
COLUMNS = {
    "question": "question|s",
    "clients": "clients|d",
    "requests_per_s": "requests/s|,.0f",
    "p50_ms": "p50 ms|.1f",
    "p99_ms": "p99 ms|.1f",
    "to_bound": "of the no-op's rate|.3f",
}


def main() -> None:
    options = _options()
    if options.no_op_port:
        return serve_no_op(options.no_op_port)
    own = contextlib.nullcontext(options.url) if options.url else own_service()
    with own as url, no_op() as bound_url:
        asked = questions(url)
        asked = {BOUND: [_raw(httpx.Request("POST", bound_url, json=_vector(asked["vector"][0])))], **asked}
        urls = {question: bound_url if question == BOUND else url for question in asked}
        lines = []
        for clients in options.clients:
            measured = [load(urls[question], question, asked[question], clients, options.seconds) for question in asked]
            bound = measured[0]["requests_per_s"]
            lines += [{**line, "to_bound": line["requests_per_s"] / bound} for line in measured]
    title = f"the service under load: k={K}, {'its own' if not options.url else options.url}; {machine()} for all"
    report(title, COLUMNS, lines, benchmark="serve", machine=machine(), seconds=options.seconds, k=K)
    return None


def questions(url: str) -> dict[str, list[bytes]]:
    """Requests of each kind, ready to be sent; each is tried once first.

    What the service holds is learnt from itself: its products from a search, its dimension from a refusal.
    """
    with httpx.Client(base_url=url, timeout=30) as client:
        search = "/v1/search"
        found = client.post(search, files={"image": tiny_pngs(1)[0]}, data={"k": ASKED_PRODUCTS}).raise_for_status()
        products = [hit["product_id"] for hit in found.json()["results"]]
        refusal = client.post(search, json={"vector": [1.0]}).json()["detail"]
        dimension = int(re.search(r"expected (\d+) numbers", refusal)[1])  # type: ignore[index]
        vectors = np.random.default_rng(0).normal(size=(ASKED_PRODUCTS, dimension)).round(4).tolist()
        photos = [client.get(f"/v1/products/{quote(product)}/image").content for product in products]
        asked = {
            "vector": [client.build_request("POST", search, json={"vector": vector, "k": K}) for vector in vectors],
            "product": [client.build_request("POST", search, json={"product_id": name, "k": K}) for name in products],
            "photo": [client.build_request("POST", search, files={"image": photo}, data={"k": K}) for photo in photos],
            "recommend": [client.build_request("GET", f"/v1/recommend/{quote(name)}?k={K}") for name in products],
        }
        for kind, requests in asked.items():
            answer = client.send(requests[0]).raise_for_status().json()
            if answer["partial"] or len(answer["results"]) != K:
                raise SystemExit(f"the service does not answer in full to a {kind}: {answer}")
    return {kind: [_raw(request) for request in requests] for kind, requests in asked.items()}


def load(url: str, question: str, requests: Sequence[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """One line of the table: `clients` at once, for so many seconds after the warm-up."""
    taken_s = asyncio.run(_clients(url, requests, clients, seconds))
    p50, p99 = 1000 * np.percentile(taken_s, [50, 99])
    return {
        "question": question,
        "clients": clients,
        "requests_per_s": len(taken_s) / seconds,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
    }


async def _clients(url: str, requests: Sequence[bytes], clients: int, seconds: float) -> list[float]:
    taken_s: list[float] = []
    warm = time.perf_counter() + WARM_UP_S
    host, port = urlsplit(url).hostname, urlsplit(url).port

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for turn in itertools.count(number * 7):
            started = time.perf_counter()
            if started > warm + seconds:
                break
            await _ask(reader, writer, requests[turn % len(requests)])
            if started > warm:
                taken_s.append(time.perf_counter() - started)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*[client(number) for number in range(clients)])
    return taken_s


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    """Send a request and read its answer: the least of HTTP, since the client shares the cores with the service."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length is None or not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"the service did not answer as it should: {head.decode()}")
    await reader.readexactly(int(length[1]))


def _raw(request: httpx.Request) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % header for header in request.headers.raw]
    return b"\r\n".join([*lines, b"", request.read()])


def _vector(raw: bytes) -> Any:
    return json.loads(raw.partition(b"\r\n\r\n")[2])


@contextlib.contextmanager
def own_service() -> Iterator[str]:
    """A service over generated pictures on a cluster of its own; yields its URL."""
    cpus = LOGICAL_CPUS_PER_CORE * (os.cpu_count() or 1)
    env = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(num_cpus=cpus, object_store_bytes=2**30, env=env) as cluster,
    ):
        store = Store(f"{folder}/store")
        save_encoder(store, Encoder(make_recipe("visnet-tiny")))
        table = Path(folder) / "products.parquet"
        pq.write_table(catalogue_rows(tiny_pngs(PRODUCTS)), table)
        for arguments in (
            ("catalog", "import", "table", str(table), "--name", "bench"),
            ("embed", "--catalog", "bench", "--fit"),
            ("index", "build", "--catalog", "bench", "--fit"),
            ("recommend", "--fit"),
            ("release", "create", "--promote"),
            ("serve", "--detach", "--fit", "--port", str(_free_port())),
        ):
            result = _visnet(store, cluster.address, *arguments)
        yield result["url"]


def _visnet(store: Store, address: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "visnet.platform", *arguments, "--json", "--store", store.location]
    environment = {**os.environ, "RAY_ADDRESS": address}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"visnet {' '.join(arguments)} failed:\n{finished.stderr}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


@contextlib.contextmanager
def no_op() -> Iterator[str]:
    """The bound, in a process of its own that ends with this one; yields its URL."""
    port = _free_port()
    with subprocess.Popen([sys.executable, __file__, "--no-op-port", str(port)], stdin=subprocess.PIPE) as process:
        try:
            while is_free(port):
                if process.poll() is not None:
                    raise SystemExit("the no-op server did not start")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def serve_no_op(port: int) -> None:
    """Read a body, answer {}; end when the benchmark does."""
    app = FastAPI()

    @app.post("/")
    async def answer(body: dict[str, Any]) -> dict[str, str]:
        return {}

    threading.Thread(target=lambda: sys.stdin.read() or os._exit(0), daemon=True).start()
    uvicorn.run(app, port=port, log_level="warning")


def _free_port() -> int:
    return next(port for port in range(18_300, 18_500) if is_free(port))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a service that runs; default: one of its own")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=2.5, help="measured for each kind and number of clients")
    parser.add_argument("--no-op-port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
