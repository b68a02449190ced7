"""Faster R-CNN on ResNet-50: COCO's weights but for its last layers, ImageNet's where these can't be had, or none."""

from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from visnet.platform.detectors import faster_rcnn
from visnet.platform.detectors.faster_rcnn import OWN, FasterRCNN
from visnet.platform.detectors.network import DetectionNetwork
from visnet.platform.networks.pretrained import WeightsUnavailableError

RECIPE = FasterRCNN(image_size=64)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """What COCO's weights look like: the same names, as many classes as COCO has."""
    torch.manual_seed(1)
    return RECIPE.build(90).model.state_dict()


@pytest.fixture
def reused(monkeypatch: pytest.MonkeyPatch, published: dict[str, Tensor]) -> DetectionNetwork:
    """The network that `build` gives out: 43 million weights are drawn once for a test."""
    torch.manual_seed(2)
    network = RECIPE.build(2)
    monkeypatch.setattr(FasterRCNN, "build", lambda self, classes: network)
    return network


def test_cocos_weights_fill_all_but_the_layers_that_depend_on_the_classes(
    monkeypatch: pytest.MonkeyPatch, published: dict[str, Tensor], reused: DetectionNetwork
) -> None:
    own = {name: value.clone() for name, value in reused.model.state_dict().items() if name.startswith(OWN)}
    asked = []

    def weights(name: str, *, timeout_s: float) -> tuple[dict[str, Tensor], str]:
        asked.append(name)
        return published, "torchvision/COCO"

    monkeypatch.setattr(faster_rcnn, "torchvision_weights", weights)
    network, source = RECIPE.build_pretrained(2)
    assert (source, asked) == ("torchvision/COCO", ["fasterrcnn_resnet50_fpn_v2"])
    assert {name.removeprefix(OWN) for name in own} == {
        *("cls_score.weight", "cls_score.bias", "bbox_pred.weight", "bbox_pred.bias")
    }
    assert len(own[f"{OWN}cls_score.bias"]) == 3  # the background and two classes
    for name, value in network.model.state_dict().items():
        assert torch.equal(value, own.get(name, published[name])), name


def test_weights_that_lack_some_are_an_error(
    monkeypatch: pytest.MonkeyPatch, published: dict[str, Tensor], reused: DetectionNetwork
) -> None:
    fewer = {name: value for name, value in published.items() if name != "rpn.head.cls_logits.bias"}
    monkeypatch.setattr(faster_rcnn, "torchvision_weights", lambda name, timeout_s: (fewer, "theirs"))
    with pytest.raises(RuntimeError, match=r"theirs lacks .*rpn\.head\.cls_logits\.bias"):
        RECIPE.build_pretrained(2)


def test_without_cocos_weights_the_trunk_gets_imagenets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reused: DetectionNetwork
) -> None:
    def refuse(name: str, *, timeout_s: float) -> None:
        raise WeightsUnavailableError("not today")

    filled = []

    def fill(trunk: nn.Module, name: str) -> str:
        filled.append((trunk, name))
        return "ImageNet"

    monkeypatch.setattr(faster_rcnn, "torchvision_weights", refuse)
    monkeypatch.setattr(faster_rcnn, "load_pretrained", fill)
    assert RECIPE.build_pretrained(2) == (reused, "ImageNet")
    assert filled == [(reused.model.backbone.body, "resnet50")]  # type: ignore[union-attr]
    assert "no COCO weights" in caplog.text
    assert "not today" in caplog.text


def test_without_any_download_it_says_none(monkeypatch: pytest.MonkeyPatch, reused: DetectionNetwork) -> None:
    def refuse(url: str, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    before = next(reused.parameters()).clone()
    network, source = RECIPE.build_pretrained(2)
    assert source.startswith("none (")
    assert "no network" in source
    assert torch.equal(next(network.parameters()), before)


def test_what_is_pretrained_is_its_backbone(reused: DetectionNetwork) -> None:
    assert reused.pretrained_part() is reused.model.backbone
