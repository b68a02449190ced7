"""The detector around its network: squares and back, one item for each place, and a digest that notices changes."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from visnet.platform import detector as detector_module
from visnet.platform.boxes import overlaps
from visnet.platform.detector import (
    GREY,
    PRODUCT,
    SAME_ITEM,
    Detector,
    Item,
    grouped,
    load_detector,
    save_detector,
    scaled_size,
    squared,
)
from visnet.platform.detector_manifest import detector_manifest, newest_detector
from visnet.platform.detectors import make_detector_recipe
from visnet.platform.detectors.network import Boxes, DetectionNetwork, no_boxes
from visnet.platform.errors import DigestMismatchError, NotFoundError
from visnet.platform.store import Store
from visnet.platform.weights import write_weights

SIDE = 64
CLASSES = ["bag", "shoe", "toy"]


class Scripted(nn.Module):
    """Finds what it was told, picture by picture, and remembers what it saw."""

    def __init__(self, *found: Boxes) -> None:
        super().__init__()
        self.found: Iterator[Boxes] = iter(found)
        self.batches: list[Tensor] = []

    def forward(self, image_BCHW: Tensor, truth: Sequence[Boxes] | None = None) -> list[Boxes]:
        self.batches.append(image_BCHW)
        return [next(self.found) for _ in image_BCHW]


def boxes(*found: tuple[list[float], int, float]) -> Boxes:
    """Of (box in pixels, label, score)."""
    return Boxes(
        box_N4=torch.tensor([box for box, _, _ in found]),
        label_N=torch.tensor([label for _, label, _ in found]),
        score_N=torch.tensor([score for _, _, score in found]),
    )


def recipe(**fields: Any) -> Any:
    return make_detector_recipe("fcos-lite", **{"image_size": SIDE, "channels": 32, "convolutions": 1, **fields})


def scripted(*found: Boxes, classes: Sequence[str] = CLASSES) -> Detector:
    return Detector(recipe(), classes, Scripted(*found))  # type: ignore[arg-type]


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("size", "scaled"), [((100, 100), (64, 64)), ((200, 50), (64, 16)), ((50, 200), (16, 64)), ((1, 5000), (1, 64))]
)
def test_the_longer_side_fills_the_square(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert scaled_size(size, SIDE) == scaled
    white_HWC = squared(Image.new("RGB", size, (255, 255, 255)), SIDE)
    expected_HW = np.full((SIDE, SIDE), GREY)
    expected_HW[: scaled[1], : scaled[0]] = 255
    assert (white_HWC.shape, white_HWC.dtype) == ((SIDE, SIDE, 3), np.uint8)
    np.testing.assert_array_equal(white_HWC, np.repeat(expected_HW[:, :, None], 3, axis=2))


@pytest.mark.parametrize("size", [(160, 160), (320, 80), (80, 320), (33, 77)])
def test_a_box_found_in_the_square_is_the_same_place_of_the_photo(size: tuple[int, int]) -> None:
    """A white rectangle is looked up in the network's square; its box must be where it was drawn."""
    drawn = (0.25, 0.5, 0.75, 0.9)
    image = Image.new("RGB", size)
    corners = [round(edge * length) for edge, length in zip(drawn, 2 * size, strict=True)]
    image.paste((255, 255, 255), tuple(corners))  # type: ignore[arg-type]
    y_N, x_N = np.nonzero(squared(image, SIDE)[:, :, 0] > 2 * GREY - 90)
    box_14 = torch.tensor([[x_N.min(), y_N.min(), x_N.max() + 1, y_N.max() + 1]])
    shares = scripted().shares(size, box_14)
    assert shares.dtype == np.float32
    short = min(scaled_size(size, SIDE))
    np.testing.assert_allclose(shares[0], drawn, atol=1.01 / short)


def test_boxes_that_reach_into_the_grey_are_cut_to_the_photo() -> None:
    shares = scripted().shares((200, 100), torch.tensor([[-5.0, -5.0, 80.0, 80.0], [0.0, 40.0, 64.0, 64.0]]))
    assert shares.tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]


