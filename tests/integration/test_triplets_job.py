"""The command on a real cluster gives the very files that the same stages give in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.catalog import open_catalog, write_catalog
from visnet.platform.imaging import encode_png
from visnet.platform.settings import TripletSettings
from visnet.platform.store import Store
from visnet.platform.triplets import read_triplets, triplet_paths
from visnet.train.triplets.generate import make_triplets, plan
from visnet.train.triplets.runner import InProcess

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240
COMMAND = "from visnet.train.triplets.cli import triplets; triplets()"
CLUSTER_FILE = "metadata: {visnet: {triplets: {image_size: 32, reference_size: 400}}}"


def shop(folder: Path) -> Store:
    """Two units of pictures in three categories, one broken, and photos of some."""
    random = np.random.default_rng(0)
    store = Store(str(folder))
    images = [encode_png(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)) for _ in range(700)]
    images[7] = b"broken"
    ids = [f"p{number:03d}" for number in range(len(images))]
    categories = [("a", "b", "c")[number % 3] for number in range(len(images))]
    rows = pa.table({"image_id": ids, "product_id": ids, "category": categories, "image": images})
    photos = pa.table(
        {
            "image_id": [f"photo{number}" for number in range(30)],
            "product_id": ids[:30],
            "category": categories[:30],
            "split": ["train"] * 30,
            "image": images[30:60],
        }
    )
    write_catalog(store, name="shop", version="1", source="test", batches=[rows], photos=[photos])
    return store


def run(store: Store, tmp_path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    cluster_file = tmp_path / "cluster.yaml"
    cluster_file.write_text(CLUSTER_FILE)
    arguments = ["--catalog", "shop", "--split", "train", "--street", "--fit", "--json", "--scorers", "color,texture"]
    where = ["--store", store.location, "--cluster-file", str(cluster_file)]
    return subprocess.run(
        [
            sys.executable,
            "-c",
            COMMAND,
            *arguments,
            *where,
            *options,
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_a_cluster_makes_the_files_that_one_process_makes(tmp_path: Path) -> None:
    store = shop(tmp_path / "cluster")
    ran = run(store, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(ran.stdout.splitlines()[-1])
    assert not result["reused"]
    assert len(result["contact_sheets"]) == 3

    here = shop(tmp_path / "here")
    catalog = open_catalog(here, "shop")
    settings = TripletSettings(image_size=32, reference_size=400, scorers=("color", "texture"))
    wanted = plan(catalog, split="train", where=None, street=True)
    manifest, _ = make_triplets(here, catalog, wanted, settings, InProcess())
    made = read_triplets(store, result["triplets"])
    assert manifest.triplets == made.triplets
    assert (manifest.counts, manifest.skipped, manifest.rows) == (made.counts, made.skipped, made.rows)
    pairs = zip(triplet_paths(store, made.triplets), triplet_paths(here, made.triplets), strict=True)
    assert all(Path(one).read_bytes() == Path(other).read_bytes() for one, other in pairs)

    again = run(store, tmp_path)
    assert json.loads(again.stdout.splitlines()[-1])["reused"], again.stderr


def test_wrong_scorers_are_refused_before_a_cluster_starts(tmp_path: Path) -> None:
    ran = run(shop(tmp_path / "store"), tmp_path, "--scorers", "deep,shape")
    assert ran.returncode == 1
    assert "unknown scorer 'shape': expected some of deep, color, texture" in ran.stderr
    assert "Ray cluster" not in ran.stderr
