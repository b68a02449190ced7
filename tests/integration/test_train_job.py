"""The training job on a real cluster: what a kill costs, that it grows with the cluster, and what comes of it."""

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
import pytest

from visnet.platform.catalog import write_catalog
from visnet.platform.encoder import load_encoder
from visnet.platform.imaging import encode_png
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

ROOT = Path(__file__).parents[2]
EVERY, STEPS = 10, 100
TIMEOUT_S = 300
SIZES = ("--batch-size", "64", "--steps", str(STEPS), "--checkpoint-every-steps", str(EVERY))
PATIENT = ("--set", "patience=0", "--set", "validate_every_steps=20", "--set", "validation_share=0.1")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(num_cpus=6, object_store_bytes=200 * 2**20) as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Pictures of 256 products, one of them broken; three photos of each of the first 64, one of them broken."""
    random = np.random.default_rng(0)
    store = Store(str(tmp_path_factory.mktemp("store")))
    images = [encode_png(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(256)]
    photos = [images[number % 64] for number in range(192)]
    images[7] = photos[9] = b"broken"
    ids = [f"p{number:03d}" for number in range(256)]
    rows = pa.table({"image_id": ids, "product_id": ids, "category": ["a", "b"] * 128, "image": images})
    street = pa.table(
        {
            "image_id": [f"street-{number}" for number in range(192)],
            "product_id": [f"p{number % 64:03d}" for number in range(192)],
            "category": ["a", "b"] * 96,
            "split": ["train"] * 192,
            "image": photos,
        }
    )
    write_catalog(store, name="shop", version="1", source="test", batches=[rows])
    write_catalog(store, name="street", version="1", source="test", batches=[rows], photos=[street])
    return store


def train(cluster: LocalCluster, store: Store, *options: str) -> subprocess.Popen[str]:
    arguments = ["--store", store.location, "--fit", "--json", "--workers", "2", *SIZES, *PATIENT]
    return subprocess.Popen(
        [sys.executable, "-m", "visnet.train", *arguments, *options],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": cluster.address, "RAY_DEDUP_LOGS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(running: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    output, _ = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0, output
    return json.loads(output.splitlines()[-1]), output


def registered(store: Store) -> bool:
    """Whether Ray Train has noted a checkpoint of the run: from then on a restart finds it."""
    snapshots = [f"training/{run}/checkpoint_manager_snapshot.json" for run in store.names("training")]
    return any(store.exists(name) and b"checkpoint_2" in store.read(name) for name in snapshots)


def until(condition: Callable[[], bool], running: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline, f"{what}: not in time"
        time.sleep(0.2)


def worker_processes(cluster: LocalCluster) -> list[int]:
    def title(pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    return [pid for pid in cluster.processes() if title(pid).startswith(b"ray::RayTrainWorker")]


def one_curve(result: dict[str, Any]) -> list[int]:
    return [int(entry["step"]) for entry in result["history"]]


def test_a_killed_run_goes_on_from_its_last_checkpoint_and_a_finished_one_is_not_repeated(
    cluster: LocalCluster, shop: Store
) -> None:
    killed = train(cluster, shop, "--catalog", "shop")
    until(lambda: registered(shop), killed, "a checkpoint")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert shop.names("encoders") == []

    result, output = finish(train(cluster, shop, "--catalog", "shop"))
    assert "going on from the checkpoint at step" in output, output
    assert one_curve(result) == list(range(EVERY, STEPS + 1, EVERY))  # with what was before the kill
    assert not shop.names("training")  # the checkpoints have served their purpose
    load_encoder(shop, result["encoder"])

    repeated, _ = finish(train(cluster, shop, "--catalog", "shop"))
    assert repeated["reused"]
    assert repeated["encoder"] == result["encoder"]


def test_a_killed_worker_costs_no_more_than_the_steps_since_the_last_checkpoint(
    cluster: LocalCluster, shop: Store
) -> None:
    """On street photos, one of them broken, with mined negatives: the job itself goes on."""
    running = train(cluster, shop, "--catalog", "street", "--split", "train", "--set", "mine_every_steps=25")
    until(lambda: registered(shop), running, "a checkpoint")
    os.kill(worker_processes(cluster)[-1], signal.SIGKILL)
    result, output = finish(running)

    (start, again) = result["worlds"]
    assert start == [0, 2]
    assert again[0] >= EVERY
    assert again[0] % EVERY == 0
    assert again[1] == 2
    assert one_curve(result) == list(range(EVERY, STEPS + 1, EVERY))
    assert result["best_validation_recall"] > 0.2  # the photos are copies of the pictures; by chance 1 in 256
    assert [entry["step"] for entry in result["validations"]] == list(range(20, STEPS + 1, 20))
    assert "not trained on" in output
    names = shop.names(f"encoders/{result['encoder']}/tensorboard")
    assert len(names) == 2  # one of each start


def test_workers_that_leave_no_cpu_for_the_data_are_refused(cluster: LocalCluster, shop: Store) -> None:
    refused = train(cluster, shop, "--catalog", "shop", "--workers", "6", "--seed", "1")
    output, _ = refused.communicate(timeout=TIMEOUT_S)
    assert refused.returncode == 1
    assert "lower train.workers" in output


def test_a_training_that_can_not_succeed_is_given_up_at_once(cluster: LocalCluster, shop: Store) -> None:
    hopeless = ("--learning-rate", "1e30", "--set", "warmup_steps=0", "--seed", "3")
    running = train(cluster, shop, "--catalog", "shop", *hopeless)
    output, _ = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 1
    assert "given up: " in output, output
    assert "lower train.learning_rate" in output or "Lower train.learning_rate" in output
    assert output.count("Started training worker group") == 1  # no restart


def test_an_elastic_training_starts_with_what_there_is_and_grows_with_the_cluster(shop: Store) -> None:
    """GPUs are pretended: two nodes with one each, the second coming while training runs."""
    with LocalCluster(num_cpus=3, num_gpus=1, object_store_bytes=200 * 2**20) as small:
        elastic = ("--min-workers", "1", "--gpus-per-worker", "1", "--set", "backend=gloo")
        longer = ("--steps", "400", "--set", "elastic_check_s=2", "--seed", "2")
        running = train(small, shop, "--catalog", "shop", *elastic, *longer)
        until(lambda: registered(shop), running, "a checkpoint")
        assert len(worker_processes(small)) == 1
        node = join(small)
        try:
            result, output = finish(running)
        finally:
            node.terminate()
            node.wait(30)
    assert [workers for _, workers in result["worlds"]][:2] == [1, 2], output
    assert one_curve(result) == list(range(EVERY, 400 + 1, EVERY))


def join(cluster: LocalCluster) -> subprocess.Popen[bytes]:
    """Another node for a cluster, with two CPUs and a pretended GPU."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--block"]
    sizes = ["--num-cpus=2", "--num-gpus=1", f"--object-store-memory={200 * 2**20}"]
    mark = {"VISNET_CLUSTER": str(cluster.directory)}  # it ends with the cluster
    return subprocess.Popen(
        [*start, *sizes],
        env={**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT), **mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
