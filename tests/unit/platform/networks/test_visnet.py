"""The default network: shapes of each path, unit length, gradients everywhere, nothing downloaded by `build`."""

import json

import pytest
import torch
from torch import Tensor, nn

from visnet.platform.networks import describe_recipe, make_recipe, visnet
from visnet.platform.networks.pretrained import LITE0, NOT_ASKED
from visnet.platform.networks.visnet import ShallowPath, VisNet, VisNetNetwork

TAP_WIDTHS = {
    LITE0: [40, 112, 1280],
    "resnet18": [128, 256, 512],
    "convnext_tiny": [192, 384, 768],
    "efficientnet_v2_s": [64, 160, 1280],
}


@pytest.fixture(scope="module")
def network() -> VisNetNetwork:
    torch.manual_seed(0)
    return VisNet(image_size=64, resize=72).build()


@pytest.fixture
def image_BCHW() -> Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def on_meta(recipe: VisNet) -> VisNetNetwork:
    with torch.device("meta"):
        return recipe.build()


@pytest.mark.parametrize("trunk", TAP_WIDTHS)
def test_shapes_of_each_path(trunk: str) -> None:
    network = on_meta(VisNet(trunk=trunk))
    image_BCHW = torch.zeros(2, 3, 224, 224, device="meta")
    assert [tuple(tap_BCHW.shape[2:]) for tap_BCHW in network.trunk(image_BCHW)] == [(28, 28), (14, 14), (7, 7)]
    assert [tuple(part_BF.shape) for part_BF in network.deep_parts(image_BCHW)] == [(2, w) for w in TAP_WIDTHS[trunk]]
    assert [tuple(part_BF.shape) for part_BF in network.shallow_parts(image_BCHW)] == [(2, 48 * 7 * 7)] * 2
    assert network(image_BCHW).shape == (2, 256)
    assert network.training


def test_parameters_of_the_default() -> None:
    network = on_meta(VisNet())
    lite0_without_classifier = 4_652_008 - (1280 * 1000 + 1000)
    shallow = (3 * 48 * 9 + 2 * 48) * 2 + (48 * 48 * 9 + 2 * 48)
    parts = 40 + 112 + 1280 + 2 * 48 * 49
    expected = lite0_without_classifier + shallow + parts + parts * 256 + 2 * 256
    assert sum(parameter.numel() for parameter in network.parameters()) == expected == 4_972_088


@pytest.mark.parametrize(("shrink", "convolutions"), [(4, 2), (8, 1)])
def test_both_shallow_paths_end_on_one_grid(shrink: int, convolutions: int) -> None:
    path = ShallowPath(shrink=shrink, channels=5)
    assert sum(isinstance(layer, nn.Conv2d) for layer in path) == convolutions
    assert path(torch.zeros(2, 3, 96, 96)).shape == (2, 5, 3, 3)


@pytest.mark.parametrize("training", [True, False])
def test_embedding_is_float32_of_unit_length(network: VisNetNetwork, image_BCHW: Tensor, training: bool) -> None:
    network.train(training)
    with torch.no_grad():
        embedding_BD = network(image_BCHW)
    assert embedding_BD.dtype == torch.float32
    torch.testing.assert_close(embedding_BD.norm(dim=1), torch.ones(4))
    assert float((embedding_BD[0] - embedding_BD[1]).norm()) > 0.01


def test_mixed_precision_still_gives_float32_of_unit_length(network: VisNetNetwork, image_BCHW: Tensor) -> None:
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        embedding_BD = network(image_BCHW)
    assert embedding_BD.dtype == torch.float32
    torch.testing.assert_close(embedding_BD.norm(dim=1), torch.ones(4))


def test_in_evaluation_an_image_does_not_depend_on_its_batch(network: VisNetNetwork, image_BCHW: Tensor) -> None:
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(image_BCHW)[:1], network(image_BCHW[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trunk", [LITE0, "resnet18"])
def test_gradient_reaches_every_parameter(trunk: str, image_BCHW: Tensor) -> None:
    torch.manual_seed(0)
    network = VisNet(trunk=trunk, image_size=64, resize=64).build().train()
    (network(image_BCHW) * torch.randn(4, 256)).sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not float(p.grad.abs().sum()) > 0]
    assert dead == []


def test_building_leaves_the_batch_statistics_alone() -> None:
    for name, buffer in VisNet(trunk="resnet18", image_size=32).build().named_buffers():
        if name.endswith("running_var"):
            assert torch.equal(buffer, torch.ones_like(buffer)), name


def test_weights_survive_a_rebuild(network: VisNetNetwork, image_BCHW: Tensor) -> None:
    rebuilt = make_recipe("visnet", image_size=64, resize=72).build()
    rebuilt.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.eval()(image_BCHW), network.eval()(image_BCHW))


def test_only_build_pretrained_asks_for_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(visnet, "load_pretrained", lambda trunk, name: asked.append(name) or "some weights")
    recipe = VisNet(trunk="resnet18")
    with torch.device("meta"):
        recipe.build()
        assert VisNet(trunk="resnet18", pretrained=False).build_pretrained()[1] == NOT_ASKED
        assert asked == []
        network, weights = recipe.build_pretrained()
    assert (asked, weights) == (["resnet18"], "some weights")
    assert isinstance(network, VisNetNetwork)


def test_preprocessing_is_the_trunks() -> None:
    lite0 = VisNet(image_size=192, resize=224).preprocessing
    assert (lite0.resize, lite0.crop, lite0.mean, lite0.std) == (224, 192, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert VisNet(trunk="resnet50").preprocessing.mean == (0.485, 0.456, 0.406)


def test_description_rebuilds_the_recipe() -> None:
    recipe = VisNet(trunk="convnext_tiny", dimension=128)
    assert make_recipe(**json.loads(json.dumps(describe_recipe(recipe)))) == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"trunk": "alexnet"}, "unknown trunk 'alexnet'"),
        ({"image_size": 100}, "multiple of 32, got 100"),
        ({"image_size": 0}, "multiple of 32, got 0"),
        ({"image_size": 288}, "resize=256, image_size=288"),
        ({"dimension": 0}, "dimension >= 1, got 0"),
        ({"shallow_channels": -1}, "shallow_channels >= 0, got -1"),
    ],
)
def test_settings_that_can_not_be_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VisNet(**setting)  # type: ignore[arg-type]
