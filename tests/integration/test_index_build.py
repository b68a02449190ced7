"""The command on a real cluster gives the very files that one process gives, also after it was killed on its way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.embedded_shop import Shop, embedded_shop, shop_rows
from visnet.platform.index_build import InProcess, build, index_id
from visnet.platform.manifest import finished
from visnet.platform.settings import IndexSettings
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
COMMAND = "from visnet.batch.index_cli import index; index()"
SHARDS = 20
QUARANTINED = frozenset({"i3", "i77", "i78"})


def shop(folder: Path) -> Shop:
    """3,000 images in twelve parts."""
    rows = shop_rows(3_000, copies=2)
    return embedded_shop(Store(str(folder)), rows, dimension=16, per_part=250, quarantined=QUARANTINED, clusters=30)


def start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    where = ["build", "--catalog", "shop", "--encoder", "e", "--store", str(folder), "--json"]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *where, *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, out + err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def files(store: Store, index: str) -> dict[str, bytes]:
    root = Path(store.path(f"indexes/{index}"))
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    del found["manifest.json"]
    return found


def test_a_cluster_makes_the_files_that_one_process_makes_even_after_a_kill(tmp_path: Path) -> None:
    settings = IndexSettings(shards=SHARDS)
    on_cluster, here = shop(tmp_path / "cluster"), shop(tmp_path / "here")
    store, index = on_cluster.sources.store, index_id(on_cluster.sources, settings)

    killed = start(tmp_path / "cluster", "--shards", str(SHARDS))
    deadline = time.monotonic() + TIMEOUT_S
    while not store.names(f"indexes/{index}"):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert finished(store, "indexes") == []

    result = end(start(tmp_path / "cluster", "--shards", str(SHARDS)))
    made = build(here.sources, settings, InProcess())
    assert (result["index"], result["reused"], result["kind"]) == (index, False, "exact")
    assert (result["rows"], result["products"], result["shard_rows"]) == (2_997, made.products, made.shard_rows)
    assert files(store, index) == files(here.sources.store, index)
    folders = [Path(store.path(f"indexes/{index}/shard-{shard:04d}")) for shard in range(SHARDS)]
    ids = pa.concat_tables([pa.ipc.open_file(folder / "rows.arrow").read_all() for folder in folders])["image_id"]
    assert sorted(ids.to_pylist()) == sorted({f"i{n}" for n in range(3_000)} - QUARANTINED)


def test_an_approximate_index_on_a_cluster(tmp_path: Path) -> None:
    here = shop(tmp_path)
    wanted = ["--shards", "2", "--kind", "ivf-pq", "--nlist", "12", "--nprobe", "1", "--refine", "1"]
    result = end(start(tmp_path, *wanted, "--min-ann-recall", "0.25"))
    settings = IndexSettings(shards=2, kind="ivf-pq", nlist=12, nprobe=1, refine=1, min_ann_recall=0.25)
    assert result["index"] == index_id(here.sources, settings)
    on_cluster = files(here.sources.store, result["index"])
    made = build(here.sources, settings, InProcess())
    assert result["ann_recall_at_k"] == pytest.approx(made.ann_recall_at_k, abs=0.01)
    assert sorted(on_cluster) == sorted(files(here.sources.store, made.index))
    assert sum(name.endswith("ann.faiss") for name in on_cluster) == 2
    assert made.ann_recall_at_k is not None
    assert 0.25 <= made.ann_recall_at_k < 1
