"""The fold by its own command on a real cluster: written to and killed all the while, it loses and repeats nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.folding import first_release, vectors_of, write_live
from tests.journals import opened
from visnet.platform.catalog import Catalog, open_catalog, write_catalog
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.imaging import content_hash, encode_png
from visnet.platform.index import load_shard, read_index
from visnet.platform.journal import Delete, Journal, Upsert
from visnet.platform.journal_place import journal_place
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.networks import make_recipe
from visnet.platform.recommendations import Neighbours
from visnet.platform.release import current_release
from visnet.platform.settings import RecommendSettings
from visnet.platform.store import Store

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240
PRODUCTS, SHARDS, KILLS = 120, 3, 4
SETTINGS = {
    "embed": {"gpus_per_actor": 0, "cpus_per_actor": 1, "actors": 1},
    "index": {"shards": SHARDS},
    "recommend": {"gpus_per_shard": 0.0, "cpus_per_shard": 0.1},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(num_cpus=4, object_store_bytes=200 * 2**20) as running:
        yield running


@pytest.fixture
def shop(store: Store) -> tuple[Store, str]:
    """A shop whose first release is current, and its encoder."""
    encoder = save_encoder(store, Encoder(make_recipe("visnet-tiny", width=8, image_size=32, dimension=16))).encoder
    ids = [f"p{n}" for n in range(PRODUCTS)]
    pictures = pa.array([picture(n) for n in range(PRODUCTS)], pa.binary())
    rows = {
        "image_id": ids,
        "product_id": ids,
        "category": ["shoes"] * PRODUCTS,
        "image": pictures,
        "price": [1.0] * PRODUCTS,
    }
    catalog = write_catalog(store, name="shop", version="1", source="test", batches=[pa.table(rows)])
    first_release(store, catalog, encoder, RecommendSettings(k=4, gpus_per_shard=0.0))
    return store, encoder


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8))


class Writer(threading.Thread):
    """Writes products, and deletes them, until it is told to end; keeps what the shop is after every entry."""

    def __init__(self, store: Store, encoder: str, journal: Journal) -> None:
        super().__init__(daemon=True)
        self._store, self._encoder, self._journal = store, encoder, journal
        self._ended = threading.Event()
        self.shops: list[dict[str, tuple[str, ...]]] = [{f"p{n}": (content_hash(picture(n)),) for n in range(PRODUCTS)}]
        self.vectors: dict[str, np.ndarray] = {}

    def run(self) -> None:
        dice = random.Random(0)
        while not self._ended.is_set():
            self.write(f"p{dice.randrange(2 * PRODUCTS)}", dice)
            time.sleep(0.02)

    def write(self, product: str, dice: random.Random) -> None:
        shop = dict(self.shops[-1])
        if dice.random() < 0.4:
            self._journal.append([Delete(product_id=product)], images={}, vectors={})
            shop.pop(product, None)
        else:
            pictures = [picture(dice.randrange(1_000, 9_000)) for _ in range(dice.randint(1, 2))]
            self.vectors |= write_live(self._store, self._journal, self._encoder, product, *pictures, price=2)
            shop[product] = tuple(content_hash(data) for data in pictures)
        self.shops.append(shop)

    def end(self) -> None:
        self._ended.set()
        self.join()


def start(cluster: LocalCluster, store: Store) -> subprocess.Popen[str]:
    file = Path(store.path("cluster.yaml"))
    file.write_text(json.dumps({"metadata": {"visnet": SETTINGS}}))
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "visnet.batch",
            "fold",
            "--store",
            store.location,
            "--json",
            "--cluster-file",
            str(file),
        ],
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


def reached(store: Store) -> int:
    """How many steps of the first fold are done."""
    kinds = ("work/folds/shop", "catalogs/shop", "indexes", "recommendations", "releases")
    return sum(len(list(Path(store.path(kind)).glob("*"))) for kind in kinds)


def contents(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in catalog.read(["product_id", "content_hash"]).to_pylist():
        found[row["product_id"]] = (*found.get(row["product_id"], ()), row["content_hash"])
    return found


def test_written_to_and_killed_all_the_while(cluster: LocalCluster, shop: tuple[Store, str]) -> None:
    store, encoder = shop
    place = journal_place(store, None)
    assert place is not None
    before = vectors_of(store, encoder, open_catalog(store, "shop"))
    with opened(place) as journal:
        writer = Writer(store, encoder, journal)
        dice = random.Random(1)
        for number in range(80):
            writer.write(f"p{number}", dice)
        writer.start()
        try:
            for _ in range(KILLS):
                running, done = start(cluster, store), reached(store)
                until = time.monotonic() + TIMEOUT_S
                while reached(store) <= done and running.poll() is None and time.monotonic() < until:
                    time.sleep(0.005)
                os.killpg(running.pid, signal.SIGKILL)
                running.communicate()
            result = finish(start(cluster, store))
        finally:
            writer.end()
        folded = result["journal_sequence"]
        assert 80 <= folded < journal.head() == len(writer.shops) - 1
        assert journal.head() - folded >= result["since"] > 0
        catalog = open_catalog(store, "shop")
        assert contents(catalog) == writer.shops[folded]
        found = vectors_of(store, encoder, catalog)
        assert result["embedded"] == 0
        for key, vector_D in {**before, **writer.vectors}.items():
            if key in found:
                assert found[key].tobytes() == vector_D.tobytes()
        assert contents_served(store, journal) == writer.shops[-1]
        again = finish(start(cluster, store))
        assert again["journal_sequence"] == journal.head()
        assert contents(open_catalog(store, "shop")) == writer.shops[-1]
        assert finish(start(cluster, store)) == {
            "release": again["release"], "entries": 0, "promoted": False, "reused": True
        }  # fmt: skip


def contents_served(store: Store, journal: Journal) -> dict[str, tuple[str, ...]]:
    """What the current release and the journal come to: the index, and behind it what it does not hold yet."""
    release = current_release(store)
    index = read_index(store, release.index)
    assert index.shards == SHARDS
    found: dict[str, tuple[str, ...]] = {}
    for number in range(index.shards):
        shard = load_shard(store, index.index, number)
        for row in shard.rows.sort_by("image_id").to_pylist():
            found[row["product_id"]] = (*found.get(row["product_id"], ()), row["content_hash"])
        neighbours = Neighbours(store, release.recommendations, number)
        assert all(neighbours.of(product) for product in set(shard.rows["product_id"].to_pylist()))
    for entry in journal.latest(index.journal_sequence):
        found.pop(entry.write.product_id, None)
        if isinstance(entry.write, Upsert):
            found[entry.write.product_id] = tuple(image.content_hash for image in entry.write.images)
    return found
