"""The command on a real cluster gives the very files that one process gives, whoever is killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recommend_shop import shop, write_index
from visnet.batch.recommend import run_pass
from visnet.batch.recommend_runner import InProcess
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.settings import RecommendSettings
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
PRODUCTS, UNIT = 3_000, 60
SETTINGS = RecommendSettings(
    k=5, batch_size=32, unit_products=UNIT, gpus_per_shard=0.0, same_category=True, diversity=0.3, price_band=0.5
)
COMMAND = "from visnet.batch.recommend_cli import recommend; recommend()"
CLUSTER_FILE = f"metadata: {{visnet: {{recommend: {{batch_size: 32, unit_products: {UNIT}, gpus_per_shard: 0.0}}}}}}"
OPTIONS = ("--k", "5", "--same-category", "--diversity", "0.3", "--price-band", "0.5")
MARK = f"VISNET_TEST={uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    name, _, value = MARK.partition("=")
    with LocalCluster(num_cpus=4, object_store_bytes=200 * 2**20, env={name: value}) as running:
        yield running


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return shop(PRODUCTS)


@pytest.fixture(scope="module")
def wanted(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The parts as this process makes them, undisturbed."""
    store = Store(str(tmp_path_factory.mktemp("here")))
    index = write_index(store, rows, shards=2)
    manifest, _ = run_pass(store, index, SETTINGS, InProcess(store, index, SETTINGS), started=time.monotonic())
    assert manifest.products == PRODUCTS
    return parts(store)


def parts(store: Store) -> dict[str, bytes]:
    folder = Path(store.path("recommendations"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/shard-*/*.arrow")}


def start(store: Store, cluster: LocalCluster | None, tmp_path: Path, *options: str) -> "subprocess.Popen[str]":
    cluster_file = tmp_path / "cluster.yaml"
    cluster_file.write_text(CLUSTER_FILE)
    where = ["--store", store.location, "--cluster-file", str(cluster_file), "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *OPTIONS, *where, *options],
        cwd=ROOT,
        env=environment | ({"RAY_ADDRESS": cluster.address} if cluster else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(running: "subprocess.Popen[str]") -> dict[str, Any]:
    output, errors = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0, output + errors
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def wait_for_parts(store: Store, count: int, running: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while len(parts(store)) < count:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers(title: bytes) -> list[int]:
    """The processes of this test's cluster that bear a title."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = MARK.encode() in (process / "environ").read_bytes()
            if ours and (process / "cmdline").read_bytes().startswith(title):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_workers_that_die_cost_only_time(
    cluster: LocalCluster, rows: list[dict[str, Any]], wanted: dict[str, bytes], tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "store"))
    write_index(store, rows, shards=2)
    running = start(store, cluster, tmp_path)
    wait_for_parts(store, 5, running)
    for title in (b"ray::ShardActor", b"ray::write_unit"):
        os.kill(workers(title)[0], signal.SIGKILL)
    assert len(parts(store)) < len(wanted), "killed too late to be in the middle"
    result = finish(running)
    assert (result["products"], result["computed"], result["reused"]) == (PRODUCTS, PRODUCTS, False)
    assert parts(store) == wanted


def test_a_killed_driver_goes_on_where_it_was(
    cluster: LocalCluster, rows: list[dict[str, Any]], wanted: dict[str, bytes], tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "store"))
    write_index(store, rows, shards=2)
    running = start(store, cluster, tmp_path)
    wait_for_parts(store, 5, running)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert len(parts(store)) < len(wanted), "killed too late to be in the middle"
    result = finish(start(store, cluster, tmp_path))
    assert 0 < result["computed"] <= PRODUCTS - 5 * UNIT + UNIT  # a shard's last unit is smaller
    assert parts(store) == wanted
    assert finish(start(store, cluster, tmp_path))["reused"]


def test_a_wrong_rule_is_refused_before_a_cluster_starts(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    write_index(store, shop(5))
    running = start(store, None, tmp_path, "--in-stock", "stok")
    _, errors = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 1
    assert "in_stock: there is no attribute 'stok'; attributes of true and false or numbers: price, stock" in errors
    assert "Ray cluster" not in errors
