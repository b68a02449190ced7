"""The whole loop, small, by the commands a user has: import, train and serve (as submitted jobs), embed, index,
recommend, release, and questions over HTTP, good and bad."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from tests.ports import free_port
from visnet.platform.boxes import overlaps
from visnet.platform.client.models import SearchAnswer
from visnet.platform.cutouts import cut_out
from visnet.platform.imaging import encode_png
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.scenes import Scene, SceneSettings, compose
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

ROOT = Path(__file__).parents[2]
CATEGORIES = ("bags", "coats", "shoes")
PER_CATEGORY = 60
BROKEN = "coats/broken.png"
DETECTOR = (
    *("--recipe-option", "image_size=96", "--steps", "70", "--batch-size", "16", "--learning-rate", "0.004"),
    *("--set", "freeze_steps=0", "--set", "warmup_steps=5", "--set", "validation_scenes=40", "--set", "most_items=3"),
)


@dataclass(frozen=True)
class Shop:
    """A served catalogue."""

    client: httpx.Client
    store: Store
    results: dict[str, dict[str, Any]]
    """What each command said, by its name."""
    folder: Path
    environment: dict[str, str]
    port: int

    def command(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        return visnet(self.environment, self.store, *arguments, status=status)


def visnet(environment: dict[str, str], store: Store, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Run a command and return its last line."""
    command = [sys.executable, "-m", "visnet.platform", *arguments, "--json", "--store", store.location]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == status, f"{arguments}: {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1]) if status == 0 else {"error": finished.stderr}
    return result


def draw_catalogue(folder: Path) -> None:
    """Products on a plain background: a shape per category, a colour and a size of its own; one file is broken."""
    random = np.random.default_rng(0)
    for category in CATEGORIES:
        (folder / category).mkdir(parents=True)
        for number in range(PER_CATEGORY):
            image = Image.new("RGB", (48, 48), "white")
            draw = ImageDraw.Draw(image)
            colour = tuple(int(value) for value in random.integers(0, 200, 3))
            left, top = (int(value) for value in random.integers(4, 16, 2))
            box = (left, top, 47 - left, 47 - top)
            match category:
                case "bags":
                    draw.rectangle(box, fill=colour)
                case "coats":
                    draw.ellipse(box, fill=colour)
                case _:
                    draw.polygon([(left, 44), (24, top), (44, 44)], fill=colour)
            image.save(folder / category / f"{number:03d}.png")
    (folder / BROKEN).write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("catalogue")
    draw_catalogue(folder)
    store = Store(str(tmp_path_factory.mktemp("store")))
    with LocalCluster(num_cpus=8, object_store_bytes=200 * 2**20) as cluster:
        environment = {**os.environ, "RAY_ADDRESS": cluster.address, "RAY_API_SERVER_ADDRESS": cluster.dashboard_url}
        port = free_port()
        commands = {
            "import": ["catalog", "import", "folder", str(folder), "--name", "shop"],
            "train": [
                *("submit", "train", "--catalog", "shop", "--steps", "30", "--batch-size", "32"),
                *("--workers", "2", "--fit"),
            ],
            "detector": ["detector", "train", "--catalog", "shop", "--fit", *DETECTOR],
            "localise": ["detector", "eval", "--catalog", "shop", "--queries", "40"],
            "embed": ["embed", "--catalog", "shop", "--fit"],
            "index": ["index", "build", "--catalog", "shop", "--shards", "2"],
            "recommend": ["recommend", "--k", "5", "--fit"],
            "release": ["release", "create", "--promote", "--no-detect"],
            "serve": ["submit", "serve", "--fit", "--port", str(port)],
        }
        results = {name: visnet(environment, store, *arguments) for name, arguments in commands.items()}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield Shop(client, store, results, folder, environment, port)


