"""The detector's training job on a real cluster, from labelled photos: two workers, both kinds of detector, and what is
said where there is nothing to learn from. (Composed scenes go through the same job in tests/e2e/test_whole_loop.py.)"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from visnet.platform.catalog import write_catalog
from visnet.platform.detector import load_detector
from visnet.platform.imaging import encode_png
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

ROOT = Path(__file__).parents[2]
PHOTOS = 40
TRAINING = (
    *("detector", "train", "--catalog", "shop", "--workers", "2", "--batch-size", "8", "--fit"),
    *("--set", "validation_scenes=10", "--set", "validation_share=0.25", "--set", "warmup_steps=2"),
)
ALONE = ("--labelled", "shelf", "--set", "labelled_share=1")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, str]]]:
    """Products whose pictures have no plain background, and labelled photos."""
    folder = tmp_path_factory.mktemp("photos")
    store = Store(str(tmp_path_factory.mktemp("store")))
    random = np.random.default_rng(0)
    noise = [encode_png(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(12)]
    rows = pa.table(
        {
            "image_id": [f"i{number}" for number in range(12)],
            "product_id": [f"p{number}" for number in range(12)],
            "category": ["bag", "shoe"] * 6,
            "image": noise,
        }
    )
    write_catalog(store, name="shop", version="1", source="made", batches=[rows])
    (folder / "shelf.json").write_text(json.dumps(draw_photos(folder, random)))
    with LocalCluster(num_cpus=6, object_store_bytes=200 * 2**20) as cluster:
        environment = {**os.environ, "RAY_ADDRESS": cluster.address}
        imported = visnet(environment, store, "detector", "import", "shelf", f"{folder}/shelf.json", "--images", folder)
        assert (imported["photos"], imported["boxes"], imported["categories"]) == (
            PHOTOS,
            PHOTOS,
            {"bag": 20, "shoe": 20},
        )
        yield store, environment


def draw_photos(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    """Photos of one dark rectangle each, wide for shoes and high for bags, as COCO describes them."""
    images, annotations = [], []
    for number in range(PHOTOS):
        width, height = (24, 40) if number % 2 else (40, 24)
        left, top = int(random.integers(0, 96 - width)), int(random.integers(0, 72 - height))
        photo = random.integers(150, 256, (72, 96, 3), dtype=np.uint8)
        photo[top : top + height, left : left + width] = random.integers(0, 90, 3)
        Image.fromarray(photo).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 72})
        box = [left, top, width, height]
        annotations.append({"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": box})
    categories = [{"id": 1, "name": "shoe"}, {"id": 2, "name": "bag"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def visnet(environment: dict[str, str], store: Store, *arguments: object, status: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "visnet.platform", *map(str, arguments), "--json", "--store", store.location]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == status, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1]) if status == 0 else {"error": finished.stderr}


def test_two_workers_learn_from_labelled_photos_alone(shop: tuple[Store, dict[str, str]]) -> None:
    store, environment = shop
    command = (*TRAINING, *ALONE, "--recipe-option", "image_size=96", "--steps", "90", "--learning-rate", "0.003")
    further = ("--set", "freeze_steps=0", "--set", "validate_every_steps=30")
    made = visnet(environment, store, *command, *further)
    assert made["worlds"] == [[0, 2]]
    assert [entry["step"] for entry in made["validations"]] == [30, 60, 90]
    assert made["held_out"]["items"] > 3
    assert made["held_out"]["found_ap50"] > 0.5
    detector = load_detector(store, made["detector"])
    assert (detector.classes, 0 < detector.min_confidence < 1) == (["bag", "shoe"], True)
    again = visnet(environment, store, *command, *further)
    assert (again["reused"], again["detector"]) == (True, made["detector"])


def test_faster_rcnn_goes_through_the_same_job(shop: tuple[Store, dict[str, str]]) -> None:
    store, environment = shop
    options = ("trunk=tf_efficientnet_lite0", "image_size=64", "channels=32")
    recipe = ("--recipe", "faster-rcnn", *(word for option in options for word in ("--recipe-option", option)))
    made = visnet(environment, store, *TRAINING, *ALONE, *recipe, "--steps", "4", "--classes", "product")
    assert made["detector"].startswith("faster-rcnn-")
    assert made["steps"] == 4
    assert made["history"][-1]["loss"] > 0


def test_without_plain_backgrounds_and_without_boxes_it_is_said_what_to_do(shop: tuple[Store, dict[str, str]]) -> None:
    store, environment = shop
    failed = visnet(environment, store, *TRAINING, "--steps", "4", status=1)
    assert "plain background" in failed["error"]
    assert "visnet detector import" in failed["error"]
