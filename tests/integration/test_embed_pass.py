"""The catalogue pass on a real cluster: what a kill costs, that it grows with the cluster, and what comes of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import open_catalog, write_catalog
from visnet.platform.embeddings import embeddings_directory, vector_matrix
from visnet.platform.encoder import Encoder, load_encoder, save_encoder
from visnet.platform.encoder_manifest import newest_encoder
from visnet.platform.imaging import encode_png
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.networks import make_recipe
from visnet.platform.process_session import family
from visnet.platform.settings import EmbedSettings
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240
SIZES = {"unit_rows": 32, "batch_size": 32}
IMAGES, KINDS, BROKEN = 2_500, 2_000, 3
UNITS = -(-(KINDS + 1) // SIZES["unit_rows"])
ACCOUNT = {"images": IMAGES, "embedded": KINDS, "vectors_reused": IMAGES - KINDS - BROKEN, "quarantined": BROKEN}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(num_cpus=4, object_store_bytes=200 * 2**20) as running:
        yield running


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    dice = np.random.default_rng(0)
    kinds = [encode_png(dice.integers(0, 255, (48, 48, 3), dtype=np.uint8)) for _ in range(KINDS)]
    chosen = [kinds[number % KINDS] for number in range(IMAGES)]
    for number in range(BROKEN):
        chosen[10 * number] = b"broken"
    return chosen


def shop(folder: Path, pictures: list[bytes], weights: Path | None = None) -> tuple[Store, str]:
    """A shop with some pictures twice and some broken, and a network that takes its time."""
    store = Store(str(folder))
    if weights is None:
        save_encoder(store, Encoder(make_recipe("visnet-tiny", width=48, image_size=64, dimension=16)))
    else:
        (folder / "encoders").parent.mkdir(parents=True, exist_ok=True)
        (folder / "encoders").symlink_to(weights)
    ids = [f"p{number:04d}" for number in range(len(pictures))]
    rows = pa.table({"image_id": ids, "product_id": ids, "category": ["a"] * len(ids), "image": pictures})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog_module, "ROWS_PER_PART", 200)
        batches = (rows.slice(first, 200) for first in range(0, len(rows), 200))
        write_catalog(store, name="shop", version="1", source="test", batches=batches)
    return store, newest_encoder(store).encoder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pictures: list[bytes]) -> tuple[Path, dict[str, bytes]]:
    """The encoders' folder, and the files that one process makes."""
    store, encoder = shop(tmp_path_factory.mktemp("undisturbed"), pictures)
    settings = EmbedSettings(gpus_per_actor=0, **SIZES)
    manifest, _ = embed(store, open_catalog(store, "shop"), encoder, settings, InProcess())
    assert (manifest.images, manifest.quarantined) == (IMAGES, BROKEN)
    return Path(store.path("encoders")), files_of(store, encoder)