def hits(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [hit["product_id"] for hit in response.json()["results"]]


def test_every_image_is_accounted_for(shop: Shop) -> None:
    images = len(CATEGORIES) * PER_CATEGORY
    assert shop.results["import"]["images"] == images + 1
    assert (shop.results["embed"]["embedded"], shop.results["embed"]["quarantined"]) == (images, 1)
    quarantine = next(Path(shop.store.path("embeddings")).rglob("quarantine.parquet"))
    assert pq.read_table(quarantine).to_pylist()[0]["image_id"] == BROKEN
    assert sum(shop.results["index"]["shard_rows"]) == images
    assert shop.results["recommend"]["products"] == images
    assert all(gate["passed"] for gate in shop.results["release"]["gates"])


def test_the_service_is_ready_and_says_what_it_serves(shop: Shop) -> None:
    assert shop.client.get("/livez").status_code == 200
    ready = shop.client.get("/readyz").json()
    assert ready["release"] == shop.results["release"]["release"]
    assert (ready["shards"], ready["partial"]) == ({"ok": 2, "total": 2}, False)
    assert ready["images"] == len(CATEGORIES) * PER_CATEGORY


def test_a_products_own_photo_finds_it(shop: Shop) -> None:
    for product in ("bags/007.png", "coats/031.png", "shoes/059.png"):
        photo = (shop.folder / product).read_bytes()
        response = shop.client.post("/v1/search", files={"image": photo}, data={"k": 5})
        assert hits(response)[0] == product
        assert response.json()["results"][0]["score"] == pytest.approx(1.0, abs=1e-3)
        scores = [hit["score"] for hit in response.json()["results"]]
        assert scores == sorted(scores, reverse=True)


def test_a_category_filter_gives_k_of_that_category(shop: Shop) -> None:
    photo = (shop.folder / "bags/007.png").read_bytes()
    found = hits(shop.client.post("/v1/search", files={"image": photo}, data={"k": 50, "category": "shoes"}))
    assert len(found) == 50
    assert all(product.startswith("shoes/") for product in found)


def test_a_product_search_leaves_the_product_out(shop: Shop) -> None:
    found = hits(shop.client.post("/v1/search", json={"product_id": "bags/007.png", "k": 5}))
    assert len(found) == 5
    assert "bags/007.png" not in found


def test_recommendations_are_precomputed_up_to_their_k_and_live_beyond(shop: Shop) -> None:
    few = shop.client.get("/v1/recommend/bags/007.png", params={"k": 5})
    many = shop.client.get("/v1/recommend/bags/007.png", params={"k": 20})
    assert (few.json()["precomputed"], many.json()["precomputed"]) == (True, False)
    assert hits(few) == hits(many)[:5]
    assert "bags/007.png" not in hits(many)


def test_a_product_and_its_picture(shop: Shop) -> None:
    product = shop.client.get("/v1/products/shoes/001.png").json()["product"]
    assert product["category"] == "shoes"
    picture = shop.client.get(product["image_url"])
    assert picture.content == (shop.folder / "shoes/001.png").read_bytes()
    assert picture.headers["content-type"] == "image/png"
    cached = shop.client.get(product["image_url"], headers={"If-None-Match": picture.headers["etag"]})
    assert cached.status_code == 304


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 422, "empty"),
        (b"just text", 422, "not an image"),
        (b"\x89PNG\r\n\x1a\n cut off", 422, ""),
        (b"\0" * (21 * 2**20), 413, "at most"),
    ],
)
def test_a_bad_upload_is_refused_with_its_reason(shop: Shop, content: bytes, status: int, reason: str) -> None:
    response = shop.client.post("/v1/search", files={"image": ("photo.png", content)})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert reason in response.json()["detail"]


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(shop: Shop, tmp_path: Path) -> None:
    Image.new("L", (9_000, 9_000)).save(tmp_path / "huge.png")
    response = shop.client.post("/v1/search", files={"image": (tmp_path / "huge.png").read_bytes()})
    assert response.status_code == 413
    assert "pixels" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/products/nothing", "/v1/products/nothing/image", "/v1/recommend/nothing", "/x"])
def test_what_does_not_exist_is_a_404(shop: Shop, path: str) -> None:
    assert shop.client.get(path).status_code == 404


def test_a_vector_of_another_length_is_refused(shop: Shop) -> None:
    response = shop.client.post("/v1/search", json={"vector": [0.1, 0.2]})
    assert response.status_code == 422
    assert "expected 128 numbers" in response.json()["detail"]


def test_many_at_once_get_their_own_answers(shop: Shop) -> None:
    from concurrent.futures import ThreadPoolExecutor

    products = [f"{category}/{number:03d}.png" for category in CATEGORIES for number in range(0, PER_CATEGORY, 3)]

    def ask(product: str) -> str:
        photo = (shop.folder / product).read_bytes()
        return hits(shop.client.post("/v1/search", files={"image": photo}, data={"k": 1}))[0]

    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(ask, products)) == products


def test_the_search_command_asks_the_service(shop: Shop) -> None:
    photo = str(shop.folder / "coats/010.png")
    url = f"http://127.0.0.1:{shop.port}"
    answer = shop.command("search", photo, "-k", "3", "--url", url)
    assert answer["results"][0]["product_id"] == "coats/010.png"
    failed = shop.command("search", "--product", "nothing", "--url", url, status=1)
    assert "no product 'nothing'" in failed["error"]