def test_the_items_of_each_photo_come_most_prominent_first() -> None:
    """Far apart, so that each box is an item: prominence is confidence times the root of the area."""
    small, large = ([0.0, 0.0, 8.0, 8.0], 0, 0.9), ([20.0, 20.0, 60.0, 60.0], 1, 0.5)
    found = scripted(boxes(small, large), no_boxes(), boxes(large)).detect([photo(64, 64)] * 3)
    first, nothing, last = found
    assert [item.categories for item in first] == [(("shoe", 1.0),), (("bag", 1.0),)]
    assert [item.prominence for item in first] == pytest.approx([0.5 * 40 / 64, 0.9 * 8 / 64])
    assert first[0].box == pytest.approx((20 / 64, 20 / 64, 60 / 64, 60 / 64))
    assert nothing == []
    assert [item.confidence for item in last] == pytest.approx([0.5])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_batches_are_squares_of_floats_and_change_nothing(batch_size: int) -> None:
    images = [photo(64, 64, seed=number) for number in range(3)]
    one = boxes(([0.0, 0.0, 9.0, 9.0], 0, 0.9))
    detector = scripted(one, no_boxes(), one)
    found = detector.detect(images, batch_size=batch_size)
    assert [len(items) for items in found] == [1, 0, 1]
    network: Any = detector.network
    seen_BCHW = torch.cat(network.batches)
    assert len(network.batches) == -(-3 // batch_size)
    expected = np.stack([np.asarray(image) for image in images]) / np.float32(255)
    np.testing.assert_allclose(seen_BCHW.permute(0, 2, 3, 1).numpy(), expected, atol=1e-6)
    assert detector.detect([]) == []


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (1, 5000), (5000, 1), (7, 300), (300, 30)])
def test_in_the_tiniest_pictures_nothing_is_found(size: tuple[int, int]) -> None:
    assert scripted(boxes(([0.0, 0.0, 60.0, 60.0], 0, 0.9))).detect([photo(*size)]) == [[]]


def test_small_pictures_are_looked_at() -> None:
    found = scripted(*[boxes(([0.0, 0.0, 60.0, 60.0], 0, 0.9))] * 2).detect([photo(8, 8), photo(300, 40)])
    assert [len(items) for items in found] == [1, 1]


def test_sure_is_from_the_least_confidence_on() -> None:
    detector = scripted()
    detector.min_confidence = 0.4
    items = [Item(box=(0, 0, 1, 1), confidence=one, categories=()) for one in (0.39, 0.4, 0.9)]
    assert detector.sure(items) == items[1:]


def random_boxes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    low_N2 = random.random((count, 2)) * 0.7
    box_N4 = np.concatenate([low_N2, low_N2 + random.uniform(0.1, 0.3, (count, 2))], axis=1).astype(np.float32)
    return box_N4, random.random(count).astype(np.float32), random.choice(CLASSES, count).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_every_box_is_of_one_item_and_items_lie_apart(seed: int) -> None:
    box_N4, score_N, names = random_boxes(40, seed)
    items = grouped(box_N4, score_N, names)
    assert 1 < len(items) < 40, "the case was not tried"
    assert [item.confidence for item in items] == sorted((item.confidence for item in items), reverse=True)
    item_N4 = np.array([item.box for item in items], np.float32)
    share_NN = overlaps(item_N4, item_N4) - np.eye(len(items), dtype=np.float32)
    assert share_NN.max() <= SAME_ITEM
    share_NM = overlaps(box_N4, item_N4)
    assert (share_NM.max(axis=1) > SAME_ITEM).all(), "a box belongs to no item"
    for item in items:
        shares = [share for _, share in item.categories]
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
        assert len({name for name, _ in item.categories}) == len(shares)
    assert max(len(item.categories) for item in items) > 1, "the case was not tried"


def test_boxes_of_one_place_are_one_item_with_the_best_score_of_each_class() -> None:
    box_N4 = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45], [0, 0, 0.48, 0.5], [0.6, 0.6, 1, 1]], np.float32)
    score_N = np.array([0.2, 0.6, 0.1, 0.5], np.float32)
    place, other = grouped(box_N4, score_N, ["bag", "shoe", "bag", "toy"])
    assert place.box == pytest.approx((0, 0, 0.5, 0.45))  # of the surest
    assert place.confidence == pytest.approx(0.6)
    assert [name for name, _ in place.categories] == ["shoe", "bag"]
    assert [share for _, share in place.categories] == pytest.approx([0.75, 0.25])  # 0.6 and 0.2 of 0.8
    assert other.categories == (("toy", 1.0),)


def test_a_box_between_two_items_is_of_the_surer_one_only() -> None:
    """Neighbours overlap by 0.38 / 0.62, the outer two by 0.26 / 0.74."""
    box_N4 = np.array([[left, 0, left + 0.5, 0.5] for left in (0.0, 0.12, 0.24)], np.float32)
    first, second = grouped(box_N4, np.array([0.6, 0.2, 0.5], np.float32), CLASSES)
    assert [name for name, _ in first.categories] == ["bag", "shoe"]
    assert second.categories == (("toy", 1.0),)