def files_of(store: Store, encoder: str) -> dict[str, bytes]:
    folder = Path(store.path(embeddings_directory(encoder, "shop", "1")))
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def start(cluster: LocalCluster, store: Store, tmp_path: Path, *options: str, **settings: Any) -> subprocess.Popen[str]:
    cluster_file = tmp_path / "cluster.yaml"
    cluster_file.write_text(json.dumps({"metadata": {"visnet": {"embed": {**SIZES, **settings}}}}))
    arguments = ["embed", "--catalog", "shop", "--store", store.location, "--json", "--cluster-file", str(cluster_file)]
    return subprocess.Popen(
        [sys.executable, "-m", "visnet.batch", *arguments, *options],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(running: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0, output
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def until(condition: Callable[[], bool], running: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert running.poll() is None, f"{what}: {running.communicate()[0]}"
        assert time.monotonic() < deadline, f"{what}: not in time"
        time.sleep(0.05)


def units(store: Store) -> set[str]:
    return {path.name for path in Path(store.location).glob("work/embeddings/*/shop-1/units/*.parquet")}


def workers(cluster: LocalCluster, of: str) -> list[int]:
    """Processes in which actors of a pass run."""
    found = []
    for pid in cluster.processes():
        try:
            if f"MapWorker(MapBatches({of}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            pass
    return found


class Node:
    """Another node for a cluster, with two CPUs and a pretended GPU."""

    def __init__(self, cluster: LocalCluster) -> None:
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--block"]
        sizes = ["--num-cpus=2", "--num-gpus=1", f"--object-store-memory={200 * 2**20}"]
        marks = {"VISNET_CLUSTER": str(cluster.directory), "VISNET_NODE": "second"}
        self._process = subprocess.Popen(
            [*start, *sizes],
            env={**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT), **marks},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        for pid in family(self._process.pid, "VISNET_NODE=second"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(30)


def test_killed_drivers_and_workers_cost_nothing_but_their_units(
    cluster: LocalCluster, undisturbed: tuple[Path, dict[str, bytes]], pictures: list[bytes], tmp_path: Path
) -> None:
    weights, wanted = undisturbed
    store, encoder = shop(tmp_path / "store", pictures, weights)
    running = start(cluster, store, tmp_path, "--actors", "2", "--gpus-per-actor", "0")
    until(lambda: len(units(store)) >= 3, running, "the first units")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    time.sleep(1)  # its actors end
    before = units(store)
    assert 3 <= len(before) < UNITS
    stamps = {name: next(Path(store.location).rglob(name)).stat().st_mtime_ns for name in before}
    running = start(cluster, store, tmp_path, "--actors", "2", "--gpus-per-actor", "0")
    until(lambda: len(units(store)) >= len(before) + 3, running, "further units")
    killed = workers(cluster, "EmbedUnits")[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(units(store)) >= len(before) + 8, running, "units after a worker's death")
    assert {name: next(Path(store.location).rglob(name)).stat().st_mtime_ns for name in before} == stamps
    result = finish(running)
    assert result.items() >= ACCOUNT.items()
    assert files_of(store, encoder) == wanted
    read = [pq.ParquetFile(path) for path in Path(store.location).glob("embeddings/*/shop-1/part-*.parquet")]
    ids = [image for file in read for image in file.read(columns=["image_id"])["image_id"].to_pylist()]
    assert len(ids) == len(set(ids)) == IMAGES - BROKEN
    again = start(cluster, store, tmp_path, "--actors", "2", "--gpus-per-actor", "0")
    assert finish(again)["reused"]


def test_grows_with_the_cluster_and_goes_on_when_a_node_is_lost(tmp_path: Path) -> None:
    """GPUs are pretended: a pass that wants three starts with one, gets another one's node, and loses that again."""
    dice = np.random.default_rng(1)
    many = [encode_png(dice.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(6_000)]
    store, encoder = shop(tmp_path / "store", many)
    with LocalCluster(num_cpus=3, num_gpus=1, object_store_bytes=200 * 2**20) as small:
        running = start(small, store, tmp_path, "--actors", "3", "--gpus-per-actor", "1", cpus_per_actor=0)
        until(lambda: len(units(store)) >= 1, running, "the first unit")
        assert len(workers(small, "EncodeUnits")) == 1
        node = Node(small)
        try:
            until(lambda: len(workers(small, "EncodeUnits")) == 2, running, "an actor on the second node")
            done = len(units(store))
            until(lambda: len(units(store)) >= done + 4, running, "units of both")
            node.kill()
            result = finish(running)
        finally:
            node.kill()
    assert (result["embedded"], result["vectors_reused"], result["quarantined"]) == (len(many), 0, 0)
    parts = sorted(Path(store.location).glob("embeddings/*/shop-1/part-*.parquet"))
    table = pa.concat_tables(pq.ParquetFile(path).read() for path in parts)
    assert table["image_id"].to_pylist() == [f"p{number:04d}" for number in range(len(many))]
    some = dice.choice(len(many), 50, replace=False)
    wanted_ND = load_encoder(store, encoder).encode([many[number] for number in some])
    assert np.allclose(vector_matrix(table["vector"])[some], wanted_ND, atol=1e-3)