@pytest.fixture(scope="module")
def photos(shop: Shop) -> list[tuple[bytes, Scene, list[str]]]:
    """Photos of two products each, where these are, and which."""
    products = [f"{category}/{number:03d}.png" for category in CATEGORIES for number in range(0, PER_CATEGORY, 6)]
    cutouts = [cut_out(Image.open(shop.folder / product), longest=96) for product in products]
    settings = SceneSettings(same=0, empty=0, size=(0.35, 0.55), occluders=0, blur=0, overlap=0.1, any_rotation=0)
    made = []
    for number in range(12):
        random = np.random.default_rng(number)
        usable = [pixels for pixels in cutouts if pixels is not None]
        scene = compose(usable, [], side=192, random=random, settings=settings, items=2)
        made.append((encode_png(scene.pixel_HWC), scene, [products[place] for place in scene.cutout_N]))
    return [one for one in made if len(one[2]) == 2]


def test_the_items_in_a_photo_are_found_each_with_results(
    shop: Shop, photos: list[tuple[bytes, Scene, list[str]]]
) -> None:
    found = 0
    for photo, scene, _ in photos:
        response = shop.client.post("/v1/search", files={"image": photo}, data={"k": 3, "detect": "true"})
        answer = SearchAnswer.model_validate_json(response.content)
        assert answer.located is not None
        if answer.located.by == "whole":
            assert answer.located.detail
            assert answer.items == []
            continue
        assert answer.results == answer.items[0].results
        assert all(len(item.results) == 3 and item.category in CATEGORIES for item in answer.items)
        shares = overlaps(scene.box_N4, np.array([item.box for item in answer.items], np.float32))
        found += int((shares.max(axis=1) >= 0.5).sum())
    assert found >= len(photos)  # half of the products in them
    assert shop.results["localise"]["asked"]
    assert Path(shop.results["localise"]["report"]).read_text().count("<figure>") > 10


def test_a_box_is_searched_for_alone(shop: Shop) -> None:
    left, right = (Image.open(shop.folder / name) for name in ("bags/007.png", "shoes/031.png"))
    photo = Image.new("RGB", (96, 48), "white")
    photo.paste(left, (0, 0))
    photo.paste(right, (48, 0))
    data = encode_png(np.asarray(photo))
    for box, product in (("0,0,0.5,1", "bags/007.png"), ("0.5,0,1,1", "shoes/031.png")):
        response = shop.client.post("/v1/search", files={"image": data}, data={"k": 1, "box": box})
        assert hits(response) == [product]
        assert response.json()["located"] == {"by": "box", "detail": ""}


@pytest.mark.parametrize(
    "box", ["0.5,0,0.5,1", "0.9,0,0.1,1", "0,0,1,1.5", "-0.1,0,1,1", "0,0,1", "a,b,c,d", "nan,0,1,1"]
)
def test_a_box_that_is_none_is_refused(shop: Shop, box: str) -> None:
    photo = (shop.folder / "bags/007.png").read_bytes()
    response = shop.client.post("/v1/search", files={"image": photo}, data={"box": box})
    assert response.status_code == 422
    assert "box" in response.json()["detail"]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2_000, 1), (1, 3_000), (5_000, 4_000)])
def test_a_photo_with_nothing_in_it_is_searched_for_as_a_whole(shop: Shop, size: tuple[int, int]) -> None:
    data = encode_png(np.full((size[1], size[0], 3), 90, np.uint8))
    response = shop.client.post("/v1/search", files={"image": data}, data={"k": 2, "detect": "true"})
    assert len(hits(response)) == 2
    assert response.json()["located"]["by"] == "whole"
    assert response.json()["located"]["detail"]


def test_a_second_run_reuses_what_stands(shop: Shop) -> None:
    again = shop.command("catalog", "import", "folder", str(shop.folder), "--name", "shop")
    assert again["reused"]
    assert again["version"] == shop.results["import"]["version"]
    assert shop.command("embed", "--catalog", "shop", "--fit")["reused"]


def test_promote_and_roll_back(shop: Shop) -> None:
    first = shop.results["release"]["release"]
    shop.command("eval", "--catalog", "shop", "--queries", "20")
    second = shop.command("release", "create", "--promote")["release"]
    assert second != first  # it carries the evaluation
    assert shop.command("release", "list")["current"] == second
    assert shop.command("release", "rollback")["current"] == first
    assert "no earlier release" in shop.command("release", "rollback", status=1)["error"]