def test_a_box_without_extent_is_none() -> None:
    box_N4 = np.array([[0.5, 0, 0.5, 1], [0, 0.5, 1, 0.5], [0.2, 0.2, 0.4, 0.4]], np.float32)
    items = grouped(box_N4, np.array([0.9, 0.8, 0.1], np.float32), ["bag", "bag", "toy"])
    assert [item.categories for item in items] == [(("toy", 1.0),)]
    assert grouped(np.empty((0, 4), np.float32), np.empty(0, np.float32), []) == []


def test_a_detector_of_products_tells_no_categories() -> None:
    box_N4, score_N, names = random_boxes(10, 0)
    assert all(item.categories == () for item in grouped(box_N4, score_N, [PRODUCT] * len(names)))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Detector]:
    """Makes a detector whose network is a single layer, as wide as its classes are many."""

    def build(self: Any, classes: int) -> DetectionNetwork:
        return DetectionNetwork(nn.Linear(2, classes), first_label=0, pretrained="")

    monkeypatch.setattr("visnet.platform.detectors.fcos_lite.FCOSLite.build", build)

    def make(classes: Sequence[str] = CLASSES, **fields: Any) -> Detector:
        torch.manual_seed(0)
        return Detector(recipe(**fields), classes, min_confidence=0.45)

    return make


Small = Callable[..., Detector]


def test_save_and_load(store: Store, small: Small) -> None:
    detector = small()
    further: dict[str, Any] = {"pretrained": "theirs", "training": {"steps": 3}, "training_key": "k"}
    manifest = save_detector(store, detector, catalog="shop", files={"metrics.json": b"{}"}, **further)
    assert manifest.detector == f"fcos-lite-{manifest.digest[:12]}"
    assert store.names(f"detectors/{manifest.detector}") == ["manifest.json", "metrics.json", "weights.safetensors"]
    loaded = load_detector(store, manifest.detector)
    assert loaded.digest() == detector.digest() == manifest.digest
    assert (loaded.recipe, loaded.classes, loaded.min_confidence) == (detector.recipe, CLASSES, 0.45)
    assert not any(module.training for module in loaded.network.modules())
    assert detector_manifest(store, manifest.detector) == manifest
    assert (manifest.catalog, manifest.training) == ("shop", {"steps": 3})


def test_the_digest_is_of_weights_recipe_and_classes(small: Small) -> None:
    digest = small().digest()
    assert small().digest() == digest
    assert small(image_size=96).digest() != digest
    assert small([*CLASSES[:2], "hat"]).digest() != digest
    assert small(CLASSES[::-1]).digest() != digest
    changed = small()
    with torch.no_grad():
        next(changed.network.parameters()).view(-1)[0] += 1e-6
    assert changed.digest() != digest


def test_changed_weights_are_refused(store: Store, small: Small) -> None:
    name = save_detector(store, small(), catalog="shop").detector
    other = small()
    with torch.no_grad():
        next(other.network.parameters()).view(-1)[0] += 1e-6
    write_weights(store, f"detectors/{name}", other.network)
    with pytest.raises(DigestMismatchError, match=f"detector {name} is not what its manifest says"):
        load_detector(store, name)


@pytest.mark.parametrize(
    "change", [{"classes": ["bag", "shoe", "hat"]}, {"classes": ["bag", "shoe"]}, {"digest": "0" * 64}]
)
def test_a_changed_manifest_is_refused(store: Store, small: Small, change: dict[str, Any]) -> None:
    name = save_detector(store, small(), catalog="shop").detector
    path = f"detectors/{name}/manifest.json"
    store.write(path, json.dumps({**json.loads(store.read(path)), **change}).encode())
    with pytest.raises(DigestMismatchError):
        load_detector(store, name)


def test_the_manifest_comes_last(store: Store, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(detector_module, "write_manifest", crash)
    with pytest.raises(KeyboardInterrupt):
        save_detector(store, small(), catalog="shop", files={"metrics.json": b"{}"})
    assert newest_detector(store, "shop") is None


def test_the_newest_of_a_catalogue_and_the_missing(store: Store, small: Small) -> None:
    with pytest.raises(NotFoundError, match=r"no detector nobody .*none yet; make one with visnet detector train"):
        load_detector(store, "nobody")
    first = save_detector(store, small(), catalog="shop")
    second = save_detector(store, small(["bag"]), catalog="shop")
    other = save_detector(store, small([PRODUCT]), catalog="other")
    assert second.created_at > first.created_at
    for name, expected in (("shop", second), ("other", other), ("third", None)):
        newest = newest_detector(store, name)
        assert newest == expected
    with pytest.raises(NotFoundError, match=f"no detector nobody .*there is: .*{first.detector}"):
        load_detector(store, "nobody")
