"""The training job on a real cluster: what a kill costs, and that a finished run is not repeated."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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
TIMEOUT_S = 180


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(num_cpus=6, object_store_bytes=200 * 2**20) as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Store:
    random = np.random.default_rng(0)
    store = Store(str(tmp_path_factory.mktemp("store")))
    images = [encode_png(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(256)]
    images[7] = b"broken"
    ids = [f"p{number:03d}" for number in range(len(images))]
    rows = pa.table({"image_id": ids, "product_id": ids, "category": ["a", "b"] * 128, "image": images})
    write_catalog(store, name="shop", version="1", source="test", batches=[rows])
    return store


def train(cluster: LocalCluster, store: Store, *options: str) -> subprocess.Popen[str]:
    arguments = ["--catalog", "shop", "--store", store.location, "--fit", "--json", "--workers", "2"]
    sizes = ["--batch-size", "64", "--steps", str(STEPS), "--checkpoint-every-steps", str(EVERY)]
    return subprocess.Popen(
        [sys.executable, "-m", "visnet.train", *arguments, *sizes, *options],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": cluster.address, "RAY_DEDUP_LOGS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def registered(store: Store) -> bool:
    """Whether Ray Train has noted a checkpoint of the run: from then on a restart finds it."""
    snapshots = [f"training/{run}/checkpoint_manager_snapshot.json" for run in store.names("training")]
    return any(store.exists(name) and b"checkpoint_2" in store.read(name) for name in snapshots)


def test_a_killed_run_goes_on_from_its_last_checkpoint_and_a_finished_one_is_not_repeated(
    cluster: LocalCluster, shop: Store
) -> None:
    killed = train(cluster, shop)
    deadline = time.monotonic() + TIMEOUT_S
    while not registered(shop):
        assert killed.poll() is None, killed.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert shop.names("encoders") == []

    output, _ = (again := train(cluster, shop)).communicate(timeout=TIMEOUT_S)
    assert again.returncode == 0, output
    assert "going on from the checkpoint at step" in output, output
    result = json.loads(output.splitlines()[-1])
    steps = [entry["step"] for entry in result["history"]]
    assert steps == list(range(EVERY, STEPS + 1, EVERY))  # one curve, with what was before the kill
    assert not shop.names("training")  # the checkpoints have served their purpose
    load_encoder(shop, result["encoder"])

    output, _ = train(cluster, shop).communicate(timeout=TIMEOUT_S)
    repeated = json.loads(output.splitlines()[-1])
    assert repeated["reused"]
    assert repeated["encoder"] == result["encoder"]


def test_workers_that_leave_no_cpu_for_the_data_are_refused(cluster: LocalCluster, shop: Store) -> None:
    output, _ = (refused := train(cluster, shop, "--workers", "6", "--seed", "1")).communicate(timeout=TIMEOUT_S)
    assert refused.returncode == 1
    assert "lower train.workers" in output
